"""A bigram model of words that knows every string: the mark for a generator's perplexity."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

LETTERS = 0x110000  # code points of Unicode, each possible
START, END = "\n", ""  # no word, as words are parted by white space


class Bigrams:
    """p(x | the one before), interpolated with p(x), and that with `rest`, a distribution over
    whatever may come (Witten and Bell 1991, "The Zero-Frequency Problem"): a context that was seen
    n times with t different followers gives n / (n + t) to them, t / (n + t) to the level below.
    """

    def __init__(self, rows: Iterable[Sequence[str]], rest: Callable[[str], float]) -> None:
        self.rest = rest
        self.after: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.all: Counter[str] = Counter()
        for row in rows:
            for before, here in pairwise(row):
                self.after[before][here] += 1
                self.all[here] += 1
        self.seen = {before: found.total() for before, found in self.after.items()}
        self.total = self.all.total()

    def __call__(self, before: str, here: str) -> float:
        low = self._mix(self.all, self.total, here, self.rest)
        if before not in self.seen:
            return low
        return self._mix(self.after[before], self.seen[before], here, lambda _: low)

    @staticmethod
    def _mix(found: Counter[str], n: int, here: str, below: Callable[[str], float]) -> float:
        kinds = len(found)
        return (found[here] + kinds * below(here)) / (n + kinds) if n else below(here)


class Language:
    """Words parted by white space, and the end of the text; a word is spelled where it must be.

    What is counted of a target: -log p, in nats, of each of its words after the one before, the
    first after the last of the prompt, and of the end. A word's share by its spelling is the
    product of its letters', its end among them, by a bigram model of the letters of the words seen,
    over the whole of Unicode. So the sum over all targets is 1, none is impossible, and no word is
    cheap for being unknown; white space itself is free.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        rows = [[START, *f"{text} {target}".split(), END] for text, target in pairs]
        words = sorted({word for row in rows for word in row[1:-1]})
        self.letters = Bigrams(([START, *word, END] for word in words), lambda _: 1 / LETTERS)
        self.words = Bigrams(rows, self.spelled)

    def spelled(self, word: str) -> float:
        row = [START, *word, END]
        return math.prod(self.letters(a, b) for a, b in pairwise(row))

    def loss(self, text: str, target: str) -> float:
        """Of a target after its prompt, in nats."""
        row = [*([START, *text.split()][-1:]), *target.split(), END]
        steps = pairwise(row)
        return -sum(math.log(self.words(before, here)) for before, here in steps)
