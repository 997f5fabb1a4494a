"""The words of a corpus, and how a base's tokenizer reads them: fertility, unknown, split words.

Fertility (tokens a word) and the share of words in more than one piece: Rust et al. 2021, "How Good
is Your Tokenizer?". They tell what a base loses in a domain before any training.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steps.core.files import count_rows, read_batches
from steps.core.progress import Bar
from steps.corpora.vocabulary import count
from steps.portrait.measured import BATCH_ROWS, evenly

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

WORD_BYTES = 200_000_000  # of text whose words are counted; of a larger corpus an even part
DOCUMENTS = 2000  # tokenized, at even distances
CHARACTERS = 4000  # tokenized of each
LONGEST = 1_000_000  # characters of one document whose words are counted
INPUTS = ("question", "text", "pair")
OVER = (64, 128, 256, 512)  # tokens a record: usual limits of a model's input
PIECES = 4  # from which a word counts as torn
TIMES = 8  # a domain's word is so often as frequent as the base's vocabulary leads to expect
LISTED = 60


def count_words(folder: Path, size: int) -> tuple[dict[str, int], int]:
    """Count the top words of a folder with `size` bytes of text; the second says: each nth text."""
    step = max(1, math.ceil(size / WORD_BYTES))
    return count(_texts(folder, step)), step


def _texts(folder: Path, step: int) -> Iterator[str]:
    start = 0
    with Bar("words", count_rows(folder)) as bar:
        for batch in read_batches(folder, BATCH_ROWS, ["text"]):
            for text in batch["text"].take(np.arange(-start % step, batch.num_rows, step)):
                yield text.as_py()[:LONGEST]
            start += batch.num_rows
            bar.advance(batch.num_rows)


def read_as_tokens(
    folder: Path, tokenizer: "Tokenizer", unknown: int | None
) -> tuple[dict[str, Any], dict[str, int]]:
    """Figures of a bounded even sample, and the pieces that the tokenizer does not know.

    Of examples with a question or a pair both texts are read: so does a model.
    """
    sizes: Counter[str] = Counter()
    pieces: Counter[str] = Counter()
    over = dict.fromkeys(OVER, 0)
    for row in evenly(folder, DOCUMENTS):
        text = "\n".join(row[name][:CHARACTERS] for name in INPUTS if name in row)
        read = tokenizer.encode(text, add_special_tokens=False)
        sizes.update(records=1, tokens=len(read.ids), words=len(text.split()), characters=len(text))
        pieces.update(_unknown(text, read, unknown))
        for limit in over:
            over[limit] += len(read.ids) > limit
    figures = {
        **{name: sizes[name] for name in ("records", "tokens", "words", "characters")},
        "fertility": _ratio(sizes["tokens"], sizes["words"]),
        "characters_a_token": _ratio(sizes["characters"], sizes["tokens"]),
        "unknown": pieces.total(),
        "unknown_rate": _ratio(pieces.total(), sizes["tokens"], 6),
        "longer_than": {str(limit): number for limit, number in over.items()},
    }
    return figures, _top(pieces, LISTED)


def _unknown(text: str, read: "Encoding", unknown: int | None) -> list[str]:
    if unknown is None or unknown not in read.ids:
        return []
    pairs = zip(read.ids, read.offsets, strict=True)
    return [text[low:high] for token, (low, high) in pairs if token == unknown]


def split_words(counts: Mapping[str, int], tokenizer: "Tokenizer") -> dict[str, Any]:
    """How the tokenizer splits the top words; those torn most, and the words of the domain."""
    if not counts:
        return {"pieces": {}, "continued": None, "torn": [], "domain": [], "top": []}
    read = {word: _pieces(word, tokenizer) for word in counts}
    sizes: Counter[int] = Counter()
    for word, found in read.items():
        sizes[min(len(found), PIECES + 1)] += counts[word]
    torn = [word for word in counts if len(read[word]) >= PIECES]
    return {
        "pieces": {str(size): sizes[size] for size in sorted(sizes)},
        "continued": _ratio(sizes.total() - sizes[1], sizes.total()),
        "torn": [
            [word, counts[word], [piece for piece, _ in read[word]]] for word in torn[:LISTED]
        ],
        "domain": _domain(counts, read)[:LISTED],
        "top": [[word, counts[word]] for word in list(counts)[:LISTED]],
    }


def _pieces(word: str, tokenizer: "Tokenizer") -> list[tuple[str, int]]:
    """Pieces and ids of a word as it stands in running text: after a space, or alone if shorter."""
    both = [tokenizer.encode(form, add_special_tokens=False) for form in (f" {word}", word)]
    best = min(both, key=lambda read: len(read.ids))
    return list(zip(best.tokens, best.ids, strict=True))


def _domain(
    counts: Mapping[str, int], read: Mapping[str, Sequence[tuple[str, int]]]
) -> list[list[Any]]:
    """Words of the domain, by what they add to the divergence from general text.

    Vocabularies stand in order of frequency in the text they were made from (WordPiece, Unigram;
    of BPE the merges do): a word's place and Zipf's law give what to expect of it there.
    """
    long = [word for word in counts if len(word) > 1]
    known = sorted((word for word in long if len(read[word]) == 1), key=lambda w: read[w][0][1])
    places = {word: place for place, word in enumerate(known, start=1)}
    total, harmonic = sum(counts.values()), math.log(len(counts)) + 0.5772
    times = {
        word: counts[word] / total * (places.get(word, len(known) + 1) + 2.7) * harmonic
        for word in long
    }
    found = [word for word in long if len(word) > 2 and times[word] >= TIMES]
    found.sort(key=lambda word: (-counts[word] * math.log(times[word]), word))
    return [[word, counts[word]] for word in found]


def _ratio(part: int, whole: int, digits: int = 4) -> float | None:
    return round(part / whole, digits) if whole else None


def _top(counts: Counter[str], most: int) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])
