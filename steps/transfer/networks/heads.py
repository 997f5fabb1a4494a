"""Linear heads: a unit's vector -> the probability of each class, or a number."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from steps.transfer.strategies import Material

Arrays = dict[str, np.ndarray]
WIDE = 10.0  # inverse strength of regularisation of plain features beside vectors


def fit_logistic(vectors: Any, targets: np.ndarray, classes: int, inverse: float) -> Arrays:
    """Multinomial logistic regression, L2; vectors: (units, features), dense or sparse.

    Returns weight (classes, features) and bias (classes,); a class without a unit has bias -inf
    in effect (a large negative number), so that it is never chosen.
    """
    from sklearn.linear_model import LogisticRegression

    weight = np.zeros((classes, vectors.shape[1]), dtype=np.float32)
    bias = np.full(classes, -1e4, dtype=np.float32)
    if len(there := np.unique(targets)) < 2:  # nothing to tell apart
        bias[there] = 0
        return {"weight": weight, "bias": bias}
    fitted = LogisticRegression(C=inverse, max_iter=500, tol=1e-3).fit(vectors, targets)
    coefficients, intercept = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # scikit-learn keeps one row for two classes
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight[fitted.classes_], bias[fitted.classes_] = coefficients, intercept
    return {"weight": weight, "bias": bias}


def fit_linear(output: str, vectors: Any, targets: np.ndarray, inverse: float) -> Arrays:
    """A linear head for an output: logistic regression, one for each label, or ridge.

    targets: (units,) class numbers, or (units, labels) zeros and ones, or (units, 1) numbers.
    """
    if output == "number":
        from sklearn.linear_model import Ridge

        fitted = Ridge(alpha=1 / inverse).fit(vectors, targets[:, 0])
        weight = np.asarray(fitted.coef_, dtype=np.float32).reshape(1, -1)
        return {"weight": weight, "bias": np.array([fitted.intercept_], dtype=np.float32)}
    weight = np.zeros((targets.shape[1], vectors.shape[1]), dtype=np.float32)
    bias = np.zeros(targets.shape[1], dtype=np.float32)
    for label, own in enumerate(targets.T):  # the score of yes above that of no
        head = fit_logistic(vectors, own.astype(np.int64), 2, inverse)
        weight[label], bias[label] = (head[name][1] - head[name][0] for name in ("weight", "bias"))
    return {"weight": weight, "bias": bias}


def fit_dense(
    output: str, vectors: np.ndarray, targets: np.ndarray, classes: int, inverse: float
) -> Arrays:
    """A linear head on dense vectors, (units, width).

    Each of their dimensions is standardised for the fit, which then becomes part of the head;
    `inverse` is shared among them, so that it means the same for every width.
    """
    centre, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    scaled, share = (vectors - centre) / spread, inverse / vectors.shape[1]
    head = fit_head(output, scaled, targets, classes, share)
    weight = (head["weight"] / spread).astype(np.float32)
    return {"weight": weight, "bias": (head["bias"] - weight @ centre).astype(np.float32)}


def fit_wide(
    output: str, both: tuple[np.ndarray, Any], targets: np.ndarray, classes: int, inverse: float
) -> Arrays:
    """A linear head on dense vectors and sparse plain features of the same units, at once.

    As `fit_dense`; the plain features' strength is WIDE. `wide`: (classes, features).
    """
    from scipy.sparse import csr_array, hstack

    vectors, plain = both
    width = vectors.shape[1]
    scale = np.sqrt(inverse / width / WIDE)  # a column times s is as one whose inverse is s * s
    centre, spread = vectors.mean(axis=0), (vectors.std(axis=0) + 1e-6) / scale
    joined = hstack([csr_array((vectors - centre) / spread), plain], format="csr")
    head = fit_head(output, joined, targets, classes, WIDE)
    weight = (head["weight"][:, :width] / spread).astype(np.float32)
    bias = (head["bias"] - weight @ centre).astype(np.float32)
    return {"weight": weight, "bias": bias, "wide": head["weight"][:, width:]}


def fit_first(made: Any, material: Material, inverse: float = 1.0) -> dict[str, Any]:
    """Fit the head of a network of units on its encoder as it stands, a field beside it; their
    state.
    """
    import torch

    rows = material.once("rows", lambda: made.rows(material.examples, learn=True))
    targets = np.concatenate([row.targets for row in rows])
    output, vectors, classes = material.type.OUTPUT, made.units(rows), len(material.classes)
    if made.wide is None:
        head = fit_dense(output, vectors, targets, classes, inverse)
    else:
        from scipy.sparse import vstack

        both = vectors, vstack([row.plain for row in rows], format="csr")
        head = fit_wide(output, both, targets, classes, inverse)
    state = {f"linear.{name}": head[name] for name in ("weight", "bias")}
    if made.wide is not None:
        state["wide.weight"] = np.ascontiguousarray(head["wide"].T)
    found = {name: torch.from_numpy(part) for name, part in state.items()}
    if made.field is not None:
        made.field.begin([row.targets for row in rows])
        found |= {f"field.{name}": part.clone() for name, part in made.field.state_dict().items()}
    return found


def activate(output: str, head: Arrays, vectors: Any) -> np.ndarray:
    """vectors: (units, features) -> (units, classes): probabilities, or numbers."""
    scores = np.asarray(vectors @ head["weight"].T) + head["bias"]
    if output == "number":
        return scores
    if output == "labels":
        from scipy.special import expit

        return np.asarray(expit(scores))
    scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=0))
    shares: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return shares


def fit_head(
    output: str, vectors: Any, targets: np.ndarray, classes: int, inverse: float
) -> Arrays:
    """A linear head on vectors as they are, dense or sparse."""
    if output == "classes":
        return fit_logistic(vectors, targets, classes, inverse)
    return fit_linear(output, vectors, targets, inverse)


def save_head(head: Arrays, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.ascontiguousarray(part) for name, part in head.items()},
        folder / "head.safetensors",
    )


def load_head(folder: Path) -> Arrays:
    arrays: Arrays = load_file(folder / "head.safetensors")
    return arrays
