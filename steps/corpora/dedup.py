"""Duplicates, found by Daft: exact ones by key, near ones by MinHash, banded LSH and true Jaccard.

Broder 1997, "On the resemblance and containment of documents"; Leskovec et al., "Mining of Massive
Datasets", chapter 3.4.
"""

HASHES = 112
WORDS = 5  # of a shingle
SEED = 1
RECALL = 0.97  # of the pairs at the threshold that share a band
NEIGHBOURS = 8  # of a document in its bucket; more would be quadratic in boilerplate


def exact(keys: list[str]) -> dict[int, int]:
    """Map each later copy to the first with the same key, by position."""
    import daft
    from daft import col

    if not keys:  # Daft would not know their type
        return {}
    frame = daft.from_pydict({"key": keys, "at": list(range(len(keys)))})
    first = frame.groupby("key").agg(col("at").min().alias("first"))
    pairs = frame.join(first, on="key").where(col("at") != col("first")).sort("at").to_pydict()
    return dict(zip(pairs["at"], pairs["first"], strict=True))


def near(texts: list[str], threshold: float) -> dict[int, int]:
    """Map each text to the first of those it is nearly equal to (transitively), by position."""
    if not texts:
        return {}
    folded = [text.casefold() for text in texts]
    pairs = _candidates(folded, threshold)
    shingles: dict[int, set[str]] = {}
    for at in {at for pair in pairs for at in pair}:
        shingles[at] = _shingles(folded[at])
    alike = [(a, b) for a, b in sorted(pairs) if _jaccard(shingles[a], shingles[b]) >= threshold]
    return _components(alike)


def bands(threshold: float) -> int:
    """Choose how many bands the hashes are cut into: the fewest that find RECALL of the pairs."""
    fits = [count for count in range(1, HASHES + 1) if HASHES % count == 0]
    found = (n for n in fits if 1 - (1 - threshold ** (HASHES // n)) ** n >= RECALL)
    return next(found, HASHES)


def _candidates(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    """Pair the texts that share a band of their MinHash signature."""
    import daft
    from daft import col

    count = bands(threshold)
    rows = HASHES // count
    frame = daft.from_pydict({"text": texts, "at": list(range(len(texts)))})
    signature = col("text").minhash(num_hashes=HASHES, ngram_size=WORDS, seed=SEED)
    signed = frame.select(col("at"), signature.alias("signature")).collect()
    pairs: set[tuple[int, int]] = set()
    for start in range(0, HASHES, rows):
        band = col("signature").slice(start, start + rows).hash()
        buckets = signed.groupby(band.alias("band")).agg(col("at").list_agg())
        for bucket in buckets.where(col("at").length() > 1).to_pydict()["at"]:
            pairs.update(_pairs(sorted(bucket)))
    return pairs


def _pairs(bucket: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for i, a in enumerate(bucket) for b in bucket[i + 1 : i + 1 + NEIGHBOURS]]


def _shingles(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[at : at + WORDS]) for at in range(max(1, len(words) - WORDS + 1))}


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def _components(pairs: list[tuple[int, int]]) -> dict[int, int]:
    """Union-find: map each member but the first of its component to that first."""
    parent: dict[int, int] = {}

    def root(at: int) -> int:
        while (above := parent.get(at, at)) != at:
            parent[at] = parent.get(above, above)
            at = above
        return at

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return {at: root(at) for at in sorted(parent) if root(at) != at}
