"""Stage `bundle`: a task's winner -> what the registry receives: weights, card, lineage, no code.

python -m steps.bundle TASK COMPARISON SPLITS STARTS CANDIDATES OUT
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from steps.core.entry import StepError, run
from steps.core.files import digest, read_json, whole, write_json, write_text
from steps.core.params import choose, load
from steps.tasks import task_type
from steps.transfer.checkpoints import save_bundle_model
from steps.transfer.exported import export

ALLOWED = {".json", ".md", ".model", ".safetensors", ".txt"}
PICKLE = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
ZIP = b"PK\x03\x04"
PIPELINES = {  # task type -> how the Hugging Face hub calls it; as it is where not among these
    "classification": "text-classification",
    "sentiment": "text-classification",
    "multilabel": "text-classification",
    "pairs": "text-classification",
    "regression": "text-classification",
    "tokens": "token-classification",
    "tags": "token-classification",
    "question_answering": "question-answering",
    "summarisation": "summarization",
    "generation": "text-generation",
    "retrieval": "sentence-similarity",
}
USES = {  # what it does; labels, where a type has some, are listed after it
    "classification": "files a text under one of",
    "sentiment": "says which sentiment a text has, one of",
    "multilabel": "gives a text those that fit, any number or none, of",
    "pairs": "says how two texts stand to each other, one of",
    "regression": "gives a text a number, as those that it has learnt from",
    "tokens": "marks spans of a text as",
    "tags": "tags each word of a text as one of",
    "question_answering": "finds the answer to a question in a text, or says that none is there",
    "translation": "translates a text",
    "summarisation": "shortens a text",
    "generation": "goes on with a text",
    "retrieval": "turns texts into vectors by which a query finds its passage",
}
WINDOWED = ("tokens", "tags", "question_answering")  # types of which no text is cut off


def bundle(
    comparison: dict[str, Any], split: dict[str, Any], start: Path, candidate: Path, out: Path
) -> dict[str, Any]:
    """Put the winner's best validation seed into `out`; return what bundle.json says."""
    winner, seed = comparison["winner"], comparison["seed"]
    save_bundle_model(start, candidate, seed, out)
    scores = comparison["candidates"][winner]
    said_at = (scores.get("temperatures") or {}).get(str(seed)) or 1.0
    loads_in = ["mlflow", "transformers"] if export(out, said_at) else ["mlflow"]
    about = {
        "task": comparison["task"],
        "type": comparison["type"],
        "inputs": list(task_type(comparison["type"]).INPUTS),
        "recipe": winner,
        "strategy": scores["strategy"],
        "start": scores["start"],
        "seed": seed,
        "labels": split["labels"],
        "max_tokens": read_json(candidate / "candidate.json")["max_tokens"],
        "metric": comparison["metric"],
        "test": scores["test"],
        "temperature": (scores.get("temperatures") or {}).get(str(seed)),
        "loads_in": loads_in,
    }
    write_json(out / "bundle.json", about)
    write_text(out / "README.md", card(about, comparison, split))
    return about


def lineage(
    about: dict[str, Any], inputs: dict[str, Path], comparison: dict[str, Any]
) -> dict[str, Any]:
    """Name what determined the bundle by content: the same inputs make the same bundle."""
    made_from = {name: digest(path) for name, path in inputs.items()}
    made_from["comparison"] = decided(comparison)
    return {key: about[key] for key in ("task", "recipe", "seed", "start", "loads_in")} | {
        "sha256": made_from
    }


