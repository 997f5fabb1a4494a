"""Fine-tuning and prediction against the example recipe: same base, same examples, same epochs.

    python -m tests.bench.finetune [--start DIR] [--pairs N] [--examples N] [--epochs N]
                                   [--texts N] [--folder DIR]

Theirs: Hugging Face's Trainer with its defaults on AutoModelForSequenceClassification, every text
filled up to 128 tokens. Ours: strategy `full`. Both begin with texts in memory and a base on disk
and end with a model on disk; that whole time counts, without imports. Neither sees validation; the
score is macro-F1 on the same test examples, by the class that each model finds likeliest. Pair N
trains with seed N; each side of each pair is a process of its own, and the sides take turns at
going first.

Then `predict` against `transformers.pipeline` with batch_size=32 on texts of 5 to 100 words, with
the weights that ours has learned in the first pair: the pipeline reads them as a transformers model
of the same encoder with ours' mean and linear layer on it. One JSON line a side, a summary last.
"""

import argparse
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SIDES = ("theirs", "ours")
MAX_TOKENS = 128
BATCH = 32
KNOBS = {"learning_rate": 2e-4, "batch_tokens": 1024, "checkpoint_minutes": 10**6}
Rows = list[dict[str, Any]]


def prepare(folder: Path, start: Path | None, examples: int) -> None:
    """Fetch base and texts as the demo does, and split them; what is there already is kept."""
    from steps import fetch, ingest, split
    from steps.core import params as parameters

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["tasks"] = {"changes": params["tasks"]["changes"]}
    params["recipes"] = {"baseline": params["recipes"]["baseline"]}
    params["tasks"]["changes"]["split"] |= {"train": examples, "validation": 100, "test": 500}
    for name in ("minilm", "pydocs"):
        params["sources"][name]["path"] = str(ROOT / f"infra/demo/{name}.txt")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    os.chdir(folder)
    parameters.load.cache_clear()
    base = Path("base")
    if not base.exists():
        if start:
            base.symlink_to(start.resolve())
        else:
            fetch.main("minilm", base)
    if not Path("examples").exists():
        fetch.main("pydocs", Path("raw"))
        ingest.main("task", "changes", Path("raw"), Path("examples"), Path("ingest.json"))
    split.main("changes", Path("examples"), Path("splits"))


def parts() -> tuple[Rows, Rows, list[str]]:
    """Training and test examples, and the labels."""
    from steps.core.files import read_json, read_rows

    train, test = (read_rows(Path(f"splits/{name}.parquet")) for name in ("train", "test"))
    return train, test, read_json(Path("splits/task.json"))["labels"]


def ours(seed: int, epochs: int) -> tuple[float, list[str]]:
    """Train as the stage does; seconds, and what is said of the test texts."""
    from steps.transfer.checkpoints import load_weights
    from steps.transfer.strategies import Material, full

    train, test, labels = parts()
    knobs = {"strategy": "full", "start": "base", "epochs": epochs}
    settings = full.Settings(**KNOBS, **knobs)
    out, room = Path(f"ours-{seed}"), Path(f"room-{os.getpid()}")
    _warm()
    began = time.perf_counter()
    material = Material("classification", labels, train, MAX_TOKENS, room=room)
    full.fit(material, settings, Path("base"), seed, out)
    seconds = time.perf_counter() - began
    predictor = load_weights(full, Path("base"), out, "classification", labels)
    return seconds, [found.value for found in predictor.predictions(test)]


def theirs(seed: int, epochs: int) -> tuple[float, list[str]]:
    """Train as the example script does: its defaults, whatever they are on this machine."""
    import torch
    import transformers

    train, test, labels = parts()
    out = f"theirs-{seed}"
    _warm()
    began = time.perf_counter()
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained("base")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        "base", num_labels=len(labels), dtype=torch.float32
    )
    settings = transformers.TrainingArguments(
        out, num_train_epochs=epochs, seed=seed, save_strategy="no", report_to=[], disable_tqdm=True
    )
    trainer = transformers.Trainer(model, settings, train_dataset=rows(tokenizer, train, labels))
    trainer.train()
    trainer.save_model()
    seconds = time.perf_counter() - began
    scores = trainer.predict(rows(tokenizer, test, labels)).predictions
    return seconds, [labels[number] for number in scores.argmax(axis=1)]


def rows(tokenizer: Any, examples: Rows, labels: list[str]) -> Rows:
    """Encode, each text filled up to the longest length, as `pad_to_max_length` does."""
    settings = {"padding": "max_length", "truncation": True, "max_length": MAX_TOKENS}
    found = tokenizer([example["text"] for example in examples], **settings)
    return [
        {name: found[name][at] for name in found} | {"label": labels.index(example["label"])}
        for at, example in enumerate(examples)
    ]


def _warm() -> None:
    """Import what both sides need before the clock starts."""
    for name in (
        "sklearn.linear_model",
        "transformers.models.bert",
        "steps.transfer.networks.tuning",
    ):
        importlib.import_module(name)


