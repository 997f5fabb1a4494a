"""What a person should look at in a profile, said in sentences; thresholds stand here alone.

A remark is (level, sentence, section of the page); "bad" = do not trust before it is mended, "look"
= it may be right, but look.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Remark = tuple[str, str, str]
REJECTED = DUPLICATES = 0.2  # share of what was read from which a remark is made
ONE_SOURCE = 0.5
OTHER_LANGUAGES = 0.05
NOT_ALIKE = 0.5  # words that a near copy shares with the one kept
UNKNOWN = 0.005  # [UNK] a token
TORN = 2.0  # tokens a word
FEW_OF_A_LABEL = 30
ONE_LABEL = 0.8
LIKE_TEXT = 0.02  # targets, or the other texts of pairs
FEW_WORDS = 1_000_000  # of a corpus: adaptation has little to learn from


def remarks(figures: Mapping[str, Any]) -> list[Remark]:
    """All remarks, the bad ones first."""
    found = [one for rule in RULES for one in rule(figures)]
    return sorted(found, key=lambda one: one[0] != "bad")


def percent(share: float | None) -> str:
    """A share in percent that never rounds to a false 0 or 100."""
    if share is None:
        return "–"
    if 0 < share < 0.0001:
        return "<0.01%"
    if 0.999 < share < 1:
        return ">99.9%"
    decimals = 0 if share in (0, 1) else 2 if share < 0.01 else 1
    return f"{share:.{decimals}%}"


def _ledger(figures: Mapping[str, Any]) -> Iterator[Remark]:
    found = figures["ledger"]
    if not found["adds_up"]:
        yield "bad", "The ledger does not add up: read is not kept + rejected + duplicates.", "fate"
    if not found["files_agree"]:
        yield "bad", f"The files hold other numbers than the ledger: {found['rows']}.", "fate"
    if not found["kept"]:
        yield "bad", "Nothing was kept.", "fate"
    if found["rejected"] > REJECTED * found["read"]:
        reasons = figures["rejected"]["reasons"]
        top = max(sorted(reasons), key=lambda reason: reasons[reason], default="none")
        share = percent(found["rejected"] / found["read"])
        yield (
            "look",
            f"{share} of what was read was rejected, most as {top.replace('_', ' ')}.",
            "rejected",
        )
    if found["duplicates"] > DUPLICATES * found["read"]:
        share = percent(found["duplicates"] / found["read"])
        yield "look", f"{share} of what was read were copies.", "duplicates"


def _sources(figures: Mapping[str, Any]) -> Iterator[Remark]:
    shown, kept = figures["sources"]["shown"], figures["ledger"]["kept"]
    for one in shown:
        if figures["sources"]["number"] > 1 and kept and one["kept"] > ONE_SOURCE * kept:
            said = f"{percent(one['kept'] / kept)} of what was kept comes from {one['name']}."
            yield "look", said, "sources"
        if one["read"] and not one["kept"]:
            yield "look", f"Nothing of source {one['name']} was kept.", "sources"


def _languages(figures: Mapping[str, Any]) -> Iterator[Remark]:
    counts = figures["languages"]
    if counts and (other := 1 - max(counts.values()) / sum(counts.values())) > OTHER_LANGUAGES:
        yield "look", f"{percent(other)} is not in the main language.", "languages"


def _near(figures: Mapping[str, Any]) -> Iterator[Remark]:
    least = figures["duplicates"]["least_alike"]
    if least is not None and least < NOT_ALIKE:
        said = f"A record was dropped as a near copy that shares {percent(least)} of its words"
        yield "look", f"{said} with the one kept.", "duplicates"


def _tokenizer(figures: Mapping[str, Any]) -> Iterator[Remark]:
    found = figures["tokenizer"]
    if (found["unknown_rate"] or 0) > UNKNOWN:
        said = f"{percent(found['unknown_rate'])} of the tokens are unknown to the base."
        yield "look", f"{said} They carry no information for it.", "tokenizer"
    if (found["fertility"] or 0) > TORN:
        said = f"The base's tokenizer needs {found['fertility']:.2f} tokens a word"
        yield "look", f"{said}: sequences are long, and words torn.", "tokenizer"


def _labels(figures: Mapping[str, Any]) -> Iterator[Remark]:
    counts = figures.get("labels", {}).get("counts", {})
    total = sum(counts.values())
    if len(counts) == 1 and "label" in figures["columns"]:
        yield "bad", "There is but one label: nothing can be learned.", "labels"
    elif counts and max(counts.values()) > ONE_LABEL * total:
        top = max(counts, key=lambda label: counts[label])
        said = f"{percent(counts[top] / total)} of the labels are {top}"
        yield "look", f"{said}: accuracy will flatter, read macro-F1.", "labels"
    few = sorted(label for label, n in counts.items() if n < FEW_OF_A_LABEL)
    if few:
        said = f"Fewer than {FEW_OF_A_LABEL} of {_listed(few)}: too few to judge by."
        yield "look", said, "labels"


def _scores(figures: Mapping[str, Any]) -> Iterator[Remark]:
    if (found := figures.get("scores")) and found["p5"] == found["p95"]:
        level = "bad" if found["min"] == found["max"] else "look"
        said = f"Nine of ten scores are {found['median']:g}"
        if level == "bad":
            said = f"All scores are {found['median']:g}: nothing can be learned"
        yield level, f"{said}.", "scores"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _checks(figures: Mapping[str, Any]) -> Iterator[Remark]:
    checks, records = figures.get("checks", {}), figures["sizes"]["records"]
    if checks.get("misplaced"):
        said = f"Answers that do not stand in the text where they say: {checks['misplaced']:,}."
        yield "bad", said, "kind"
    for name, what in (("targets_like_text", "targets"), ("pairs_of_one_text", "pairs")):
        if records and checks.get(name, 0) > LIKE_TEXT * records:
            said = f"{percent(checks[name] / records)} of the {what} equal their text."
            yield "look", said, "kind"
    if figures["conflicts"]:
        what = "labels" if "labels" in figures else "annotations"
        said = f"Texts that stand with conflicting {what}: {figures['conflicts']:,}."
        yield "look", said, "labels" if "labels" in figures else "fate"


def _size(figures: Mapping[str, Any]) -> Iterator[Remark]:
    if figures["role"] == "corpus" and 0 < figures["sizes"]["words"] < FEW_WORDS:
        said = f"{figures['sizes']['words']:,} words are little to adapt a base by."
        yield "look", said, "sizes"


RULES = (_ledger, _labels, _scores, _checks, _sources, _languages, _near, _tokenizer, _size)
