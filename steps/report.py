"""Stage `report`: a task's comparison and the winner's model -> the page to read.

    python -m steps.report COMPARISON SPLITS PREDICTIONS BUNDLE LEARNING OUT

The report's comparison.json is the whole of it: what `compare` decided, the errors worth reading
with what the model went by, the pairs that are mixed up, and LEARNING's learning.json, if there is
one.
"""

from pathlib import Path
from typing import Any

from steps.core.entry import run
from steps.core.files import read_json, whole, write_json, write_text
from steps.core.params import Explain, load
from steps.judge.contest import PARTS, Candidate, Contest
from steps.judge.load import read_predictions, read_references
from steps.judge.metrics import metric_for
from steps.judge.mistakes import mistakes
from steps.judge.questions import questions
from steps.judge.report import Evidence, render
from steps.transfer.attribution import Explanation, Question, explain, unable

Rows = list[dict[str, Any]]


def report(contest: Contest, bundle: Path, settings: Explain) -> dict[str, Any]:
    """What the report adds to a comparison: errors with attributions, and mixed-up pairs."""
    found, why = mistakes(contest, settings.errors), unable(bundle, settings)
    if not why:
        found["errors"] = explained(contest, found["errors"], bundle, settings)
    return found | {"explain": {"method": settings.method, "why_not": why}}


def explained(contest: Contest, found: Rows, bundle: Path, settings: Explain) -> Rows:
    """The errors, each with what the bundle's model went by, where there is something to ask."""
    references = contest.references["test"]
    items = dict(zip(references.ids, references.examples, strict=True))
    asked = dict(enumerate(questions(contest, found)))
    about = {n: Question(items[found[n]["id"]], *one) for n, one in asked.items() if one}
    answers = dict(zip(about, explain(bundle, list(about.values()), settings), strict=True))
    return [
        error | (_explained(about[n], answers[n]) if n in about else {})
        for n, error in enumerate(found)
    ]


def _explained(question: Question, answer: Explanation) -> dict[str, Any]:
    return {
        "explained": question.label,
        "explained_at": question.span,
        "method": answer.method,
        "completeness": answer.completeness,
        "attributions": [vars(mark) for mark in answer.marks],
    }


def held(comparison: dict[str, Any], splits: Path, predictions: Path) -> Contest:
    """The winner and the baseline once more, as `compare` had them; nothing is decided again."""
    references = {part: read_references(splits, part) for part in PARTS}
    candidates = {}
    for name in sorted({comparison["winner"], comparison["baseline"]}):
        parts = {part: read_predictions(predictions / name, part) for part in PARTS}
        about = parts["test"].about
        size = {"parameters": about["parameters"]}
        candidates[name] = Candidate(name, parts, about, size)
    metric = metric_for(comparison["metric"], references["test"].kind)
    judge, baseline = load().judge, comparison["baseline"]
    return Contest(comparison["task"], metric, references, candidates, baseline, judge)


def main(
    compared: Path, splits: Path, predictions: Path, bundle: Path, learning: Path, out: Path
) -> None:
    params = load()
    comparison = read_json(compared / "comparison.json")
    contest = held(comparison, splits, predictions)
    curve = learning / "learning.json"
    comparison |= report(contest, bundle, params.explain)
    comparison["learning"] = read_json(curve) if curve.exists() else None
    about = read_json(splits / "task.json")
    bins = params.evaluation.bins
    evidence = Evidence(contest, about["counts"], about["conflicts"], bins, about.get("overlap"))
    with whole(out) as made:
        write_json(made / "comparison.json", comparison)
        write_text(made / "report.html", render(comparison, evidence))
    print(f"{comparison['task']}: {len(comparison['errors'])} errors, {out / 'report.html'}")


if __name__ == "__main__":
    run(main)
