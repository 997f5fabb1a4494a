"""What the API reads and what it says, a task type each: typed, and so is its OpenAPI."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from steps.tasks import task_type

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Limits:
    """What a server takes; `waiting`: texts of a task; `seconds`: from a request to its answer."""

    body_bytes: int = 4_000_000
    texts: int = 256
    characters: int = 200_000
    waiting: int = 1024
    batch_tokens: int = 2048
    seconds: float = 30.0
    body_seconds: float = 10.0
    poll_seconds: float = 5.0


class Said(BaseModel):
    """What is said of one item."""

    model_config = STRICT


class Label(Said):
    """One label."""

    label: str
    confidence: float
    probabilities: dict[str, float]


class Feeling(Label):
    """A label, and its place from -1 to 1 where the labels have an order."""

    score: float | None = None


class Labels(Said):
    """All labels that fit; the confidence is a mean over all labels."""

    labels: list[str]
    confidence: float
    probabilities: dict[str, float]


class Number(Said):
    """A number."""

    score: float


class Span(Said):
    """A piece of the text: characters, `end` exclusive."""

    start: int
    end: int
    text: str
    label: str
    confidence: float


class Entities(Said):
    """Entities, in the order of the text."""

    entities: list[Span]


class Tags(Said):
    """A tag for each word."""

    tags: list[Span]


class Passage(Said):
    """A piece of the text that answers, and where it starts; "" and null where none does."""

    answer: str
    start: int | None
    confidence: float


class Translation(Said):
    """The text in another language."""

    translation: str
    confidence: float


class Summary(Said):
    """A shorter text."""

    summary: str
    confidence: float


class Continuation(Said):
    """What comes after the text."""

    continuation: str
    confidence: float


class Vector(Said):
    """The text's vector; two texts are compared by the cosine."""

    vector: list[float]


ANSWERS: dict[str, type[Said]] = {
    "classification": Label,
    "sentiment": Feeling,
    "multilabel": Labels,
    "regression": Number,
    "pairs": Label,
    "tokens": Entities,
    "tags": Tags,
    "question_answering": Passage,
    "translation": Translation,
    "summarisation": Summary,
    "generation": Continuation,
    "retrieval": Vector,
}


class Problem(BaseModel):
    """Why a request got no answer, in a sentence."""

    error: str
    request_id: str


class Served(BaseModel):
    """A task that is served; `version` is null where it is a folder's."""

    task: str
    type: str
    inputs: list[str]
    version: int | None
    recipe: str
    challenger: int | None


class Tasks(BaseModel):
    """What is served."""

    tasks: list[Served]


def question(kind: str, limits: Limits) -> type[BaseModel]:
    """The request of a task type: items, one or many, each with the fields that the type reads."""
    text = Annotated[str, Field(max_length=limits.characters)]
    fields: dict[str, Any] = dict.fromkeys(task_type(kind).INPUTS, (text, ...))
    item: Any = create_model(f"{_camel(kind)}Item", __config__=STRICT, **fields)
    items = Annotated[list[item], Field(min_length=1, max_length=limits.texts)]
    made: type[BaseModel] = create_model(
        f"{_camel(kind)}Request", __config__=STRICT, items=(items, ...)
    )
    return made


def reply(kind: str) -> type[BaseModel]:
    """The response of a task type: an answer for each item, in order, and who gave it."""
    answer: Any = ANSWERS[kind]
    made: type[BaseModel] = create_model(
        f"{_camel(kind)}Response",
        task=(str, ...),
        version=(int | None, ...),
        recipe=(str, ...),
        request_id=(str, ...),
        answers=(list[answer], ...),
    )
    return made


def _camel(name: str) -> str:
    return name.title().replace("_", "")
