"""The gate: may a challenger become champion? Facts in, a verdict out; nothing is read here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from steps.core.params import GateParams


@dataclass(frozen=True)
class Difference:
    """How much better than another candidate, paired by item; `verdict` is the judge's."""

    verdict: str
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.verdict}: {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Facts:
    """What is known of a challenger.

    `baseline` is None where the challenger is the baseline itself, `champion` where there is none;
    a text in place of a champion's Difference says why the two cannot be compared. `slices` maps a
    slice to the score of the challenger and of the champion on it. `clean` is what is known of the
    test items alone that training does not have, where it has some; a text says why nothing is.
    `better` is -1 where less of the metric is better: gate.min_metric is then the most it may be.
    """

    recipe: str
    metric: str
    score: float
    data_valid: bool
    baseline: Difference | str | None
    champion: Difference | str | None
    slices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    clean: "Facts | str | None" = None
    better: int = 1


@dataclass(frozen=True)
class Clause:
    """One condition; `undecided` where the data are too few to say, which is no pass."""

    name: str
    expected: str
    found: str
    passed: bool
    undecided: bool = False

    def __str__(self) -> str:
        mark = "pass" if self.passed else "undecided" if self.undecided else "fail"
        return f"{mark:9} {self.name}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Verdict:
    """promote, refuse or inconclusive, and the clauses it rests on."""

    verdict: str
    clauses: tuple[Clause, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"verdict": self.verdict, "clauses": [vars(clause) for clause in self.clauses]}


def decide(gate: GateParams, facts: Facts) -> Verdict:
    """Judge every clause: one that fails refuses, else one undecided makes it inconclusive.

    What is claimed must hold on all test items, and on the clean ones alone where some are not.
    """
    clauses = (
        _minimum(gate, facts),
        _validation(facts),
        _baseline(gate, facts),
        _champion(facts),
        _slices(gate, facts),
        *_clean(gate, facts.clean),
    )
    if any(not clause.passed and not clause.undecided for clause in clauses):
        return Verdict("refuse", clauses)
    if any(clause.undecided for clause in clauses):
        return Verdict("inconclusive", clauses)
    return Verdict("promote", clauses)


def _minimum(gate: GateParams, facts: Facts) -> Clause:
    less = facts.better < 0
    return Clause(
        "maximum metric" if less else "minimum metric",
        f"{facts.metric} {'<=' if less else '>='} {gate.min_metric:g}",
        f"{facts.score:.3f}",
        facts.better * facts.score >= facts.better * gate.min_metric,
    )


def _validation(facts: Facts) -> Clause:
    found = "passed" if facts.data_valid else "failed"
    return Clause("data validation", "passed", found, facts.data_valid)


def _baseline(gate: GateParams, facts: Facts) -> Clause:
    expected = f"better than {gate.baseline}"
    if facts.baseline is None:
        return Clause("baseline", expected, "the winner is the baseline", True)
    if isinstance(facts.baseline, str):
        return Clause("baseline", expected, facts.baseline, False, undecided=True)
    return _better("baseline", expected, facts.baseline)


def _champion(facts: Facts) -> Clause:
    expected = "better than the champion"
    if facts.champion is None:
        return Clause("champion", expected, "no champion yet", True)
    if isinstance(facts.champion, str):
        return Clause("champion", expected, facts.champion, False)
    return _better("champion", expected, facts.champion)


def _better(name: str, expected: str, found: Difference) -> Clause:
    return Clause(
        name, expected, str(found), found.verdict == "promote", found.verdict == "inconclusive"
    )


def _clean(gate: GateParams, clean: Facts | str | None) -> Iterator[Clause]:
    """The claims again, on the clean test items; none where all are."""
    if isinstance(clean, str):
        yield Clause("clean items", "enough test items that training has not", clean, False, True)
    elif clean:
        for clause in (_minimum(gate, clean), _baseline(gate, clean), _champion(clean)):
            yield replace(clause, name=f"{clause.name}, clean items")


def _slices(gate: GateParams, facts: Facts) -> Clause:
    """The worst slice is named; slices too small to judge are not among the facts."""
    expected = f"no slice worse than the champion's by more than {gate.slice_margin:g}"
    if not facts.slices:
        return Clause("slices", expected, "no slice to compare", True)
    losses = {name: facts.better * (was - now) for name, (now, was) in facts.slices.items()}
    worst = max(sorted(losses), key=lambda name: losses[name])
    now, was = facts.slices[worst]
    found = f"{worst}: {now:.3f}, champion {was:.3f}"
    return Clause("slices", expected, found, losses[worst] <= gate.slice_margin)