def trained(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one side in this process; return its figures."""
    from steps.judge.metrics import compute

    seconds, said = {"ours": ours, "theirs": theirs}[name](arguments.seed, arguments.epochs)
    train, test, labels = parts()
    score = compute("macro_f1", [example["label"] for example in test], said, labels)
    speed = len(train) * arguments.epochs / seconds
    return {"side": name, "seed": arguments.seed, "examples_per_second": speed, "macro_f1": score}


def predicted(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time both ways of prediction in this process, ours' weights in both."""
    from steps.transfer.checkpoints import load_weights
    from steps.transfer.strategies import full

    _, _, labels = parts()
    weights, texts = Path("ours-1"), mixed(arguments.texts, arguments.seed)
    predictor = load_weights(full, Path("base"), weights, "classification", labels)
    pipeline = exported(weights, labels)
    ways = {
        "ours": lambda texts: [said["label"] for said in predictor.predict(texts)],
        "pipeline": lambda texts: [said["label"] for said in pipeline(texts, batch_size=BATCH)],
    }
    speeds, said = {}, {}
    for name in sorted(ways, reverse=bool(arguments.seed % 2)):
        ways[name](texts[: 2 * BATCH])
        began = time.perf_counter()
        said[name] = ways[name](texts)
        speeds[name] = len(texts) / (time.perf_counter() - began)
    alike = sum(a == b for a, b in zip(said["ours"], said["pipeline"], strict=True))
    return {"side": "predict", "labels_alike": alike / len(texts), **speeds}


def mixed(count: int, seed: int) -> list[str]:
    """Texts of 5 to 100 words, of the test part's words in their order."""
    words = [word for example in parts()[1] for word in example["text"].split()]
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        at, size = draw.randrange(len(words) - 100), draw.randint(5, 100)
        found.append(" ".join(words[at : at + size]))
    return found


def exported(weights: Path, labels: list[str]) -> Any:
    """A pipeline on our weights: the encoder by transformers itself, the mean and the linear layer
    as `networks.units` has them.
    """
    import torch
    import transformers
    from safetensors.torch import load_file
    from transformers.modeling_outputs import SequenceClassifierOutput

    class MeanClassifier(transformers.PreTrainedModel):
        config_class = transformers.BertConfig
        _supports_sdpa = True  # else it takes a slower attention than the encoder itself would

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.encoder = transformers.BertModel(config, add_pooling_layer=False)
            self.linear = torch.nn.Linear(config.hidden_size, config.num_labels)
            self.post_init()

        def forward(self, attention_mask: Any, **inputs: Any) -> SequenceClassifierOutput:
            hidden = self.encoder(attention_mask=attention_mask, **inputs).last_hidden_state
            kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * kept).sum(dim=1) / kept.sum(dim=1)
            return SequenceClassifierOutput(logits=self.linear(vectors))

    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it lists all it knows
    names = dict(enumerate(labels))
    config = transformers.BertConfig.from_pretrained("base", id2label=names)
    model = MeanClassifier(config).eval()
    head = load_file(weights / "head.safetensors")
    model.encoder.load_state_dict(load_file(weights / "model.safetensors"))
    model.linear.load_state_dict({name: head[f"linear.{name}"] for name in ("weight", "bias")})
    tokenizer = transformers.AutoTokenizer.from_pretrained("base", model_max_length=MAX_TOKENS)
    return transformers.pipeline(
        "text-classification", model=model, tokenizer=tokenizer, truncation=True
    )


def child(name: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.finetune", "--side", name, "--seed", str(seed)]
    command += ["--epochs", str(arguments.epochs), "--texts", str(arguments.texts)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    print(line := done.stdout.strip().splitlines()[-1], flush=True)
    found: dict[str, Any] = json.loads(line)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000, help="that are predicted")
    parser.add_argument("--folder", type=Path, default=Path("bench-finetune"))
    parser.add_argument("--side", choices=(*SIDES, "predict"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        one = arguments.side == "predict"
        print(json.dumps(predicted(arguments) if one else trained(arguments.side, arguments)))
        return
    prepare(arguments.folder, arguments.start, arguments.examples)
    pairs, readings = [], []
    for number in range(1, arguments.pairs + 1):
        turns = SIDES if number % 2 else SIDES[::-1]
        pairs.append({name: child(name, arguments, number) for name in turns})
    for number in range(1, arguments.pairs + 1):
        readings.append(child("predict", arguments, number))
    print(json.dumps(summary(pairs, readings), sort_keys=True))


def summary(pairs: list[dict[str, dict[str, Any]]], readings: Rows) -> dict[str, Any]:
    speed = "examples_per_second"
    scores = {side: [pair[side]["macro_f1"] for pair in pairs] for side in SIDES}
    means = {side: statistics.mean(values) for side, values in scores.items()}
    spread = {side: statistics.stdev(v) if len(v) > 1 else 0.0 for side, v in scores.items()}
    sd = ((spread["ours"] ** 2 + spread["theirs"] ** 2) / 2) ** 0.5

    def median(values: Any, digits: int = 3) -> float:
        return round(statistics.median(values), digits)

    found = {
        "pairs": len(pairs),
        "ratio": median(pair["ours"][speed] / pair["theirs"][speed] for pair in pairs),
        "metric_gap_sd": round((means["ours"] - means["theirs"]) / sd, 3) if sd else None,
        "predict_ratio": median(found["ours"] / found["pipeline"] for found in readings),
        "labels_alike": min(found["labels_alike"] for found in readings),
    }
    for side in SIDES:
        found[f"{speed}_{side}"] = median((pair[side][speed] for pair in pairs), 2)
        found |= {f"macro_f1_{side}": round(means[side], 4), f"sd_{side}": round(spread[side], 4)}
    for side in ("ours", "pipeline"):
        found[f"predicted_per_second_{side}"] = median((one[side] for one in readings), 1)
    return found


if __name__ == "__main__":
    main()
