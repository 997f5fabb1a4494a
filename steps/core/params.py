"""params.yaml as typed, frozen sections; what they refuse is said in one line."""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steps.core.entry import StepError

PARAMS = Path("params.yaml")
SHOWN = 40  # names listed of what there is
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(gt=0)]
S = TypeVar("S", bound=BaseModel)
V = TypeVar("V")


class Section(BaseModel):
    """A part of params.yaml: nothing unknown, nothing missing, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Section):
    kind: Literal["path", "s3", "hub", "pypi", "mlflow"]
    path: str
    include: list[str] = Field(min_length=1)
    strip: int = Field(ge=0)


class Expectation(BaseModel):
    """One line of a suite: the name of a Great Expectations check, and its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    check: str = Field(pattern="^expect_")
    critical: bool


class Corpus(Section):
    """`languages` that are kept, all if empty; `filters` are names in steps.corpora.filters."""

    source: str
    reader: str
    options: dict[str, Any]
    strip_html: bool
    languages: list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]]
    min_words: int = Field(ge=0)
    max_words: Count
    min_letters: Share
    filters: list[str]
    near_duplicates: float = Field(gt=0, le=1)
    mask_pii: bool
    expect: list[Expectation]


class SplitParams(Section):
    """Numbers of examples; `given`: the examples say themselves which part they are of."""

    given: bool
    train: Count
    validation: Count
    test: Count
    seed: int


class Task(Section):
    type: str
    source: str
    reader: str
    options: dict[str, Any]
    min_words: int = Field(ge=0)
    max_words: Count
    max_tokens: int = Field(ge=8)
    metric: str
    slices: list[str]
    split: SplitParams
    expect: list[Expectation]


class Decontaminate(Section):
    ngram: int = Field(ge=3, le=50)
    containment: float = Field(gt=0, le=1)
    near: float = Field(gt=0, le=1)


class Pack(Section):
    block_tokens: int = Field(ge=8)
    held_out: float = Field(gt=0, lt=1)
    held_out_tokens: Count
    seed: int


class Profile(Section):
    """`start`: a checkpoint whose tokenizer the profiles count by."""

    start: str


class Text(Section):
    """What an adaptation reads: names and their shares of the tokens seen, of any scale.

    `tasks`: their training texts alone. `replay`: general text, on which forgetting is measured; a
    share of 0 measures without training. `nearest`: of `corpora` only so many documents nearest to
    each of the tasks' training texts, 0 for all. `new_tokens`: at most so many words become tokens.
    """

    corpora: dict[str, Weight]
    tasks: dict[str, Weight]
    replay: dict[str, Annotated[float, Field(ge=0)]]
    nearest: int = Field(ge=0)
    new_tokens: int = Field(ge=0)


class Adaptation(Section):
    """`tokens` and `warmup_tokens` are seen by the model, padding not counted.

    `control_of` names the adaptation whose twin this is: alike in all but its text.
    """

    start: str
    control_of: str | None
    text: Text
    objective: Literal["auto", "mlm", "clm", "plm", "denoise", "infill"]
    mask_rate: float = Field(gt=0, lt=1)
    whole_words: bool
    warmup_tokens: int = Field(ge=0)
    warmup_learning_rate: float = Field(gt=0)
    tokens: Count
    batch_tokens: Count
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "cosine", "constant"]
    dropout: float = Field(ge=0, lt=1)
    checkpoint_steps: Count
    checkpoint_minutes: float = Field(gt=0)
    seed: int


class Recipe(BaseModel):
    """What all recipes have; a strategy's own knobs are checked by its own `Settings`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    strategy: str
    start: str


class Evaluation(Section):
    batch_size: Count
    bins: int = Field(ge=2)


class Judge(Section):
    resamples: int = Field(ge=100)
    confidence: float = Field(gt=0.5, lt=1)
    min_slice: Count
    seed: int


class GateParams(Section):
    baseline: str
    min_metric: float
    slice_margin: float = Field(ge=0)


class Params(Section):
    sources: dict[str, Source]
    corpora: dict[str, Corpus]
    tasks: dict[str, Task]
    profile: Profile
    decontaminate: Decontaminate
    pack: Pack
    adaptations: dict[str, Adaptation]
    recipes: dict[str, Recipe]
    seeds: list[int] = Field(min_length=1)
    evaluation: Evaluation
    judge: Judge
    gate: GateParams


@cache
def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml, whole; StepError names the key, what it has and what it takes."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StepError(f"no {path} here; run this from the project's own folder") from None
    except yaml.YAMLError as error:
        raise StepError(f"{path} is not YAML: {error}") from None
    params = check(Params, raw, str(path))
    _check_names(params, path)
    return params


def check(section: type[S], raw: Any, where: str) -> S:
    """Validate one section; all that is wrong is told in one line."""
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        said = [_say(section, item) for item in error.errors()]
        raise StepError(f"{where}: {'; '.join(said)}") from None


def choose(name: str, among: Mapping[str, V], what: str) -> V:
    """Look a name up in a dict; StepError lists what there is."""
    if name not in among:
        known = sorted(among)
        more = f", ... ({len(known)} in all)" if len(known) > SHOWN else ""
        there = ", ".join(known[:SHOWN]) + more
        raise StepError(f"no {what} {name!r}{_near(name, among)}; there is: {there}")
    return among[name]


def _say(section: type[BaseModel], error: Any) -> str:
    *above, key = error["loc"]
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields(section, above)
        return f"{where} is not a key{_near(str(key), known)}; expected one of: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{where} is missing; add it"
    return f"{where} is {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}"


def _fields(section: type[BaseModel], above: list[Any]) -> list[str]:
    """Walk the types down to the section that an error is in, and list its keys."""
    found: Any = section
    for part in above:
        fields = getattr(found, "model_fields", {})
        found = fields[part].annotation if part in fields else found
        while get_args(found):  # dict[str, Task] and list[Task] -> Task
            found = get_args(found)[-1]
    return list(getattr(found, "model_fields", {}))


def _check_names(params: Params, path: Path) -> None:
    """Names that point at other sections must be there; StepError says which are."""
    from steps.core import adaptations  # which needs the sections

    for kind, entries in (("corpora", params.corpora), ("tasks", params.tasks)):
        for name, entry in entries.items():
            choose(entry.source, params.sources, f"source (in {path}, {kind}.{name})")
    for name in params.adaptations:
        adaptations.check(params, name, f"{path}, adaptations.{name}")
    choose(params.gate.baseline, params.recipes, f"recipe (in {path}, gate.baseline)")


def _near(name: str, among: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(among), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
