"""Items -> rows of tokens: long ones in windows that overlap, every unit in one of them.

A unit that two windows hold is read in the one where it has more text on its nearer side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.processors import TemplateProcessing

from steps.tasks import Item

STRIDE = 4  # windows overlap by a fourth of their length
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Row:
    """One window of an item: `ids` and `types` are (tokens,); `columns` tells where the token is
    that stands for each of `units`, the numbers of the item's units that are read here.

    `offsets`: (tokens, 2), characters of the last field, -1 where a token is of no such.
    """

    item: int
    ids: np.ndarray
    types: np.ndarray
    units: np.ndarray
    columns: np.ndarray
    offsets: np.ndarray

    @property
    def size(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Reader:
    """Reads the fields `inputs` of items; `last`: a unit's last token stands for it, not its first.

    A causal model knows at a word's first token nothing of the rest of it.
    """

    tokenizer: Tokenizer
    inputs: tuple[str, ...]
    max_tokens: int
    last: bool = False

    def whole(self, items: Sequence[Item]) -> list[Row]:
        """One row an item, cut off after max_tokens; its one unit is the whole."""
        found = self._encode(items, 0)
        one = np.zeros(1, dtype=np.int64)
        return [_row(n, encoding, one, one, self._field) for n, encoding in enumerate(found)]

    def words(self, items: Sequence[Item], units: Sequence[Spans]) -> list[Row]:
        """As many windows as an item's units need."""
        rows = []
        for number, (encoding, spans) in enumerate(zip(self._windows(items), units, strict=True)):
            rows += list(self._divide(number, encoding, spans))
        return rows

    def windows(self, items: Sequence[Item]) -> list[Row]:
        """All windows of each item, without units."""
        none = np.zeros(0, dtype=np.int64)
        return [
            _row(number, window, none, none, self._field)
            for number, windows in enumerate(self._windows(items))
            for window in windows
        ]

    def spots(self, item: Item, row: Row) -> np.ndarray:
        """Of each token of a row that was read of the item its field's number, and where it starts
        and ends there, in characters; -1 where it stands for none: (tokens, 3).
        """
        read = self._encode([item], 0) + self._windows([item])[0]
        own = next(e for e in read if e.ids == row.ids.tolist() and self._same(e, row))
        found = np.full((len(own.ids), 3), -1, dtype=np.int64)
        for place, (field, bounds) in enumerate(zip(own.sequence_ids, own.offsets, strict=True)):
            if field is not None:
                found[place] = (field, *bounds)
        return found

    def _same(self, encoding: Encoding, row: Row) -> bool:
        made = _row(row.item, encoding, row.units, row.columns, self._field)
        return np.array_equal(made.offsets, row.offsets)

    @property
    def _field(self) -> int:
        return len(self.inputs) - 1

    def _windows(self, items: Sequence[Item]) -> list[list[Encoding]]:
        return [[first, *first.overflowing] for first in self._encode(items, STRIDE)]

    def _encode(self, items: Sequence[Item], stride: int) -> list[Encoding]:
        """Encode texts, or pairs of texts; with a stride only the last field is cut."""
        pair = len(self.inputs) == 2
        fields = [tuple(str(item[name]) for name in self.inputs) for item in items]
        if self.tokenizer.post_processor is None:  # windows would not know whose their tokens are
            self.tokenizer.post_processor = TemplateProcessing("$A", "$A $B:1", [])
        room = self.max_tokens - self.tokenizer.num_special_tokens_to_add(pair)
        if pair and stride:
            fields = [(self._shortened(first, room // 2), second) for first, second in fields]
        strategy = "only_second" if pair and stride else "longest_first"
        overlap = min(self.max_tokens // stride, room // 2 - 1) if stride else 0
        self.tokenizer.enable_truncation(self.max_tokens, stride=overlap, strategy=strategy)
        found: list[Encoding] = self.tokenizer.encode_batch(
            fields if pair else [text for (text,) in fields]
        )
        return found

    def _shortened(self, text: str, most: int) -> str:
        """Leave the first field half of a window at most."""
        if text.isascii() and len(text) < most:  # no token is shorter than such a character
            return text
        self.tokenizer.no_truncation()
        found = self.tokenizer.encode(text, add_special_tokens=False)
        return text if len(found.ids) <= most else text[: found.offsets[most][0]]

    def _divide(self, number: int, windows: list[Encoding], spans: Spans) -> Iterator[Row]:
        """Give each unit to the window where it stands furthest from an edge."""
        places = np.stack([_columns(w, spans, self.last, self._field) for w in windows])
        room = np.stack([_room(w, row) for w, row in zip(windows, places, strict=True)])
        chosen = room.argmax(axis=0) if spans else np.zeros(0, dtype=np.int64)
        for at, window in enumerate(windows):
            units = np.flatnonzero(chosen == at)
            if len(units) or at == 0:
                yield _row(number, window, units, np.maximum(places[at][units], 0), self._field)


def _row(
    number: int, encoding: Encoding, units: np.ndarray, columns: np.ndarray, field: int
) -> Row:
    ids = np.array(encoding.ids, dtype=np.int64)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(len(ids), 2)
    own = np.array([part == field for part in encoding.sequence_ids], dtype=bool)
    offsets[~own] = -1
    return Row(number, ids, np.array(encoding.type_ids, dtype=np.int64), units, columns, offsets)


def _columns(encoding: Encoding, spans: Spans, last: bool, field: int) -> np.ndarray:
    """Find the token of each span's first (or last) character; -1 where it is cut off."""
    at: dict[int, int] = {}
    for place, ((start, end), part) in enumerate(
        zip(encoding.offsets, encoding.sequence_ids, strict=True)
    ):
        if part == field:
            for character in range(start, end):
                at.setdefault(character, place)
    found = [at.get(end - 1 if last else start, -1) for start, end in spans]
    return np.array(found, dtype=np.int64)


def _room(encoding: Encoding, columns: np.ndarray) -> np.ndarray:
    """How many tokens are on the nearer side of each; -1 where it is not in the window."""
    length = len(encoding.ids)
    return np.where(columns < 0, -1, np.minimum(columns, length - 1 - columns))
