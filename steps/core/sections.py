"""Typed sections of settings, and names looked up in them; what they refuse is said in one line."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from steps.core.entry import StepError

SHOWN = 40  # names listed of what there is
S = TypeVar("S", bound=BaseModel)
V = TypeVar("V")


class Section(BaseModel):
    """A part of params.yaml: nothing unknown, nothing missing, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    fields = getattr(found, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _near(name: str, among: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(among), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
