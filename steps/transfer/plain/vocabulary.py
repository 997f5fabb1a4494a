"""Plain sparse features: named counts of a unit -> rows of a matrix."""

from pathlib import Path
from typing import Any

import numpy as np

from steps.core.files import read_json, write_json


class Vocabulary:
    """Named features as sparse rows, weighed by TF-IDF where `inverse_frequency` is given."""

    def __init__(self, names: list[str], inverse_frequency: np.ndarray | None) -> None:
        self.number = {name: place for place, name in enumerate(names)}
        self.inverse_frequency = inverse_frequency

    @classmethod
    def fit(cls, rows: list[dict[str, float]], weigh: bool) -> "Vocabulary":
        """Take every feature of the rows; idf as scikit-learn's smooth one."""
        names = sorted({name for row in rows for name in row})
        found = cls(names, None)
        if weigh:
            seen = np.asarray((found.matrix(rows) > 0).sum(axis=0)).ravel()
            found.inverse_frequency = np.log((1 + len(rows)) / (1 + seen)) + 1
        return found

    def matrix(self, rows: list[dict[str, float]]) -> Any:
        """Return scipy.sparse CSR (rows, features); features never seen are left out."""
        from scipy.sparse import csr_array, diags_array

        places = [[self.number[name] for name in row if name in self.number] for row in rows]
        counts = [[n for name, n in row.items() if name in self.number] for row in rows]
        ends = np.cumsum([0, *map(len, places)])
        flat = np.asarray([n for part in counts for n in part], dtype=np.float64)
        columns = np.asarray([place for part in places for place in part], dtype=np.int64)
        found = csr_array((flat, columns, ends), shape=(len(rows), len(self.number)))
        if self.inverse_frequency is None:
            return found
        found.data = 1 + np.log(found.data)
        found = found @ diags_array(self.inverse_frequency)
        lengths = np.sqrt((found * found).sum(axis=1))
        return diags_array(1 / np.where(lengths == 0, 1, lengths)) @ found

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.inverse_frequency
        kept = None if weights is None else [float(weight) for weight in weights]
        write_json(folder / "vocabulary.json", {"names": list(self.number), "idf": kept})

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        kept = read_json(folder / "vocabulary.json")
        weights = None if kept["idf"] is None else np.asarray(kept["idf"])
        return cls(kept["names"], weights)
