"""The pages of a profile: one HTML file each, no script, no network, for light, dark and paper.

Text from data is escaped, and characters that nobody sees (controls, turns of the writing
direction) are shown by their code, so that a record can change neither the page nor its reading.
"""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from steps.portrait import remarks as rules
from steps.portrait.measured import CLIP, QUANTILES
from steps.portrait.plots import heat_map, length_plot, score_plot
from steps.portrait.remarks import percent
from steps.portrait.words import OVER, PIECES

TEMPLATES = Path(__file__).parent
CLIP_LINES = 8
SHOWN_NAMES = 40  # labels, reasons, languages in a list of bars
MEASURES = {  # what has a length -> what its plot says
    "text": "words of a text",
    "question": "words of a question",
    "answer": "words of an answer",
    "pair": "words of a pair's other text",
    "target": "words of a target",
    "words_of_target_a_hundred_of_text": "words of the target for 100 words of the text",
}
TITLES = {  # of what is annotated, where some of it is counted
    "labels": "Labels of an example",
    "pair": "Pairs",
    "spans": "Spans",
    "answers": "Questions and answers",
    "target": "Texts and targets",
}
CHECKS = {  # what is counted -> how it is said, of what it is a share
    "given_labels": ("Labels given", ""),
    "without_labels": ("Examples without a label", "records"),
    "several_labels": ("Examples with several labels", "records"),
    "pairs_of_one_text": ("Pairs of the same text twice", "records"),
    "spans": ("Spans", ""),
    "without_spans": ("Examples without a span", "records"),
    "characters_in_spans": ("Characters in spans", "characters"),
    "answers": ("Answers", ""),
    "unanswerable": ("Questions without an answer", "records"),
    "misplaced": ("Answers that are not where they say", "answers"),
    "targets_like_text": ("Targets that equal their text", "records"),
}
LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_BLANK_LINES = re.compile(r"\n\s*\n")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def render(figures: Mapping[str, Any], exhibits: Mapping[str, Any]) -> str:
    """Return the page of one corpus or task; `exhibits` are the records shown on it."""
    found = figures["lengths"]
    plots = {name: length_plot(found[name], MEASURES[name]) for name in MEASURES if found.get(name)}
    empty = sum(number for low, _, number in found.get("text", {}).get("histogram", []) if not low)
    return (
        _room()
        .get_template("portrait.html.j2")
        .render(
            f=figures,
            x=exhibits,
            plots=plots,
            empty=empty,
            headline=headline(figures),
            noun=_noun(figures),
            measures=MEASURES,
            quantiles=["min", *QUANTILES, "max", "mean"],
            title=" and ".join(TITLES[name] for name in figures["columns"] if name in TITLES),
            score_plot=score_plot(figures["scores"]) if figures.get("scores") else "",
            checks=_checks(figures),
            sizes=_cluster_sizes(figures["duplicates"]["sizes"]),
            pieces=_pieces(figures["words"]["pieces"]),
            limits=[str(limit) for limit in OVER],
            unknown=_characters(figures["tokenizer"]["unknown_pieces"]),
            rules=rules,
        )
    )


def render_overlap(found: Mapping[str, Any]) -> str:
    """Return the page of the vocabularies' overlap."""
    names = found["names"]
    plot = heat_map(names, found["overlap"], "share of the row's words that the column has, too")
    pairs = [(left, right) for left in names for right in names if left != right]
    page = _room().get_template("overlap.html.j2")
    return page.render(
        o=found, names=names, plot=plot, pairs=pairs, headline=overlap_headline(found)
    )


def headline(figures: Mapping[str, Any]) -> str:
    """What is in it, in one sentence."""
    sizes, led = figures["sizes"], figures["ledger"]
    said = f"{sizes['records']:,} {_noun(figures)}, {big(sizes['words'])} words"
    if tongues := figures["languages"]:
        top = max(sorted(tongues), key=lambda code: tongues[code])
        share = tongues[top] / sum(tongues.values())
        name = LANGUAGES.get(top, top) or "no language known"
        said += f", in {name}" if share == 1 else f", {percent(share)} in {name}"
    number = figures["sources"]["number"]
    said += f", from {number:,} source{'' if number == 1 else 's'}"
    if led["read"]:
        said += f"; {percent(led['kept'] / led['read'])} of what was read was kept"
    return said + "."


def overlap_headline(found: Mapping[str, Any]) -> str:
    """Which two are nearest, in one sentence."""
    names = found["names"]
    pairs = [(a, b) for a in names for b in names if a < b]
    if not pairs:
        return f"One vocabulary alone: {visible(names[0])}. Overlap takes two."
    near = min(pairs, key=lambda pair: found["divergence"][pair[0]][pair[1]])
    said = f"{visible(near[0])} and {visible(near[1])}"
    if len(pairs) == 1:
        return f"{said} share {percent(found['overlap'][near[0]][near[1]])} of their words."
    far = max(pairs, key=lambda pair: found["divergence"][pair[0]][pair[1]])
    return f"{said} are nearest; {visible(far[0])} and {visible(far[1])} are furthest apart."


