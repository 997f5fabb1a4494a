"""What writes texts: every family, short and long ones, prompts, and what a target's loss is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.tasks import task_type
from steps.transfer.networks import Shape
from steps.transfer.networks.text import Network
from steps.transfer.networks.writer import Writer
from steps.transfer.strategies import Material, Reading, full
from tests.families import make_family
from tests.tiny import EXAMPLES

FAMILIES = ("t5", "bart", "marian", "gpt2", "qwen2")
CASES = (
    ("t5", "translation"),
    ("bart", "summarisation"),
    ("gpt2", "generation"),
    ("qwen2", "summarisation"),
)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: Any) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("starts")
    return {family: make_family(family, root / family) for family in FAMILIES}


def material(kind: str, count: int = 8, max_tokens: int = 32) -> Material:
    return Material(kind, [], EXAMPLES[kind](count), max_tokens)


def network(start: Path, kind: str, shape: Shape | None = None, **given: Any) -> Network:
    return Network.build(start, replace(material(kind), **given), shape or Shape())


@pytest.fixture(scope="module")
def trained(starts: dict[str, Path], tmp_path_factory: Any) -> dict[tuple[str, str], Path]:
    root = tmp_path_factory.mktemp("trained")
    knobs = {"learning_rate": 1e-2, "epochs": 80, "batch_tokens": 512, "weight_decay": 0.0}
    settings = full.Settings(strategy="full", start="", **knobs)
    found = {}
    for family, kind in CASES:
        out = found[family, kind] = root / family / kind
        used = replace(material(kind), room=root / "room" / family / kind)
        full.fit(used, settings, starts[family], 1, out)
    return found


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_learns_its_own_eight_examples_and_where_they_end(starts, trained, case):
    family, kind = case
    examples = EXAMPLES[kind](8)
    raws = full.load(starts[family], trained[case])(Reading(32), examples)
    assert [raw["text"] for raw in raws] == [example["target"] for example in examples]
    assert all(0.5 < raw["confidence"] <= 1 for raw in raws)
    said = task_type(kind).decode(examples, raws, [])
    for item, example in zip(said, examples, strict=True):
        assert example["target"] in item.answer.values()


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_text_does_not_depend_on_its_batch(starts, trained, case, beams):
    family, kind = case
    made = Network.load(starts[family], trained[case])
    made.reads = replace(made.reads, shape=Shape(beams=beams))
    texts = [*(example["text"] for example in EXAMPLES[kind](5)), "", "a", "the view " * 60]
    items = [{"text": text, "target": f"crash in {text[:9]}"} for text in texts]
    together, alone = made.scores(items, 32), made.scores(items[::-1], 1)[::-1]
    assert [raw["text"] for raw in together] == [raw["text"] for raw in alone]
    for left, right in zip(together, alone, strict=True):
        assert left["confidence"] == pytest.approx(right["confidence"], abs=1e-5)
        assert left["loss"] == pytest.approx(right["loss"], abs=1e-3)
        assert left["words"] == right["words"]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_saved_is_what_transformers_itself_loads(starts, trained, case):
    family, _ = case
    loader = "AutoModelForCausalLM" if family in ("gpt2", "qwen2") else "AutoModelForSeq2SeqLM"
    settings = transformers.AutoConfig.from_pretrained(starts[family])
    plain, about = getattr(transformers, loader).from_pretrained(
        trained[case],
        config=settings,
        generation_config=transformers.GenerationConfig(),
        output_loading_info=True,
    )
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]
    ours = Network.load(starts[family], trained[case]).encoder.model.state_dict()
    theirs = plain.state_dict()
    assert all(torch.equal(part, theirs[name]) for name, part in ours.items())
    begun = Writer(starts[family]).model.state_dict()
    assert not all(torch.equal(part, begun[name]) for name, part in ours.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_of_the_targets_tokens_and_the_end_alone(starts, family):
    made = network(starts[family], "summarisation")
    rows = made.rows(EXAMPLES["summarisation"](3), learn=True)
    losses = []
    for row in rows:
        whole = torch.from_numpy(row.tokens)[None]
        labels = whole.clone()
        labels[0, : row.known] = -100
        if made.encoder.causal:  # transformers moves the labels of these by itself
            given = {"input_ids": whole, "labels": labels}
        else:
            read = torch.from_numpy(row.source)[None]
            given = {"input_ids": read, "decoder_input_ids": whole[:, :-1], "labels": labels[:, 1:]}
        with torch.no_grad():
            mean = float(made.encoder.model(**given).loss)
        losses.append(mean * (len(row.tokens) - row.known))
        assert row.tokens[-1] == made.encoder.end
    assert made.encoder.losses(rows) == pytest.approx(losses, rel=1e-4)
    mean = sum(losses) / sum(len(row.tokens) - row.known for row in rows)
    assert made(**made.collate(rows)).item() == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_the_loss_of_a_target_is_measured_for_generation_alone(starts, trained, family):
    made = network(starts[family], "generation")
    items = [{"text": "the view", "target": "of a\nmodel  in"}, {"text": "the view"}]
    told, silent = made.scores(items, 2)
    assert told["words"] == 4
    assert told["loss"] == pytest.approx(made.encoder.losses(made.rows(items[:1], True))[0])
    assert silent["loss"] is silent["words"] is None
    other = network(starts[family], "translation").scores(items, 2)
    assert other[0]["loss"] is other[0]["words"] is None


def test_no_token_of_a_long_target_is_lost(starts):
    made = network(starts["gpt2"], "generation")  # of 64 positions
    item = {"text": "the view", "target": "of a model in " * 40}
    rows = made.rows([item], learn=True)
    assert len(rows) > 2
    assert max(len(row.tokens) for row in rows) <= 65  # the last is only predicted
    learned = np.concatenate([row.tokens[row.known :] for row in rows])
    assert learned.tolist() == made.targets([item])[0].tolist()
    assert all(row.known == 32 for row in rows[1:])
    (raw,) = made.scores([item], 8)
    assert raw["loss"] == pytest.approx(sum(made.encoder.losses(rows)))


def test_of_a_long_prompt_the_end_is_kept_to_be_continued_and_else_the_beginning(starts):
    text = "view " * 50 + "crash"
    tokens = {}
    for kind in ("generation", "summarisation"):
        made = network(starts["gpt2"], kind, max_tokens=20)
        (row,) = made.rows([{"text": text}], learn=False)
        assert len(row.tokens) == row.known == 20
        tokens[kind] = [made.encoder.tokenizer.id_to_token(n) for n in row.tokens]
    assert tokens["generation"] == ["view"] * 19 + ["crash"]
    assert tokens["summarisation"][0] == "view"
    assert "crash" not in tokens["summarisation"]


def test_a_causal_model_reads_a_target_as_it_stands_after_the_text(starts, tmp_path):
    byte_level(starts["gpt2"], tmp_path)
    made = network(tmp_path, "generation")
    pieces = made.encoder.tokenizer

    def after(text: str, target: str) -> list[str]:
        (found,) = made.targets([{"text": text, "target": target}])
        return [pieces.id_to_token(n) for n in found]

    assert "".join(after("the view", "a model")) == "ĠaĠmodel<|endoftext|>"
    assert "".join(after("def f():\n  ", "a model")) == "ĊĠĠaĠmodel<|endoftext|>"
    assert "".join(after("", "a model")) == "aĠmodel<|endoftext|>"
    (row,) = made.rows([{"text": ""}], learn=False)
    assert [pieces.id_to_token(n) for n in row.tokens] == ["<|endoftext|>"]


def byte_level(start: Path, out: Path) -> None:
    """Copy a start with GPT-2's kind of tokenizer: all bytes, and no merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: n for n, sign in enumerate(["<|endoftext|>", *signs])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(out / "tokenizer.json"))
    for name in ("config.json", "model.safetensors"):
        (out / name).write_bytes((start / name).read_bytes())


