"""Expectations on text, as Great Expectations knows them: a figure between two bounds.

The figure is taken over all rows, streaming; GX judges it as the one row of a profile frame. So the
result, its severity and its place in the data docs are those of any other expectation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Literal

from pydantic import Field, create_model

from steps.checks import drift, measures
from steps.checks.measures import SHOWN, Dataset, Measured, Row
from steps.core.entry import StepError
from steps.core.params import Expectation, Section, check


class Bounds(Section):
    """At least one must be given."""

    min_value: float | None = None
    max_value: float | None = None


class Language(Bounds):
    language: str = Field(pattern="^[a-z]{2,3}$")


class Copies(Bounds):
    kind: Literal["exact", "near"] | None = None


class Rejects(Bounds):
    reason: str | None = Field(default=None, min_length=1)


class Masks(Bounds):
    type: str | None = Field(default=None, pattern="^[A-Z][A-Z0-9_]*$")


Other = create_model("Other", __base__=Bounds, **{"with": (str, Field(min_length=1))})  # a keyword


class Drift(Bounds):
    of: Literal["words", "lengths"] | None = None


@dataclass(frozen=True)
class Kind:
    """What an expectation of ours takes, what its figure is called, and how it is measured."""

    arguments: type[Bounds]
    figure: str
    measure: Callable[..., Measured]


EXPECTATIONS = {
    "expect_language_share_to_be_between": Kind(
        Language, "share of documents in {language}", measures.language_share
    ),
    "expect_duplicate_share_to_be_between": Kind(
        Copies, "share of {kind} duplicates", measures.duplicate_share
    ),
    "expect_rejected_share_to_be_between": Kind(
        Rejects, "share of records rejected {reason}", measures.rejected_share
    ),
    "expect_pii_share_to_be_between": Kind(
        Masks, "masked {type} data per kept record", measures.pii_share
    ),
    "expect_label_entropy_to_be_between": Kind(
        Bounds, "entropy of labels, 1 if all are equally frequent", measures.label_entropy
    ),
    "expect_label_noise_to_be_between": Kind(
        Bounds, "share of examples whose text has other labels too", measures.label_noise
    ),
    "expect_vocabulary_overlap_to_be_between": Kind(
        Other, "share of frequent words that are in {with}", drift.vocabulary_overlap
    ),
    "expect_drift_to_be_between": Kind(
        Drift, "drift of {of} from the last released version", drift.drift
    ),
}
WORDS = {"kind": "all", "reason": "for any reason", "type": "personal", "of": "words and lengths"}


@dataclass(frozen=True)
class Line:
    """A line of a suite that is ours, checked."""

    item: Expectation
    arguments: Bounds
    number: int

    @property
    def kind(self) -> Kind:
        return EXPECTATIONS[self.item.check]

    @property
    def given(self) -> dict[str, Any]:
        """What is measured; the bounds apart."""
        return self.arguments.model_dump(exclude=set(Bounds.model_fields))

    @property
    def figure(self) -> str:
        words = {name: value or WORDS[name] for name, value in self.given.items()}
        return self.kind.figure.format(**words)

    @property
    def expected(self) -> str:
        return bounds(self.arguments.min_value, self.arguments.max_value)

    def measure(self, data: Dataset) -> Measured:
        return self.kind.measure(data, *self.given.values())


@dataclass(frozen=True)
class Judged:
    """What GX said of a line of ours, what was measured, and the rows out of bounds."""

    result: Any
    measured: Measured | None
    rows: list[Row]


def bounds(least: float | None, most: float | None) -> str:
    """Say what is expected; "" where there is no bound."""
    low, high = (f"{value:.10g}" if value is not None else "" for value in (least, most))
    if low and high:
        return f"between {low} and {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def line(number: int, item: Expectation, where: str) -> Line:
    """Check a line of a suite that is one of EXPECTATIONS; StepError says what it takes."""
    where = f"{where}: {item.check}"
    arguments = check(EXPECTATIONS[item.check].arguments, item.model_extra or {}, where)
    least, most = arguments.min_value, arguments.max_value
    if least is None and most is None:
        raise StepError(f"{where} has no bound; add min_value, max_value or both")
    if least is not None and most is not None and least > most:
        raise StepError(f"{where}: min_value {least:g} is over max_value {most:g}; exchange them")
    return Line(item, arguments, number)


def judge(data: Dataset, lines: list[Line], run: Callable[..., list[Any]]) -> list[Judged]:
    """Measure, and let `run` (a frame, expectations -> results) judge; what can't be measured has
    raised, what has nothing to be compared with passes."""
    import pandas as pd

    outcomes = [(one, _measured(one, data)) for one in lines]
    figures = {
        one.figure: float(found.figure)
        for one, found in outcomes
        if isinstance(found, Measured) and found.figure is not None
    }
    checks = [_expectation(one) for one, _ in outcomes if one.figure in figures]
    results = run(pd.DataFrame([figures]), checks) if checks else []
    by_number = {result.expectation_config.meta["line"]: result for result in results}
    return [_judged(one, found, by_number.get(one.number)) for one, found in outcomes]


def _measured(one: Line, data: Dataset) -> Measured | StepError:
    try:
        return one.measure(data)
    except StepError as error:
        return error


def _judged(one: Line, found: Measured | StepError, result: Any) -> Judged:
    if isinstance(found, StepError):
        info = {"raised_exception": True, "exception_message": str(found)}
        info["exception_traceback"] = ""
        return Judged(_result(one, success=False, exception_info=info, result={}), None, [])
    if result is None:
        seen = {"observed_value": found.detail}
        return Judged(_result(one, success=True, result=seen), found, [])
    return Judged(result, found, _rows(one, found))


@cache
def register() -> dict[str, Any]:
    """Make each of EXPECTATIONS a class of GX's, which then knows it by name."""
    from great_expectations.expectations.core import ExpectColumnMaxToBeBetween
    from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent
    from great_expectations.render.renderer.renderer import renderer

    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def say(cls: Any, configuration: Any, result: Any = None, **_: Any) -> list[Any]:
        template = {"template": f"must be {configuration.meta['expected']}."}
        return [
            RenderedStringTemplateContent(
                content_block_type="string_template", string_template=template
            )
        ]

    own = {"_prescriptive_renderer": classmethod(say), "__module__": __name__}
    return {
        name: type(name.title().replace("_", ""), (ExpectColumnMaxToBeBetween,), dict(own))
        for name in EXPECTATIONS
    }


def _expectation(one: Line) -> Any:
    return register()[one.item.check](
        column=one.figure,
        min_value=one.arguments.min_value,
        max_value=one.arguments.max_value,
        meta={"line": one.number, "expected": one.expected},
        severity="critical" if one.item.critical else "warning",
    )


def _rows(one: Line, measured: Measured) -> list[Row]:
    least, most, figure = one.arguments.min_value, one.arguments.max_value, measured.figure or 0.0
    if most is not None and figure > most:
        return list(islice(measured.high(), SHOWN))
    return list(islice(measured.low(), SHOWN)) if least is not None and figure < least else []


def _result(one: Line, **parts: Any) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    return ExpectationValidationResult(
        expectation_config=_expectation(one).configuration, meta={}, **parts
    )
