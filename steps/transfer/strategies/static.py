"""Strategy `static`: word vectors as frozen features below a linear head.

`start` is a folder with one file of vectors as GloVe (Pennington et al. 2014), word2vec (Mikolov et
al. 2013) or fastText (Bojanowski et al. 2017) write it: text or binary, .gz or not. A text is the
weighed mean of its words; two texts are both means, their distance and their product (Conneau et
al. 2017, "Supervised Learning of Universal Sentence Representations"); a word is its own vector
between its neighbours'. Retrieval compares means as they are. The bundle has all the vectors; of
a fastText .bin also its pieces of words, so that new words have vectors, too.
"""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from pydantic import Field

from steps.core.files import read_json, write_json
from steps.core.params import Section
from steps.tasks import Item, task_type
from steps.transfer.strategies import Material, Reading, Scorer

READS_START = True
OUTPUTS = ("classes", "labels", "number", "vector")


class Settings(Section):
    """`max_words`: of the file's words the first so many are kept, the most frequent in general."""

    strategy: Literal["static"]
    start: str
    max_words: int = Field(200_000, ge=1)
    inverse_regularisation: float = Field(10.0, gt=0)


def seeded(settings: Settings) -> bool:
    return False


def copy_start(checkpoint: Path, out: Path) -> None:
    """What `prepare` does in place of copying a checkpoint."""
    from steps.transfer.plain.word_vectors import vector_file

    file = vector_file(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, out / file.name)


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer.networks.heads import fit_dense, save_head
    from steps.transfer.plain.word_vectors import Means, Vectors, vector_file

    kind, classes = material.type, material.classes
    fields = ("text", "target") if kind.OUTPUT == "vector" else kind.INPUTS
    vectors = Vectors.read(vector_file(start), settings.max_words)
    means = Means.fit(vectors, [e[name] for e in material.examples for name in fields])
    out.mkdir(parents=True, exist_ok=True)
    means.save(out)
    write_json(out / "static.json", {"type": material.task})
    if kind.OUTPUT != "vector":
        rows = np.concatenate([_units(kind, means, example) for example in material.examples])
        targets = np.concatenate([kind.targets(e, classes) for e in material.examples])
        inverse = settings.inverse_regularisation
        save_head(fit_dense(kind.OUTPUT, rows, targets, len(classes), inverse), out)
    words = {word for word in means.shares if vectors(word).any()}
    return {"known_words": round(len(words) / max(1, len(means.shares)), 4)}


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer.networks.heads import activate, load_head
    from steps.transfer.plain.word_vectors import Means

    kind, means = task_type(read_json(weights / "static.json")["type"]), Means.load(weights)
    if kind.OUTPUT == "vector":
        return lambda reading, items: [_raw(means, item) for item in items]
    head = load_head(weights)

    def score(reading: Reading, items: list[Item]) -> list[np.ndarray]:
        units = [_units(kind, means, item) for item in items]
        shares = activate(kind.OUTPUT, head, np.concatenate(units))
        return np.split(shares, np.cumsum([len(rows) for rows in units])[:-1])

    return score


def _units(kind: ModuleType, means: Any, item: Item) -> np.ndarray:
    """(units, features)."""
    if kind.LEVEL == "text":
        parts = [means(item[name]) for name in kind.INPUTS]
        if len(parts) == 2:
            parts += [np.abs(parts[0] - parts[1]), parts[0] * parts[1]]
        return np.concatenate(parts)[None]
    text = item[kind.INPUTS[-1]]
    spans, edge = kind.units(item), np.zeros(means.vectors.width, dtype=np.float32)
    own = [means.vectors(text[start:end]) for start, end in spans]
    rows = np.stack([edge, *own, edge])
    return np.concatenate([rows[:-2], rows[1:-1], rows[2:]], axis=1)


def _raw(means: Any, item: Item) -> dict[str, Any]:
    target = item.get("target")
    return {"query": means(item["text"]), "passage": None if target is None else means(target)}
