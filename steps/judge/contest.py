"""All candidates of a task on the same items: winner, intervals, differences, slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.core.params import Judge, choose
from steps.judge.bootstrap import Paired, Resamples, verdict
from steps.judge.degenerate import one_thing
from steps.judge.load import Predictions, References
from steps.judge.metrics import Metric
from steps.judge.significance import by_slice, judged, mcnemar
from steps.judge.slices import halves, kinds_for, places, slices
from steps.judge.values import Array, rounded

PARTS = ("validation", "test")


@dataclass(frozen=True)
class Candidate:
    """Predictions by part; `about` has strategy and start, `costs` ece, seconds, parameters."""

    name: str
    parts: dict[str, Predictions]
    about: dict[str, Any]
    costs: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Contest:
    """Candidates of one task, their references by part, and the rules.

    `left_out`: recipes that are not for this task, and why.
    """

    task: str
    metric: Metric
    references: dict[str, References]
    candidates: dict[str, Candidate]
    baseline: str
    judge: Judge
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.baseline in self.left_out:
            raise StepError(
                f"gate.baseline {self.baseline!r} is left out of task {self.task} "
                f"({self.left_out[self.baseline]}); take a recipe that is for all tasks"
            )
        choose(self.baseline, self.candidates, "candidate (gate.baseline)")

    @cached_property
    def counts(self) -> dict[str, dict[str, Array]]:
        """Statistics: part -> candidate -> (seeds, items, k); StepError where ids differ."""
        return {
            part: {
                name: one.parts[part].statistics(self.references[part], self.metric)
                for name, one in self.candidates.items()
            }
            for part in PARTS
        }

    @cached_property
    def resamples(self) -> dict[str, Resamples]:
        """Bootstrapped scores by part; the differences on test are read off the same resamples."""
        return {part: Resamples(self.counts[part], self.metric, self.judge) for part in PARTS}

    def seeds(self, part: str, name: str) -> dict[int, float]:
        """Score of each seed."""
        scores = self.metric.score(self.counts[part][name].sum(axis=1))
        pairs = zip(self.candidates[name].parts[part].seeds, scores, strict=True)
        return {seed: rounded(score) for seed, score in pairs}

    def merits(self, part: str, name: str) -> dict[int, float]:
        """Score of each seed, turned where less is better: more is better."""
        scores = self.seeds(part, name)
        return {seed: self.metric.better * score for seed, score in scores.items()}

    @cached_property
    def ranking(self) -> list[str]:
        """Candidates from best to worst by validation alone; ties go to the smaller, then by name.

        The test part is not looked at: what is chosen on it would be flattered by it.
        """
        merits = {
            name: rounded(float(np.mean(list(self.merits("validation", name).values()))))
            for name in self.candidates
        }
        size = {name: one.costs.get("parameters") or 0 for name, one in self.candidates.items()}
        return sorted(self.candidates, key=lambda name: (-merits[name], size[name], name))

    @property
    def winner(self) -> str:
        return self.ranking[0]

    @cached_property
    def seed(self) -> int:
        """The winner's best seed on validation: the one that is bundled."""
        merits = self.merits("validation", self.winner)
        return min(merits, key=lambda seed: (-merits[seed], seed))

    def versus(self, a: str, b: str) -> Paired:
        """How much better a scores than b on test."""
        return self.resamples["test"].paired(a, b)

    @cached_property
    def vs_baseline(self) -> dict[str, dict[str, Any]]:
        """Each candidate but the baseline against it, with p-values as of one family (Holm)."""
        names = [name for name in self.candidates if name != self.baseline]
        rows = [self.versus(name, self.baseline).numbers() for name in names]
        return dict(zip(names, judged(rows, self.judge.confidence), strict=True))

    def by_slice(self, a: str, b: str, kinds: Sequence[str]) -> list[dict[str, Any]]:
        """Compare two candidates in each slice of test that is large enough; p-values by Holm."""
        examples = self.references["test"].examples
        inside = places(examples, kinds_for(examples, kinds), self.judge.min_slice)
        ours, theirs = (self.counts["test"][name] for name in (a, b))
        return by_slice(inside, ours, theirs, self.metric, self.judge)

    def on(self, at: Sequence[int], a: str, b: str) -> tuple[Resamples, Paired]:
        """Compare two candidates on some of the test items."""
        parts = {one: self.counts["test"][one][:, np.array(at)] for one in (a, b)}
        drawn = Resamples(parts, self.metric, self.judge)
        return drawn, drawn.paired(a, b)


def described(contest: Contest, name: str, kinds: Sequence[str]) -> dict[str, Any]:
    """Everything about one candidate, for comparison.json."""
    one = contest.candidates[name]
    part = {part: _scores(contest, part, name) for part in PARTS}
    examples = contest.references["test"].examples
    counts = contest.counts["test"][name]
    return {
        **{key: one.about[key] for key in ("strategy", "start")},
        **one.costs,
        **part,
        "vs_baseline": contest.vs_baseline.get(name),
        "degenerate_seeds": _degenerate(contest.references["test"], one.parts["test"]),
        "slices": slices(
            examples, kinds_for(examples, kinds), counts, contest.metric, contest.judge.min_slice
        ),
    }


def against_baseline(contest: Contest) -> dict[str, Any]:
    """Verdict of the winner against the baseline; a baseline that wins is against itself.

    The winner was chosen on validation, so that on test this is one comparison and no family.
    """
    winner, baseline = contest.winner, contest.baseline
    found = contest.versus(winner, baseline)
    said = {"against": baseline, "verdict": verdict(found), **found.numbers()}
    ours, theirs = (contest.counts["test"][name] for name in (winner, baseline))
    exact = None if winner == baseline else mcnemar(ours, theirs, contest.metric)
    names = ("only_winner", "only_baseline", "p")
    return said | {"mcnemar": exact and dict(zip(names, exact, strict=True))}


def contamination(contest: Contest) -> dict[str, Any] | None:
    """Winner against baseline on the clean and on the contaminated test items apart.

    None where no item is contaminated; a half without items is None, a small one inconclusive.
    """
    found = halves(contest.references["test"].examples)
    return {half: _on_half(contest, at) for half, at in found.items()} or None


def _on_half(contest: Contest, at: list[int]) -> dict[str, Any] | None:
    if not at:
        return None
    drawn, paired = contest.on(at, contest.winner, contest.baseline)
    scores = {
        "winner": rounded(drawn.points[contest.winner]),
        "baseline": rounded(drawn.points[contest.baseline]),
    }
    said = verdict(paired) if len(at) >= contest.judge.min_slice else "inconclusive"
    return {"items": len(at), **scores, "verdict": said, **paired.numbers()}


def _scores(contest: Contest, part: str, name: str) -> dict[str, Any]:
    seeds = contest.seeds(part, name)
    found = contest.resamples[part].interval(name)
    values = list(seeds.values())
    return {
        "mean": rounded(found.value),
        "sd": rounded(float(np.std(values, ddof=1))) if len(values) > 1 else 0.0,
        "low": rounded(found.low),
        "high": rounded(found.high),
        "seeds": {str(seed): score for seed, score in seeds.items()},
    }


def _degenerate(references: References, said: Predictions) -> list[int]:
    """Name the seeds whose predictions are all one while the references are not."""
    seeds = zip(said.seeds, said.values, strict=True)
    return [s for s, values in seeds if one_thing(references.kind, references.values, values)]
