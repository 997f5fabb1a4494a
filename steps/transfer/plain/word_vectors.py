"""Word vectors: the common file formats -> a table that lies in a bundle, and means of it."""

import gzip
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.tasks.tokens import WORD

SUFFIXES = (".txt", ".vec", ".bin")  # each with .gz or without
FASTTEXT = struct.pack("<i", 793712314)  # what its .bin files begin with
SMOOTH = 1e-3  # the share of a word that weighs half, as Arora et al. have it


def vector_file(folder: Path) -> Path:
    """The one file of word vectors in a folder; StepError where there are more or none."""
    there = sorted(file for file in folder.glob("*") if file.is_file())
    found = [file for file in there if file.name.removesuffix(".gz").endswith(SUFFIXES)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in there[:8]) or "nothing"
    raise StepError(
        f"{folder} has {len(found) or 'no'} files of word vectors; expected one, as GloVe, word2vec"
        f" or fastText write it ({', '.join(SUFFIXES)}, .gz too); it has: {names}; mend the"
        " source's `include`"
    )


class Vectors:
    """rows: (words, width) float16. `subwords`, of a fastText model alone: (buckets, width), for
    words that it does not know, with the `lengths` of their pieces.
    """

    def __init__(
        self,
        words: Sequence[str],
        rows: np.ndarray,
        subwords: np.ndarray | None = None,
        lengths: Sequence[int] = (),
    ) -> None:
        self.number = {word: place for place, word in enumerate(words)}
        self.rows, self.subwords, self.lengths = rows, subwords, list(lengths)
        self._found: dict[str, np.ndarray] = {}

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])

    @classmethod
    def read(cls, file: Path, limit: int) -> "Vectors":
        """Read the first `limit` words of a file, in practice the most frequent."""
        try:
            return READERS[_format(file)](file, limit)
        except (ValueError, EOFError, OSError, struct.error) as error:
            raise StepError(
                f"{file} is no whole file of word vectors ({error}); expected GloVe's, word2vec's"
                " or fastText's format; fetch it again"
            ) from None

    @classmethod
    def of_text(cls, file: Path, limit: int) -> "Vectors":
        """A line is a word, which may hold spaces, and its numbers; the first may be of sizes."""
        found: dict[str, np.ndarray] = {}
        with _opened(file) as stream:
            first = stream.readline()
            sizes = _sizes(first)
            width = sizes[1] if sizes else first.rstrip().count(b" ")
            for line in stream if sizes else chain([first], stream):
                if len(found) == limit:
                    break
                word, *numbers = line.rstrip().rsplit(b" ", width)
                if not numbers or len(numbers) != width:
                    raise ValueError(f"{len(numbers)} numbers instead of {width} for {word[:40]!r}")
                row = np.array(numbers).astype(np.float32).astype(np.float16)
                found.setdefault(word.decode("utf-8", errors="replace"), row)
        if not found:
            raise ValueError("no words")
        return cls(list(found), np.stack(list(found.values())))

    @classmethod
    def of_word2vec(cls, file: Path, limit: int) -> "Vectors":
        from gensim.models import KeyedVectors

        read = KeyedVectors.load_word2vec_format(
            str(file), binary=True, limit=limit, unicode_errors="replace"
        )
        return cls(read.index_to_key, read.vectors.astype(np.float16))

    @classmethod
    def of_fasttext(cls, file: Path, limit: int) -> "Vectors":
        from gensim.models.fasttext import load_facebook_vectors

        model = load_facebook_vectors(str(file))
        rows = model.vectors[:limit].astype(np.float16)
        subwords = model.vectors_ngrams.astype(np.float16) if model.bucket else None
        return cls(model.index_to_key[:limit], rows, subwords, (model.min_n, model.max_n))

    def save(self, out: Path) -> None:
        parts = {"words": self.rows}
        if self.subwords is not None:
            parts["subwords"] = self.subwords
        save_file(parts, out / "vectors.safetensors")
        write_json(out / "words.json", {"words": list(self.number), "lengths": self.lengths})

    @classmethod
    def load(cls, folder: Path) -> "Vectors":
        kept, parts = read_json(folder / "words.json"), load_file(folder / "vectors.safetensors")
        return cls(kept["words"], parts["words"], parts.get("subwords"), kept["lengths"])

    def __call__(self, word: str) -> np.ndarray:
        """(width,): of the word, or in lower case, capitals, from its pieces; zeros if unknown."""
        if word not in self._found:
            self._found[word] = self._look_up(word)
        return self._found[word]

    def _look_up(self, word: str) -> np.ndarray:
        for form in (word, word.lower(), word.capitalize(), word.upper()):
            if form in self.number:
                return self.rows[self.number[form]].astype(np.float32)
        found = np.zeros(self.width, dtype=np.float32)
        if self.subwords is not None:
            from gensim.models.fasttext import ft_ngram_hashes

            places = ft_ngram_hashes(word, *self.lengths, len(self.subwords))
            if len(places):
                found = self.subwords[places].astype(np.float32).mean(axis=0)
        return found