def _noun(figures: Mapping[str, Any]) -> str:
    return "documents" if figures["role"] == "corpus" else "examples"


def _checks(figures: Mapping[str, Any]) -> list[tuple[str, int, float | None]]:
    """Rows of the section of a kind: what, how many, what share."""
    found, sizes = figures.get("checks", {}), figures["sizes"]
    wholes = {"": 0, "answers": found.get("answers", 0), **sizes}
    rows = []
    for name, value in found.items():
        said, of = CHECKS[name]
        rows.append((said, value, value / wholes[of] if wholes[of] else None))
    return rows


def _cluster_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Clusters of 2, 3 and 4 records, then by doubling."""
    found: dict[str, int] = {}
    for size, times in sorted((int(size), times) for size, times in sizes.items()):
        low = 1 << (size.bit_length() - 1)
        name = str(size) if size < 4 else f"{low} to {2 * low - 1}"
        found[name] = found.get(name, 0) + times
    return found


def _pieces(sizes: Mapping[str, int]) -> dict[str, int]:
    return {f"{n} or more" if int(n) > PIECES else n: times for n, times in sizes.items()}


def _room() -> jinja2.Environment:
    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters.update(
        percent=percent, number=number, big=big, visible=visible, clip=clip, bars=bars,
        language=language, marked=marked, spoken=spoken, piece=piece, by_size=by_size,
    )  # fmt: skip
    return room


def number(value: float | None, decimals: int = 0) -> str:
    """A number with its thousands apart, or a dash."""
    return "–" if value is None else f"{value:,.{decimals}f}"


def big(value: float | None, units: str = "") -> str:
    """A number that is read at a glance: 950, 12.3 k, 1.4 M, 2.1 G."""
    if value is None:
        return "–"
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= factor:
            value = value / (1e3 if unit == "k" else factor)
            return f"{value:,.1f} {unit}{units}"
    return f"{value:,.0f}{' ' if units else ''}{units}"


def visible(text: str | None) -> str:
    """Show characters that nobody sees by their code."""
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text or "")


def clip(text: str | None, most: int = CLIP) -> str:
    """The beginning of a text, cut at a space where there is one near."""
    whole = _BLANK_LINES.sub("\n", (text or "").strip())
    text = "\n".join(whole.split("\n", CLIP_LINES)[:CLIP_LINES])
    if len(text) <= most:
        return visible(text) + ("" if len(text) == len(whole) else " …")
    head = text[:most]
    cut = head.rfind(" ", most - 40)
    return visible(head[:cut] if cut > 0 else head) + " …"


def bars(counts: Mapping[str, int], ranked: bool = True) -> dict[str, Any]:
    """Rows of a list of bars: name, count, share, width; the rest as one row."""
    total, most = sum(counts.values()), max(counts.values(), default=0)
    names = sorted(counts, key=lambda name: (-counts[name], name)) if ranked else list(counts)
    rows = [
        (name, counts[name], counts[name] / total, 100 * counts[name] / most)
        for name in names[:SHOWN_NAMES]
        if most
    ]
    rest = names[SHOWN_NAMES:]
    return {"rows": rows, "rest": len(rest), "rest_count": sum(counts[name] for name in rest)}


def by_size(rows: Mapping[str, Any], figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Records by label, the most frequent label first."""
    counts = figures.get("labels", {}).get("counts", {})
    return sorted(rows.items(), key=lambda item: (-counts.get(item[0], 0), item[0]))


def language(code: str) -> str:
    """A language's name, where the list has it."""
    return f"{LANGUAGES[code]} ({code})" if code in LANGUAGES else code or "not identified"


def marked(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A text in parts with the label of each ("" = none); spans inside others are left out."""
    text, parts, last = row["text"][: 2 * CLIP], [], 0
    for span in sorted(row["spans"], key=lambda one: (one["start"], -one["end"])):
        if span["start"] < last or span["end"] > len(text):
            continue
        parts.append((visible(text[last : span["start"]]), ""))
        parts.append((visible(text[span["start"] : span["end"]]), span["label"]))
        last = span["end"]
    more = " …" if len(row["text"]) > len(text) else ""
    return [*parts, (visible(text[last:]) + more, "")]


def spoken(reason: str) -> str:
    """A reason as it is read: too_short -> too short."""
    return reason.replace("_", " ")


def piece(token: str) -> str:
    """A token without its tokenizer's marks of where a word begins or goes on."""
    return visible(token.removeprefix("##").lstrip("Ġ▁")) or visible(token)


def _characters(pieces: Mapping[str, int]) -> list[tuple[str, int, str]]:
    """Unknown pieces with their count and, for one character alone, its Unicode name."""
    return [
        (found, n, unicodedata.name(found, "").lower() if len(found) == 1 else "")
        for found, n in pieces.items()
    ]