def test_a_text_may_be_half_as_long_again_as_those_of_training(starts, trained):
    about = read_json(trained["t5", "translation"] / "network.json")
    made = network(starts["t5"], "translation")
    longest = max(map(len, made.targets(EXAMPLES["translation"](8))))
    assert about["longest"] == int(1.5 * longest) == made.reads.longest


def test_a_frozen_model_answers_untrained_and_saves_no_weights(starts, tmp_path):
    made = network(starts["t5"], "translation", Shape(frozen=True))
    made.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]
    items = EXAMPLES["translation"](3)
    assert Network.load(starts["t5"], tmp_path).scores(items, 2) == made.scores(items, 2)
    assert not list(made.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_go_from_the_embeddings_up_and_hold_each_weight_once(starts, family):
    writer = Writer(starts[family])
    groups = writer.groups()
    held = [id(weight) for group in groups for weight in group]
    assert len(held) == len(set(held))
    assert set(held) == {id(weight) for weight in writer.model.parameters()}
    assert any(weight is writer.model.get_input_embeddings().weight for weight in groups[0])
    assert len(groups) - len(writer.layers) in (1, 2)  # a head of its own is not in all of them
    for layer, group in zip(writer.layers, groups[1:], strict=False):
        assert {id(weight) for weight in layer.parameters()} <= {id(weight) for weight in group}


def test_the_last_layers_can_begin_anew(starts):
    writer, before = Writer(starts["bart"]), Writer(starts["bart"])
    torch.manual_seed(3)
    writer.renew(1)
    same = [
        all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))
        for left, right in zip(writer.layers, before.layers, strict=True)
    ]
    assert same == [True, True, True, False]
    with pytest.raises(StepError, match="reinitialised_layers is 5; the model has 4 layers"):
        writer.renew(5)


