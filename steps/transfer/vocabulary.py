"""A domain's words become tokens, whose embeddings begin as the mean of their old pieces'.

New tokens go into the tokenizer's own model and not beside it, so that spaces, decoding and the ids
of the special tokens stay as they are.
"""

import heapq
import itertools
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers

from steps.core.entry import StepError

KINDS = ("BPE", "Unigram", "WordPiece")
LEAST = 5  # what is seen more rarely would hardly be trained
LONGEST = 30  # letters of a token; what is longer is a digest or a path more often than a word
MOST = 2_000_000  # distinct words in memory at a time
EDGE = 1e-6  # log-probability a letter by which a new piece beats the pieces it was before
BETWEEN_WORDS = re.compile("(?<=[^▁])(?=▁)")

Pair = tuple[str, str]
Torn = dict[str, tuple[int, list[str]]]  # a word of several tokens -> how often it is seen, they
New = dict[str, list[str]]  # a new token -> the old tokens it was before


def count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    """Count words as the tokenizer's model sees them: normalised, in bytes if it works in bytes.

    Past `MOST` distinct words the rarest are forgotten, until no more than half are left.
    """
    counts: Counter[str] = Counter()
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    for text in texts:
        plain = normalizer.normalize_str(text) if normalizer else text
        words = [word for word, _ in splitter.pre_tokenize_str(plain)] if splitter else [plain]
        for word in words:  # some pre-tokenizers, as Llama's, leave a text whole
            counts.update(BETWEEN_WORDS.split(word) if "▁" in word[1:] else (word,))
        least = 0
        while len(counts) > (MOST // 2 if least else MOST):
            least += 1
            counts = Counter({word: n for word, n in counts.items() if n > least})
    return counts


def fertility(tokenizer: Tokenizer, words: Mapping[str, int]) -> float:
    """Mean number of tokens a running word, words as `count_words` gives them; 0 for none."""
    model = tokenizer.model
    tokens = sum(count * len(model.tokenize(word)) for word, count in words.items())
    return float(tokens / (sum(words.values()) or 1))


def extend(
    tokenizer: Tokenizer, words: Mapping[str, int], limit: int
) -> tuple[Tokenizer, dict[int, list[int]]]:
    """Make a tokenizer with at most `limit` new tokens; also give the old ids that each one was.

    New ids follow all old ones, added tokens' too. In WordPiece and Unigram a new token is a word,
    those whose tearing costs most tokens first. BPE is trained on: again and again the most
    frequent pair of pieces is merged, after all older merges; a word may need several new tokens.
    """
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    if model["type"] not in KINDS:
        raise StepError(
            f"a {model['type']} tokenizer takes no new tokens, only {', '.join(KINDS)} do; set"
            " text.new_tokens to 0 or take another start"
        )
    old = tokenizer.get_vocab(with_added_tokens=True)
    _settle(model["vocab"], state["added_tokens"])
    reader = Reader.of(state)
    torn = _torn(tokenizer, words, reader)
    bpe = model["type"] == "BPE"
    new = _merged(torn, limit, reader, model) if bpe else _dearest(torn, limit)
    ids = {}
    for number, (token, pieces) in enumerate(new.items(), max(old.values()) + 1):
        ids[number] = [old[piece] for piece in pieces]
        if isinstance(model["vocab"], dict):
            model["vocab"][token] = number
        else:
            score = sum(model["vocab"][piece][1] for piece in ids[number])
            model["vocab"].append([token, score + EDGE * (len(token) - 1)])
    return Tokenizer.from_str(json.dumps(state)), ids


@dataclass(frozen=True)
class Reader:
    """How a tokenizer's model spells words and pieces, and how they read as text."""

    in_bytes: bool  # GPT-2's spelling: a letter stands for each byte
    prefix: str  # before a piece that goes on with a word: WordPiece's ##
    suffix: str  # after a piece that ends a word

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Reader":
        """Find out from tokenizer.json."""
        before = json.dumps([state["normalizer"], state["pre_tokenizer"]])
        prefix = state["model"].get("continuing_subword_prefix") or ""
        suffix = state["model"].get("end_of_word_suffix") or ""
        return cls('"ByteLevel"' in before, prefix, suffix)

    def read(self, word: str) -> str:
        return decoders.ByteLevel().decode([word]) if self.in_bytes else word

    def spell(self, text: str) -> str:
        return normalizers.ByteLevel().normalize_str(text) if self.in_bytes else text

    def join(self, pieces: Sequence[str]) -> str:
        return pieces[0] + "".join(piece.removeprefix(self.prefix) for piece in pieces[1:])

    def runs(self, word: str) -> Iterator[str]:
        """Find what can become a token: letters, marks and digits, with a space before them.

        Where pieces are marked as inside or last of a word, only a run that is not.
        """
        text = self.read(word)
        end = 0
        for inside, run in itertools.groupby(text, _in_words):
            start, end = end, end + sum(1 for _ in run)
            if start and text[start - 1] == (" " if self.in_bytes else "▁"):
                start -= 1
            at_edges = not (self.prefix and start) and not (self.suffix and end < len(text))
            if inside and at_edges and any(map(str.isalpha, text[start:end])):
                yield self.spell(text[start:end])


def _in_words(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMN"


def _settle(vocab: Any, added: list[dict[str, Any]]) -> None:
    """Write added tokens into the model's vocabulary, at their ids.

    The library gives those that are not there new ids, after the vocabulary, whenever it reads
    a tokenizer: they would move.
    """
    if isinstance(vocab, dict):
        for token in added:
            vocab.setdefault(token["content"], token["id"])
        return
    known = {piece for piece, _ in vocab}
    lowest = min(score for _, score in vocab)
    for token in sorted(added, key=lambda token: int(token["id"])):
        if token["content"] not in known:
            if token["id"] != len(vocab):
                raise StepError(
                    f"added token {token['content']!r} has id {token['id']}, expected {len(vocab)}:"
                    " the tokenizer's ids have gaps; set text.new_tokens to 0"
                )
            vocab.append([token["content"], lowest])


def _torn(tokenizer: Tokenizer, words: Mapping[str, int], reader: Reader) -> Torn:
    """Find words of several pieces that spell them: no unknown ones, no bytes in place of letters.

    In the order of the alphabet.
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for run in reader.runs(word):
            counts[run] += count
    model, known = tokenizer.model, tokenizer.get_vocab(with_added_tokens=True)
    names = {number: token for token, number in known.items()}
    found: Torn = {}
    for word in sorted(word for word, count in counts.items() if count >= LEAST):
        pieces = [names[token.id] for token in model.tokenize(word)]
        if len(pieces) > 1 and word not in known and reader.join(pieces) == word + reader.suffix:
            found[word] = counts[word], pieces
    return found


def _dearest(torn: Torn, limit: int) -> New:
    """Choose the words that cost most tokens beyond their first; ties by the alphabet.

    WordPiece reads the longest piece that fits, so that it finds a new word at once; what follows
    the word in a longer one may be cut otherwise than before, and is never unknown where each
    letter has its own ##piece, as training leaves it. Unigram gets a score (`extend`) that
    beats the old pieces', and all other ways to cut the word, by as little as can be.
    """
    words = [word for word in torn if len(word) <= LONGEST]
    ranked = sorted(words, key=lambda word: (-torn[word][0] * (len(torn[word][1]) - 1), word))
    return {word: torn[word][1] for word in ranked[:limit]}


def _merged(torn: Torn, limit: int, reader: Reader, model: dict[str, Any]) -> New:
    """Go on with the training of BPE; write the merges into `model`."""
    pairs = Pairs(torn)
    new: New = {}
    while len(new) < limit and (pair := pairs.most_frequent()):
        token = reader.join(pair)
        text = reader.read(token).strip(" ▁")
        if token in model["vocab"] or token in new or text.isnumeric() or len(text) > LONGEST:
            continue
        pairs.merge(pair, token)
        new[token] = [old for piece in pair for old in new.get(piece, [piece])]
        model["merges"].append(list(pair))
    return new


class Pairs:
    """Neighbouring pieces in all words, counted, and kept counted from merge to merge."""

    def __init__(self, torn: Torn) -> None:
        self.times = [count for count, _ in torn.values()]
        self.words = [pieces for _, pieces in torn.values()]
        self.counts: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        for number in range(len(self.words)):
            self._count(number, 1)
        self.queue = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.queue)

    def _count(self, number: int, sign: int) -> None:
        for pair in itertools.pairwise(self.words[number]):
            self.counts[pair] += sign * self.times[number]
            self.places[pair].add(number)

    def most_frequent(self) -> Pair | None:
        """Take the most frequent pair, ties by the alphabet, if it is seen often enough."""
        while self.queue:
            count, pair = heapq.heappop(self.queue)
            if -count == self.counts[pair] >= LEAST:
                return pair
            if self.counts[pair] >= LEAST:  # merges took some of it since
                heapq.heappush(self.queue, (-self.counts[pair], pair))
        return None

    def merge(self, pair: Pair, token: str) -> None:
        found: set[Pair] = set()
        for number in self.places.pop(pair):
            self._count(number, -1)
            self.words[number] = _replaced(self.words[number], pair, token)
            self._count(number, 1)
            found |= {p for p in itertools.pairwise(self.words[number]) if token in p}
        for new in found:
            heapq.heappush(self.queue, (-self.counts[new], new))


def _replaced(pieces: list[str], pair: Pair, token: str) -> list[str]:
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] = token
        else:
            found.append(piece)
    return found