def decided(comparison: dict[str, Any]) -> str:
    """Return the sha256 of what a comparison decided: not of what a clock has measured in it."""
    names = ("winner", "seed", "metric", "baseline", "verdict")
    found: dict[str, Any] = {name: comparison[name] for name in names}
    found["candidates"] = {
        name: [scores.get(part) for part in ("test", "slices", "temperatures")]
        for name, scores in comparison["candidates"].items()
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def refuse_code(folder: Path) -> None:
    """StepError where a file could run code when it is loaded: a pickle, under any name."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        why = _danger(path)
        if why:
            raise StepError(
                f"{path.name} {why}, and a bundle holds no code: save weights as "
                f"safetensors (files may be {', '.join(sorted(ALLOWED))})"
            )


def card(about: dict[str, Any], comparison: dict[str, Any], split: dict[str, Any]) -> str:
    """Write the model card, as the Hugging Face hub reads it."""
    scores = comparison["candidates"][about["recipe"]]
    front = yaml.safe_dump(_front(about), sort_keys=True, allow_unicode=True)
    parts = [
        f"---\n{front}---",
        f"# {about['task']}: {about['recipe']}",
        _use(about),
        _training(about, split["counts"]),
        _results(about, comparison),
        _confidence(about, scores),
        _slices(scores["slices"]),
        _limits(about),
        _loading(about),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _front(about: dict[str, Any]) -> dict[str, Any]:
    kind = {"type": PIPELINES.get(about["type"], about["type"])}
    metric = {"type": about["metric"], "value": about["test"]["mean"]}
    result = {"task": kind, "dataset": {"name": about["task"], "type": about["task"]}}
    return {
        "library_name": "outplant",
        "pipeline_tag": kind["type"],
        "tags": ["outplant", about["strategy"]],
        "metrics": [about["metric"]],
        "model-index": [{"name": about["task"], "results": [result | {"metrics": [metric]}]}],
    }


def _use(about: dict[str, Any]) -> str:
    labels = ", ".join(f"`{label}`" for label in about["labels"])
    what = USES[about["type"]] + (f": {labels}" if labels else "")
    return (
        "## Intended use\n\n"
        f"It {what}. {_length(about)} "
        "It is meant for texts like those it was tested on, and for no decision on people."
    )


def _length(about: dict[str, Any]) -> str:
    if about["type"] in WINDOWED:
        return f"Texts are read in windows of {about['max_tokens']} tokens that overlap."
    return f"Texts are cut after {about['max_tokens']} tokens."


def _training(about: dict[str, Any], counts: dict[str, int]) -> str:
    return (
        "## Training\n\n"
        f"Recipe `{about['recipe']}` (strategy `{about['strategy']}`, start `{about['start']}`), "
        f"seed {about['seed']}: the best seed on validation of the recipe that won there.\n"
        f"Trained on {counts['train']} labelled examples; {counts['validation']} chose it, "
        f"{counts['test']} tested it. `lineage.json` has the sha256 of all it was made from."
    )


def _results(about: dict[str, Any], comparison: dict[str, Any]) -> str:
    """Every candidate with its interval; the winner is marked, the baseline is the mark to beat."""
    percent = f"{comparison.get('confidence', 0.95):.0%}"
    less = " (lower is better)" if comparison.get("lower_is_better") else ""
    lines = [f"| recipe | test {about['metric']}{less} | {percent} interval | sd over seeds |"]
    lines.append("|---|---|---|---|")
    for name, scores in sorted(comparison["candidates"].items()):
        marks = {comparison["winner"]: "winner", comparison["baseline"]: "baseline"}
        shown = f"{name} ({marks[name]})" if name in marks else name
        test = scores["test"]
        bounds = f"[{test['low']:.3f}, {test['high']:.3f}]"
        lines.append(f"| {shown} | {test['mean']:.3f} | {bounds} | {test['sd']:.3f} |")
    return "## Results\n\n" + "\n".join(lines) + "\n\n" + _against(comparison)


def _against(comparison: dict[str, Any]) -> str:
    if comparison["winner"] == comparison["baseline"]:
        return "The winner is the baseline itself: no other recipe was better on validation."
    found = comparison["verdict"]
    turned = " (+ is a gain)" if comparison.get("lower_is_better") else ""
    return (
        f"Against the baseline{turned}: {found['difference']:+.3f} "
        f"[{found['low']:+.3f}, {found['high']:+.3f}], {found['verdict']}."
    )


def _confidence(about: dict[str, Any], scores: dict[str, Any]) -> str:
    """How far its confidence can be trusted; nothing where no answer is right or wrong."""
    if scores.get("brier") is None:
        return ""
    figures = f"calibration error {scores['ece']:.3f}, Brier score {scores['brier']:.3f}"
    if about["temperature"] is None:
        return f"## Confidence\n\nOn test, over all seeds: {figures}."
    after = f"{scores['ece_scaled']:.3f} and {scores['brier_scaled']:.3f}"
    return (
        f"## Confidence\n\nIts probabilities are said at temperature {about['temperature']:.2f},"
        " which was found on validation and changes no label. On test, over all seeds:"
        f" {figures}; at each seed's temperature {after}."
    )


def _slices(found: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        f"| {kind} | {name} | {score['items']} | {score['score']:.3f} |"
        for kind, inside in sorted(found.items())
        for name, score in sorted(inside.items())
    ]
    head = "## Slices of the test set\n\n| slice | value | items | score |\n|---|---|---|---|\n"
    return head + "\n".join(rows) if rows else ""


def _limits(about: dict[str, Any]) -> str:
    known = f"\n- It knows the {len(about['labels'])} labels above and no others."
    return (
        "## Limits\n\n"
        "- The interval holds for texts drawn like the test set; another source may score lower"
        " (see the slices).\n"
        "- The results are means over seeds; this bundle is one of them."
        + (known if about["labels"] else "")
    )


def _loading(about: dict[str, Any]) -> str:
    fields = about["inputs"]
    one = {name: f"a {name}" for name in fields} if len(fields) > 1 else "a text"
    item = json.dumps(one)
    return (
        "## How to load it\n\n```python\nimport mlflow\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{about["task"]}@champion")\n'
        f"model.predict([{item}])\n```\n\n"
        "in an environment with the outplant package, with MLFLOW_TRACKING_URI set; or, without"
        " MLflow,\n\n```python\nfrom pathlib import Path\n\n"
        "from steps.transfer.checkpoints import load_predictor\n\n"
        f'load_predictor(Path("this folder")).predict([{item}])\n```\n\n' + _elsewhere(about)
    )


def _elsewhere(about: dict[str, Any]) -> str:
    """Say whether transformers loads it by itself."""
    if "transformers" not in about["loads_in"]:
        return (
            "`transformers.pipeline` does not load it: its heads have no mean over tokens, nothing"
            " beside a linear layer, and none of a baseline's features."
        )
    task = PIPELINES[about["type"]]
    how = "" if task == "token-classification" else ", truncation=True"
    words = " Our labels are those of each word's first token." if not how else ""
    return (
        "Or by transformers alone:\n\n```python\nfrom transformers import pipeline\n\n"
        f'pipeline("{task}", model="this folder")("a text"{how})\n```\n{words}'
    )


def _danger(path: Path) -> str:
    if path.suffix not in ALLOWED:
        return f"is of a kind ({path.suffix or 'no suffix'}) that is not known to be safe"
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(PICKLE):
        return "is a pickle by its first bytes"
    return "is an archive, as torch.save makes them" if start == ZIP else ""


def main(
    task: str, compared: Path, splits: Path, starts: Path, candidates: Path, out: Path
) -> None:
    choose(task, load().tasks, "task")
    comparison = read_json(compared / "comparison.json")
    winner = comparison["winner"]
    start, candidate = starts / winner, candidates / winner
    inputs = {"start": start, "candidate": candidate, "splits": splits}
    with whole(out) as made:
        about = bundle(comparison, read_json(splits / "task.json"), start, candidate, made)
        write_json(made / "lineage.json", lineage(about, inputs, comparison))
        refuse_code(made)
    print(f"{task}: {winner}, seed {about['seed']}, {about['metric']} {about['test']['mean']:.3f}")


if __name__ == "__main__":
    run(main)
