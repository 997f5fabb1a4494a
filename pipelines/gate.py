"""The gate: may a challenger become champion? Facts in, a verdict out; nothing is read here."""

from collections.abc import Iterator
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
class Source:
    """What a version was built from: a commit, and files of code and params that were not in it."""

    commit: str
    dirty: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What is known of a challenger.

    `baseline` is None where the challenger is the baseline itself, `champion` where there is none;
    a text in place of a Difference says why the two cannot be compared. `slices` maps a slice to
    the difference from the champion on it, its verdict by Holm over all. `clean` is what is known
    of the test items alone that training does not have, where it has some; a text says why nothing
    is. `costs` has ece, latency_ms and megabytes, None where it is not known; `leakage` is the
    share of test items that training has. `better` is -1 where less of the metric is better.
    """

    task: str
    recipe: str
    metric: str
    score: float
    data_valid: bool
    baseline: Difference | str | None
    champion: Difference | str | None
    slices: dict[str, Difference] = field(default_factory=dict)
    clean: "Facts | str | None" = None
    better: int = 1
    costs: dict[str, float | None] = field(default_factory=dict)
    leakage: float = 0.0
    source: Source = Source("")


@dataclass(frozen=True)
class Clause:
    """One condition; `undecided` where the data are too few to say, which is no pass."""

    name: str
    expected: str
    found: str
    passed: bool
    undecided: bool = False

    def __str__(self) -> str:
        return f"{self.mark:9} {self.name}: expected {self.expected}, found {self.found}"

    @property
    def mark(self) -> str:
        """Pass, fail or undecided."""
        return "pass" if self.passed else "undecided" if self.undecided else "fail"


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
        *_minimum(gate, facts),
        _validation(facts),
        _baseline(gate, facts),
        _champion(facts),
        _slices(gate, facts),
        *_clean(gate, facts.clean),
        *_costs(gate, facts),
        *_leakage(gate, facts),
        *_source(gate, facts),
    )
    if any(not clause.passed and not clause.undecided for clause in clauses):
        return Verdict("refuse", clauses)
    if any(clause.undecided for clause in clauses):
        return Verdict("inconclusive", clauses)
    return Verdict("promote", clauses)


def moves(gate: GateParams, verdict: Verdict) -> bool:
    """Whether a verdict moves the champion: promote does, inconclusive by the gate's policy."""
    policy = gate.inconclusive == "promote"
    return verdict.verdict == "promote" or (policy and verdict.verdict == "inconclusive")


def _minimum(gate: GateParams, facts: Facts) -> Iterator[Clause]:
    limit, less = gate.minimum.get(facts.task), facts.better < 0
    if limit is not None:
        yield Clause(
            "maximum metric" if less else "minimum metric",
            f"{facts.metric} {'<=' if less else '>='} {limit:g}",
            f"{facts.score:.3f}",
            facts.better * facts.score >= facts.better * limit,
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
        for clause in (*_minimum(gate, clean), _baseline(gate, clean), _champion(clean)):
            yield replace(clause, name=f"{clause.name}, clean items")


def _slices(gate: GateParams, facts: Facts) -> Clause:
    """The worst slice is named; slices too small to judge are not among the facts."""
    margin = f" by more than {gate.slice_margin:g}" if gate.slice_margin else ""
    expected = f"no slice shown worse than the champion's{margin}"
    if not facts.slices:
        return Clause("slices", expected, "no slice to compare", True)
    worse = {
        name: found
        for name, found in facts.slices.items()
        if found.verdict == "refuse" and found.difference < -gate.slice_margin
    }
    among = worse or facts.slices
    worst = min(sorted(among), key=lambda name: among[name].difference)
    more = f" and {len(worse) - 1} more" if worse and len(worse) > 1 else ""
    found = f"{'' if worse else 'at worst '}{worst}{more}, {among[worst]}"
    return Clause("slices", expected, found, not worse)


def _costs(gate: GateParams, facts: Facts) -> Iterator[Clause]:
    """Calibration, latency and size; what has no limit has no clause."""
    for name, key, unit, limit in (
        ("calibration", "ece", "", gate.max_ece),
        ("latency", "latency_ms", " ms", gate.max_latency_ms),
        ("size", "megabytes", " MB", gate.max_megabytes),
    ):
        if limit is None:
            continue
        expected, found = f"{key} <= {limit:g}{unit}", facts.costs.get(key)
        if found is None:
            applies = key != "ece"  # a translation is neither right nor wrong
            text = "not known; run `dvc repro`" if applies else "nothing of this task to calibrate"
            yield Clause(name, expected, text, not applies, applies)
        else:
            yield Clause(name, expected, f"{found:.3g}{unit}", found <= limit)


def _leakage(gate: GateParams, facts: Facts) -> Iterator[Clause]:
    if gate.max_leakage is not None:
        expected = f"at most {gate.max_leakage:.1%} of the test items in training"
        yield Clause("leakage", expected, f"{facts.leakage:.1%}", facts.leakage <= gate.max_leakage)


def _source(gate: GateParams, facts: Facts) -> Iterator[Clause]:
    if not gate.clean_source:
        return
    commit, dirty = facts.source.commit, facts.source.dirty
    found = f"commit {commit[:12]}" if commit else "no git commit is known"
    if dirty:
        found = f"uncommitted: {', '.join(dirty)}"
    yield Clause("clean source", "committed code and params", found, bool(commit) and not dirty)
