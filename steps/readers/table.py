"""Reader `csv`: a record is a row of a .csv or .tsv file.

`options` name its columns; without a header (`header: false`) by their numbers, from 1. `labels`,
`spans` and `answers` are JSON in their cells. `quoted: false` where quotes are characters as all
others.
"""

import csv
from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field

from steps.core.entry import StepError
from steps.readers import fields, files
from steps.readers.files import File, place

KIND = fields.ALL
SUFFIXES = (".csv", ".tsv")


class Options(fields.Fields):
    """What the columns are called; `delimiter`: else a tab in .tsv files, a comma in others."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    delimiter: str = Field("", max_length=1)
    header: bool = True
    quoted: bool = True


class Lines:
    """The lines of a file as csv wants them; `reason`: what is wrong with those since `take`."""

    def __init__(self, file: File) -> None:
        self._lines = files.lines(file)
        self._reason = self.shown = ""

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.shown = line.text
        if not line.reason:
            return f"{line.text}\n"
        self._reason = self._reason or line.reason
        return "\n"  # what is cut off may have opened a quote, and all below would be inside

    def take(self) -> str:
        reason, self._reason = self._reason, ""
        return reason


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the rows; StepError where a column is not there, the reason of rows that are bad."""
    columns: list[str] = []
    for number, cells, shown, reason in rows(file, options):
        begun = place(file, number) | {"text": shown}
        if not columns and reason and options.header and reason != "truncated":
            raise StepError(f"{file.name}: its first line, the header, is {reason}; mend it")
        if not columns and not reason:
            columns = cells if options.header else [str(at + 1) for at in range(len(cells))]
            _check(columns, file, options)
            if options.header:
                continue
        if reason or len(cells) != len(columns):
            yield begun | {"reason": reason or "wrong_columns"}
        else:
            yield fields.record(dict(zip(columns, cells, strict=True)), begun, options)


def rows(file: File, options: Options) -> Iterator[tuple[int, list[str], str, str]]:
    """Yield of each row its first line's number, its cells, a text of it to show, its reason."""
    csv.field_size_limit(files.MAX_LINE)
    lines = Lines(file)
    tab = "\t" if file.name.lower().endswith(".tsv") else ","
    reader = csv.reader(
        lines,
        delimiter=options.delimiter or tab,
        quoting=csv.QUOTE_MINIMAL if options.quoted else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        number, cells, reason = reader.line_num + 1, [], ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            reason = "bad_quotes"
        reason = lines.take() or reason
        if cells or reason:
            yield number, cells, lines.shown[: files.SHOWN], reason


def _check(columns: list[str], file: File, options: Options) -> None:
    for name in options.among(columns, file):
        if columns.count(name) > 1:
            raise StepError(f"{file.name} has {columns.count(name)} columns {name!r}; name each"
                            " once, or choose another in options")  # fmt: skip
