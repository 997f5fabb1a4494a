"""Whether two sets of texts differ: can a classifier tell from a text which set it is of?

The classifier two-sample test (Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545) with the
area under the ROC curve of texts that were not learnt from, and its p-value by permutation. The
classifier is ridge regression on hashed n-grams: what it says of a text is linear in the sides that
it learnt, so that a thousand shuffles cost one matrix product in place of a thousand trainings.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from steps.checks.chance import SHUFFLES, Distance, Numbers, Sides, drawn

FOLDS = 5
RIDGE = 1.0
HASHED = 2**18  # features
MOST = 1000  # texts a side; more would make the p-value slower, and hardly smaller


class Text(NamedTuple):
    """A text, and the group (a document) whose texts are alike."""

    text: str
    group: str


class Told:
    """What the classifier says of two sides' texts."""

    def __init__(self, then: Sequence[Text], now: Sequence[Text], seed: int) -> None:
        self.places = [drawn(len(side), MOST, seed) for side in (then, now)]
        chosen = [
            [side[at] for at in at_] for side, at_ in zip((then, now), self.places, strict=True)
        ]
        self.sides = Sides(*([one.group for one in side] for side in chosen), seed)
        self.scores = np.zeros((1 + SHUFFLES, 0))
        if not self.sides.why:
            kernel = _kernel([one.text for side in chosen for one in side])
            self.scores = self.sides.shuffled @ _held_out(kernel, self.sides.groups, seed).T

    def apart(self) -> Distance:
        """How well it tells all texts apart."""
        if self.sides.why:
            return Distance(None, why=self.sides.why)
        return self.sides.distance(self.sides.auc(self.scores))

    def apart_in(self, then: Sequence[int], now: Sequence[int]) -> Distance:
        """How well it tells some of the texts apart, which are given by their places."""
        if self.sides.why:
            return Distance(None, why=self.sides.why)
        mine, theirs = set(then), set(now)
        inside = [at in mine for at in self.places[0]] + [at in theirs for at in self.places[1]]
        return self.sides.distance(self.sides.auc(self.scores, np.flatnonzero(inside)))


def _kernel(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """How alike each two texts are, by words and pairs of them and by letters."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    kinds = (("word", (1, 2)), ("char_wb", (3, 4)))
    parts = [
        HashingVectorizer(analyzer=kind, ngram_range=sizes, n_features=HASHED).transform(texts)
        for kind, sizes in kinds
    ]
    features = hstack(parts, format="csr")
    return np.asarray((features @ features.T).todense(), np.float64)


def _held_out(kernel: npt.NDArray[np.float64], groups: npt.NDArray[np.intp], seed: int) -> Numbers:
    """Return (texts, texts): times sides, what is said of each text from the other folds' sides."""
    folds, found = _folds(groups, seed), np.zeros_like(kernel)
    for fold in range(FOLDS):
        out, learnt = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if not len(out) or not len(learnt):
            continue
        centred = np.eye(len(learnt)) - 1 / len(learnt)
        own = centred @ kernel[np.ix_(learnt, learnt)] @ centred
        near = kernel[np.ix_(out, learnt)]
        near = (near - kernel[np.ix_(learnt, learnt)].mean(axis=0)) @ centred
        weights = np.linalg.solve(own + RIDGE * np.eye(len(learnt)), centred)
        found[np.ix_(out, learnt)] = near @ weights
    return found.astype(np.float32)


def _folds(groups: npt.NDArray[np.intp], seed: int) -> npt.NDArray[np.intp]:
    """A fold for each text: a group's texts are in one, and folds are about as large."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    filled, place = np.zeros(FOLDS, int), np.zeros(len(sizes), int)
    for group in sorted(order, key=lambda one: -sizes[one]):
        place[group] = filled.argmin()
        filled[place[group]] += sizes[group]
    return place[groups]
