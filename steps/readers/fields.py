"""A row of named values (of JSON, a table, Parquet) -> a record."""

import json
from math import inf, isfinite, isnan
from typing import Annotated, Any

from pydantic import Field

from steps.core.examples import KINDS
from steps.core.params import choose
from steps.readers.files import SPLITS, File, Named

ALL = set(KINDS)
UNKNOWN = "unknown"  # the value of a column that a record does not have
Name = Annotated[str, Field(min_length=1)]
SPAN = (("start", "start_offset"), ("end", "end_offset"), ("label",))  # as annotation tools say it


class Fields(Named):
    """What the fields of a record are called; "meta.url" reaches into objects.

    A default that a file lacks is no error, but for `text`; "": what is there is not read.
    `columns`: a name -> the field whose value is kept with an example, for slices by it.
    """

    text: str = "text"
    label: str = "label"
    labels: str = "labels"
    score: str = "score"
    pair: str = "pair"
    spans: str = "spans"
    question: str = "question"
    answers: str = "answers"
    target: str = "target"
    source: str = "source"
    group: str = "group"
    language: str = "language"
    split: str = "split"
    columns: dict[Name, Name] = Field(default_factory=dict)

    def among(self, columns: list[str], file: File) -> list[str]:
        """Say which columns are asked for; StepError where one that was named is not there."""
        there = dict.fromkeys(columns, 0)
        keys = Fields.model_fields.keys() - Named.model_fields.keys() - {"columns"}
        named = {key: getattr(self, key) for key in {"text", *self.model_fields_set} & keys}
        named |= {f"columns.{key}": name for key, name in self.columns.items()}
        for key, name in sorted(named.items()):
            if name and name not in there:
                choose(name.split(".")[0], there, f"column (in {file.name}, options.{key})")
        asked = {getattr(self, key) for key in keys} | set(self.columns.values())
        asked |= {name.split(".")[0] for name in asked}
        return [name for name in columns if name in asked]


def record(row: dict[str, Any], begun: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """Read a row's fields over `begun`; the reason is that of the first that is wrong."""
    made = dict(begun)
    text = reach(row, fields.text)
    made["text"] = text if isinstance(text, str) else begun.get("text", "")
    for key in ("source", "group", "language"):
        value = reach(row, getattr(fields, key))
        if value not in (None, ""):
            made[key] = value if isinstance(value, str) else json.dumps(value, default=str)
    if fields.columns:
        made["columns"] = {
            name: _kept(reach(row, field)) for name, field in sorted(fields.columns.items())
        }
    reason = "" if isinstance(text, str) else "no_text"
    reason = reason or _given_split(row, made, fields) or _annotate(row, made, fields)
    if reason:
        made["reason"] = reason
    return made


def reach(row: dict[str, Any], name: str) -> Any:
    """Look up a field; None where it, or an object on the way to it, is not there."""
    if not name:  # a table's column of row numbers has no name
        return None
    value = row.get(name)
    if value is not None or "." not in name:
        return value
    first, _, rest = name.partition(".")
    inner = row.get(first)
    return reach(inner, rest) if isinstance(inner, dict) else None


def _kept(value: Any) -> str:
    """What a slice by a column is called: a string, a number or a truth value."""
    if isinstance(value, str):
        return " ".join(value.split()) or UNKNOWN
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes 3 a 3.0 where another row has none
    plain = isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    return json.dumps(value) if plain else UNKNOWN


def _given_split(row: dict[str, Any], made: dict[str, Any], fields: Fields) -> str:
    value = reach(row, fields.split)
    split = SPLITS.get(value.strip().lower(), "") if isinstance(value, str) else ""
    if split:
        made["split"] = split
    return "" if split or "split" not in fields.model_fields_set else "unknown_split"


def _annotate(row: dict[str, Any], made: dict[str, Any], fields: Fields) -> str:
    """Add what examples have; return what is wrong with it."""
    label = None if fields.label == fields.spans else _label(reach(row, fields.label))
    if label is not None:
        made["label"] = label
    for key in ("pair", "question", "target"):
        value = reach(row, getattr(fields, key))
        if isinstance(value, str):
            made[key] = value
    score = _score(reach(row, fields.score))
    if score is not None and not isfinite(score):
        return "bad_score"
    if score is not None:
        made["score"] = score
    for key, of in (("labels", _label), ("spans", _span), ("answers", _answer)):
        value = reach(row, getattr(fields, key))
        if value is None or (isinstance(value, float) and isnan(value)):
            continue
        found = [of(item) for item in _listed(value, key)]
        if None in found:
            return f"bad_{key}"
        made[key] = found
    return ""


def _score(value: Any) -> float | None:
    """A number, or a string of one; infinity where it is none, pandas' NaN is not there."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        score = inf if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = inf
    return None if isnan(score) else score


def _label(value: Any) -> str | None:
    """A label, or a list of one; of several none is the one, and pandas' NaN is none."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, dict) or (isinstance(value, float) and isnan(value)):
        return None
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


def _listed(value: Any, key: str) -> list[Any]:
    """Labels, spans or answers as a list; in tables they are JSON, [None] is not to be read.

    A string of labels that opens no list of JSON is a single one.
    """
    if key == "labels" and isinstance(value, str) and not value.lstrip().startswith("["):
        return [value] if value.strip() else []
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError):
            return [None]
    if key == "answers" and isinstance(value, dict):  # as in the hub's copies of SQuAD
        starts, texts = value.get("answer_start"), value.get("text")
        if not isinstance(starts, list) or not isinstance(texts, list) or len(starts) != len(texts):
            return [None]
        return [{"start": at, "text": text} for at, text in zip(starts, texts, strict=True)]
    return value if isinstance(value, list) else [None]


def _span(raw: Any) -> dict[str, Any] | None:
    if isinstance(raw, dict):
        raw = [next((raw[key] for key in keys if key in raw), None) for keys in SPAN]
    if not isinstance(raw, list) or [type(value) for value in raw] != [int, int, str]:
        return None
    return {"start": raw[0], "end": raw[1], "label": raw[2]}


def _answer(raw: Any) -> dict[str, Any] | None:
    if not isinstance(raw, dict):
        return None
    at, text = raw.get("start", raw.get("answer_start")), raw.get("text")
    return {"start": at, "text": text} if type(at) is int and isinstance(text, str) else None
