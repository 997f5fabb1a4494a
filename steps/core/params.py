"""params.yaml as typed, frozen sections; what they refuse is said in one line."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from steps.core.entry import StepError
from steps.core.sections import Section as Section  # noqa: PLC0414
from steps.core.sections import check as check  # noqa: PLC0414
from steps.core.sections import choose as choose  # noqa: PLC0414

PARAMS = Path("params.yaml")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(gt=0)]


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


class Learning(Section):
    """A recipe's learning curve: numbers of `labels` below all that there are, no curve if empty.

    `target`: a score, of which the labels needed are told; null: a tenth fewer errors than now.
    """

    recipe: str
    labels: list[Count]
    target: float | None


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
    learning: Learning
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


class Augmentation(Section):
    """A task's training texts, translated there and back by two candidates, `forth` and `back`;
    `start`: the checkpoint beside which they are put.
    """

    task: str
    start: str
    forth: str
    back: str


class Knob(Section):
    """What a search tries: `low` to `high`, by their orders of magnitude if `log`; or `among`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    among: list[bool | int | float | str] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _is_not_empty(self) -> "Knob":
        low, high = self.low, self.high
        if low is None or high is None:
            right = self.among is not None and low is high and not self.log
        else:
            right = self.among is None and low < high and (low > 0 or not self.log)
        if not right:
            said = "expected `low` below `high` (and above 0 if `log`), or `among` alone"
            raise PydanticCustomError("range", said)
        return self


class Search(Section):
    """A search of a recipe's knobs, by so many trials of one seed each."""

    trials: Count
    seed: int = Field(ge=0)
    knobs: dict[str, Knob] = Field(min_length=1)


class Recipe(BaseModel):
    """What all recipes have; a strategy's own knobs are checked by its own `Settings`.

    `tasks` that it is for, all if None; `without`: the recipe that is like it but for its strategy,
    with which it is compared. `search` finds knobs in place of those named here.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    strategy: str
    start: str
    tasks: list[str] | None = None
    without: str | None = None
    search: Search | None = None

    @property
    def knobs(self) -> dict[str, Any]:
        """What the strategy's `Settings` take."""
        return self.model_dump(exclude={"tasks", "without", "search"})


class Evaluation(Section):
    batch_size: Count
    bins: int = Field(ge=2)


class Judge(Section):
    resamples: int = Field(ge=100)
    confidence: float = Field(gt=0.5, lt=1)
    min_slice: Count
    seed: int


class Explain(Section):
    """`steps`: at so many places between the text masked and the text itself gradients are taken;
    `errors` that are shown.
    """

    method: Literal["integrated_gradients", "attention", "none"]
    steps: Count
    errors: Count


class GateParams(Section):
    """`minimum` of a task's metric, the most of a loss; a limit that is None is none.

    `int8_margin`: a model in int8 may be shown worse than it was before by at most so much.
    """

    baseline: str
    minimum: dict[str, float]
    slice_margin: float = Field(ge=0)
    int8_margin: float = Field(ge=0)
    max_ece: Share | None
    max_latency_ms: Annotated[float, Field(gt=0)] | None
    max_megabytes: Annotated[float, Field(gt=0)] | None
    max_leakage: Share | None
    clean_source: bool
    inconclusive: Literal["keep", "promote"]


class Params(Section):
    sources: dict[str, Source]
    corpora: dict[str, Corpus]
    tasks: dict[str, Task]
    profile: Profile
    decontaminate: Decontaminate
    pack: Pack
    adaptations: dict[str, Adaptation]
    augmentations: dict[str, Augmentation] = Field(default_factory=dict)
    recipes: dict[str, Recipe]
    seeds: list[int] = Field(min_length=1)
    evaluation: Evaluation
    judge: Judge
    explain: Explain
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


def _check_names(params: Params, path: Path) -> None:
    """Names that point at other sections must be there; StepError says which are."""
    from steps.core import adaptations, candidates  # which need the sections

    for kind, entries in (("corpora", params.corpora), ("tasks", params.tasks)):
        for name, entry in entries.items():
            choose(entry.source, params.sources, f"source (in {path}, {kind}.{name})")
    for name in params.adaptations:
        adaptations.check(params, name, f"{path}, adaptations.{name}")
    candidates.check(params, str(path))
    choose(params.gate.baseline, params.recipes, f"recipe (in {path}, gate.baseline)")
    for name in params.gate.minimum:
        choose(name, params.tasks, f"task (in {path}, gate.minimum)")