@pytest.mark.parametrize("family", ["bert", "xlnet"])
def test_a_start_that_does_not_write_is_one_line(tmp_path, family):
    start = make_family(family, tmp_path)
    with pytest.raises(StepError, match=f"is of type {family}, which does not write texts; exp"):
        network(start, "translation")


def test_a_start_without_an_end_token_is_one_line(tmp_path):
    start = make_family("llama", tmp_path)
    with pytest.raises(StepError, match=r"config\.json names no eos_token_id"):
        network(start, "generation")


def test_a_start_with_two_vocabularies_is_one_line(starts, tmp_path):
    about = read_json(starts["marian"] / "config.json")
    write_json(tmp_path / "config.json", about | {"decoder_vocab_size": 12})
    (tmp_path / "tokenizer.json").write_bytes((starts["marian"] / "tokenizer.json").read_bytes())
    with pytest.raises(StepError, match="two vocabularies"):
        network(tmp_path, "translation")


def test_a_start_without_its_head_is_one_line(tmp_path):
    start = make_family("qwen2", tmp_path)
    model = transformers.AutoModel.from_pretrained(start)
    model.config.tie_word_embeddings = False
    model.save_pretrained(start)
    with pytest.raises(StepError, match=r"lacks 1 weights of a model that writes, lm_head\.weight"):
        network(start, "generation")


def test_a_knob_of_another_network_is_one_line(starts):
    with pytest.raises(StepError, match="has no crf"):
        network(starts["t5"], "translation", Shape(crf=True))


def test_class_weights_where_there_are_no_classes_are_one_line(starts, tmp_path):
    knobs = {"learning_rate": 1e-2, "epochs": 1, "batch_tokens": 512, "class_weights": True}
    settings = full.Settings(strategy="full", start="", **knobs)
    with pytest.raises(StepError, match="a recipe for translation, which has no classes"):
        full.fit(material("translation"), settings, starts["t5"], 1, tmp_path)
