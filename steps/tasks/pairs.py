"""Pairs of texts, such as premise and hypothesis: one label for both; its reference is `label`."""

from steps.tasks import Item
from steps.tasks.classification import (
    LEVEL,
    OUTPUT,
    WEIGHED,
    classes,
    counts,
    decode,
    grams,
    labels,
    reference,
    targets,
    words,
)

__all__ = ["LEVEL", "OUTPUT", "WEIGHED", "classes", "decode", "features", "labels", "reference"]
__all__ += ["targets", "units"]
INPUTS = ("text", "pair")
STEPS = 10  # how finely the share of words that the first text has, too, is told apart


def units(item: Item) -> list[tuple[int, int]]:
    return [(0, len(item["pair"]))]


def features(item: Item) -> list[dict[str, float]]:
    """Count each side's words and pairs of neighbours, the words in both, and those that only the
    second has.
    """
    first, second = words(item["text"]), words(item["pair"])
    both = set(first) & set(second)
    shared = [word for word in second if word in both]
    names = [f"1:{gram}" for gram in grams(first)] + [f"2:{gram}" for gram in grams(second)]
    names += [f"both:{word}" if word in both else f"only:{word}" for word in second]
    return [counts([*names, f"shared={STEPS * len(shared) // max(1, len(second))}"])]
