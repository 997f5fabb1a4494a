"""Linear heads: a unit's vector -> the probability of each class; and plain sparse features."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from steps.core.files import read_json, write_json
from steps.transfer.strategies import Material, Reading

if TYPE_CHECKING:
    from steps.transfer.encoder import Encoder

Arrays = dict[str, np.ndarray]


def fit_logistic(vectors: Any, targets: np.ndarray, classes: int, inverse: float) -> Arrays:
    """Multinomial logistic regression, L2; vectors: (units, features), dense or sparse.

    Returns weight (classes, features) and bias (classes,); a class without a unit has bias -inf
    in effect (a large negative number), so that it is never chosen.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=inverse, max_iter=500, tol=1e-3).fit(vectors, targets)
    coefficients, intercept = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # scikit-learn keeps one row for two classes
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight = np.zeros((classes, coefficients.shape[1]), dtype=np.float32)
    bias = np.full(classes, -1e4, dtype=np.float32)
    weight[fitted.classes_], bias[fitted.classes_] = coefficients, intercept
    return {"weight": weight, "bias": bias}


def fit_frozen(encoder: "Encoder", material: Material, inverse: float) -> Arrays:
    """Logistic regression on what the encoder makes of the examples; as `fit_logistic`.

    Each of its dimensions is standardised for the fit, which then becomes part of the head;
    `inverse` is shared among them, so that it means the same for every width.
    """
    reading = Reading(material.type, material.classes, material.max_tokens, batch_size=32)
    texts = [example["text"] for example in material.examples]
    targets = [material.type.targets(example, material.classes) for example in material.examples]
    vectors = np.concatenate(encoder.vectors(reading, texts))  # (units, width)
    centre, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    flat = np.concatenate(targets).astype(np.int64)
    share = inverse / vectors.shape[1]
    head = fit_logistic((vectors - centre) / spread, flat, len(material.classes), share)
    weight = (head["weight"] / spread).astype(np.float32)
    return {"weight": weight, "bias": (head["bias"] - weight @ centre).astype(np.float32)}


def probabilities(head: Arrays, vectors: Any) -> np.ndarray:
    """vectors: (units, features) -> (units, classes), each row summing to 1."""
    scores = np.asarray(vectors @ head["weight"].T) + head["bias"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return shares


def save_head(head: Arrays, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.ascontiguousarray(part) for name, part in head.items()},
        folder / "head.safetensors",
    )


def load_head(folder: Path) -> Arrays:
    arrays: Arrays = load_file(folder / "head.safetensors")
    return arrays


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
