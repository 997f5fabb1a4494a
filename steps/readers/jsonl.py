"""Reader `jsonl`: a record is a line of a .jsonl or .ndjson file, an object with `text`.

For a task also `label`, `labels`, `score`, `pair`, `spans`, `question` and `answers`, or `target`,
by its type; `options` say what they are called. Labels are a list (one string is one of one), spans
[start, end, label] or {"start": , "end": , "label": }, in characters, end exclusive, as doccano and
Prodigy export them. What says no `source` has the file's name, what says no `group` stands alone.
Of other fields `columns: {region: meta.region}` keeps those that slices shall be made of.
"""

import json
from collections.abc import Iterator
from typing import Any

from steps.readers import fields
from steps.readers.files import File, Line, lines, place

KIND = fields.ALL
SUFFIXES = (".jsonl", ".ndjson")


class Options(fields.Fields):
    """What the fields are called."""


class Duplicated(ValueError):
    """An object has a key twice, and one value would be lost."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Duplicated
    return made


JSON = json.JSONDecoder(object_pairs_hook=_object)  # made once: that takes longer than a line


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the records of all lines but blank ones."""
    for line in lines(file):
        if line.reason or line.text.strip():
            yield _record(line, place(file, line.number), options)


def _record(line: Line, begun: dict[str, Any], options: Options) -> dict[str, Any]:
    begun["text"] = line.text.strip()  # what is shown of a record that is bad
    if line.reason:
        return begun | {"reason": line.reason}
    try:
        row = JSON.decode(line.text)
    except Duplicated:
        return begun | {"reason": "duplicated_key"}
    except (ValueError, RecursionError):  # not JSON, a number of thousands of digits; nested deeply
        return begun | {"reason": "not_json"}
    if not isinstance(row, dict):
        return begun | {"reason": "not_an_object"}
    if "_task_hash" in row and row.get("answer") in ("reject", "ignore"):  # Prodigy's annotator
        return begun | {"reason": "not_accepted"}
    made = fields.record(row, begun, options)
    return begun | {"reason": "half_a_character"} if _is_broken(line.text, made) else made


def _is_broken(line: str, made: dict[str, Any]) -> bool:
    r"""JSON can hold half of a character (\ud83d without \ude00); no file of text can."""
    if "\\u" not in line:
        return False
    try:
        json.dumps(made, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