READERS = {
    "text": Vectors.of_text,
    "word2vec": Vectors.of_word2vec,
    "fasttext": Vectors.of_fasttext,
}


def _opened(file: Path) -> Any:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def _sizes(line: bytes) -> list[int]:
    """The numbers of words and dimensions, where a file begins with them."""
    parts = line.split()
    return [int(part) for part in parts] if len(parts) == 2 and b"".join(parts).isdigit() else []


def _format(file: Path) -> str:
    """The format by what a file holds: .bin is word2vec's and fastText's."""
    with _opened(file) as stream:
        first = stream.readline(1 << 16)
        second = stream.readline(1 << 16).rstrip()
    if first.startswith(FASTTEXT):
        return "fasttext"
    if not _sizes(first):
        return "text"
    try:
        [float(number) for number in second.rsplit(b" ", _sizes(first)[1])[1:]]
    except ValueError:
        return "word2vec"
    return "text"


class Means:
    """A text's vector: the mean of its words', rare ones more than frequent ones, less what all
    texts have in common (smooth inverse frequency; Arora, Liang and Ma 2017, "A Simple but
    Tough-to-Beat Baseline for Sentence Embeddings"). Shares are those of words in training.
    """

    def __init__(self, vectors: Vectors, shares: dict[str, float], common: np.ndarray) -> None:
        self.vectors, self.shares, self.common = vectors, shares, common

    @classmethod
    def fit(cls, vectors: Vectors, texts: Iterable[str]) -> "Means":
        texts = sorted(set(texts))
        counts = Counter(word for text in texts for word in WORD.findall(text))
        shares = {word: n / counts.total() for word, n in sorted(counts.items())}
        made = cls(vectors, shares, np.zeros(vectors.width, dtype=np.float32))
        rows = np.stack([made(text) for text in texts]).astype(np.float64)
        made.common = np.linalg.eigh(rows.T @ rows)[1][:, -1].astype(np.float32)
        return made

    def __call__(self, text: str) -> np.ndarray:
        """(width,); zeros where no word is known."""
        found = np.zeros(self.vectors.width, dtype=np.float32)
        words = WORD.findall(text)
        for word in words:
            found += SMOOTH / (SMOOTH + self.shares.get(word, 0.0)) * self.vectors(word)
        found /= max(1, len(words))
        return found - self.common * (found @ self.common)

    def save(self, out: Path) -> None:
        self.vectors.save(out)
        common = [float(number) for number in self.common]
        write_json(out / "means.json", {"shares": self.shares, "common": common})

    @classmethod
    def load(cls, folder: Path) -> "Means":
        kept = read_json(folder / "means.json")
        common = np.asarray(kept["common"], dtype=np.float32)
        return cls(Vectors.load(folder), kept["shares"], common)
