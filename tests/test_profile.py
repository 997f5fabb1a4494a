"""The profile: figures that can be checked by hand, and a page that holds what it shows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from steps.core.entry import StepError
from steps.core.examples import KINDS
from steps.core.files import Shards, read_json, write_json
from steps.corpora.schemas import DUPLICATES, REJECTED, SCHEMAS
from steps.portrait.annotated import COLUMNS
from steps.portrait.losses import alike, differences, fold_sources
from steps.portrait.measured import Few, entropy, evenly, lengths, scores
from steps.portrait.page import bars, big, clip, marked, piece, visible
from steps.portrait.remarks import percent
from steps.profile import main
from tests.pages import assert_whole

KNOWN = ["[UNK]", "the", "a", "is", "of", "query", "set", "cat", "un", "##ter", "##mid", "##ab"]
KNOWN += ["##le", "fish", "runs"]
BAD = '<script>alert("x")</script> & <img src=x onerror=y>'
Row = dict[str, Any]


def rows(*texts: str, **more: Any) -> list[Row]:
    """Records of two sources in turn."""
    return [
        {"id": f"{n:04}", "source": f"s{n % 2}", "group": f"g{n}", "text": text, **more}
        for n, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base's folder with a word-piece tokenizer that cuts texts short."""
    tokenizer = Tokenizer(
        models.WordPiece({word: n for n, word in enumerate(KNOWN)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    folder = tmp_path_factory.mktemp("base")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write(
    folder: Path,
    kind: str,
    kept: list[Row],
    rejected: list[Row] | None = None,
    duplicates: list[Row] | None = None,
    **ledger: Any,
) -> Path:
    """What `ingest` leaves of one corpus or task, small shards and a ledger."""
    name = "documents" if kind == "documents" else "examples"
    more = {"language": ""} | ({} if kind == "documents" else {"split": ""})
    parts = {
        name: ([more | row for row in kept], SCHEMAS[kind]),
        "rejected": (rejected or [], REJECTED),
        "duplicates": (duplicates or [], DUPLICATES),
    }
    for part, (found, schema) in parts.items():
        with Shards(folder / part, schema, shard_bytes=1) as shards:
            for at in range(0, len(found), 3):
                shards.write_rows(found[at : at + 3])
    write_json(folder / "ledger.json", _ledger(kept, rejected or [], duplicates or []) | ledger)
    return folder


def _ledger(kept: list[Row], rejected: list[Row], duplicates: list[Row]) -> dict[str, Any]:
    ends = {"kept": kept, "rejected": rejected, "duplicates": duplicates}
    everything = [row for found in ends.values() for row in found]
    sources = {
        source: {"read": sum(row["source"] == source for row in everything)}
        | {end: sum(row["source"] == source for row in found) for end, found in ends.items()}
        for source in {row["source"] for row in everything}
    }
    reasons = [row["reason"] for row in rejected]
    return {
        "read": len(everything),
        **{end: len(found) for end, found in ends.items()},
        "reasons": {reason: reasons.count(reason) for reason in reasons},
        "masked": {},
        "masked_records": 0,
        "languages": {},
        "conflicts": 0,
        "sources": sources,
    }


def profiled(role: str, source: Path, start: Path, out: Path) -> tuple[dict[str, Any], str]:
    main(role, ["toy", str(source), str(start), str(out)])
    return read_json(out / "profile.json"), (out / "profile.html").read_text(encoding="utf-8")


@pytest.fixture
def worked(tmp_path: Path) -> Path:
    """Four documents, two rejected, three copies: figures can be counted on fingers."""
    kept = rows("the cat runs", "a fish is the query", "untermidable cat ☃ runs", "the set")
    languages = ["en", "en", "en", "de"]
    kept = [row | {"language": code} for row, code in zip(kept, languages, strict=True)]
    rejected = rows("x", "y", reason="too_short", place="notes.txt:7")
    copies = rows("the cat runs", "the cat  runs", "a fish is that query", place="b.txt:1")
    for row, of, kind in zip(
        copies, ["0000", "0000", "0001"], ["exact"] * 2 + ["near"], strict=True
    ):
        row |= {"kept": of, "kind": kind}
    masked = {"masked": {"EMAIL": 2}, "masked_records": 1}
    return write(tmp_path / "worked", "documents", kept, rejected, copies, **masked)


def test_the_figures_of_a_worked_corpus(worked: Path, start: Path, tmp_path: Path) -> None:
    found, page = profiled("corpus", worked, start, tmp_path / "out")
    assert found["sizes"] == {"records": 4, "words": 14, "characters": 61, "bytes": 63}
    text = found["lengths"]["text"]
    assert (text["min"], text["median"], text["max"], text["mean"]) == (2, 3, 5, 3.5)
    assert sum(number for _, _, number in text["histogram"]) == 4
    assert found["languages"] == {"de": 1, "en": 3}
    assert found["ledger"] == {
        "read": 9,
        "kept": 4,
        "rejected": 2,
        "duplicates": 3,
        "adds_up": True,
        "files_agree": True,
        "rows": {"kept": 4, "rejected": 2, "duplicates": 3},
    }
    assert found["rejected"]["reasons"] == {"too_short": 2}
    assert found["masked"] == {"types": {"EMAIL": 2}, "records": 1}
    duplicates = found["duplicates"]
    assert (duplicates["clusters"], duplicates["copies"]) == (2, 3)
    assert duplicates["kinds"] == {"exact": 2, "near": 1}
    assert duplicates["sizes"] == {"2": 1, "3": 1}
    assert duplicates["least_alike"] == 0.6667  # four words of six
    assert "Nothing was lost: 9 read = 4 kept + 2 rejected + 3 duplicates" in page
    assert_whole(page)


def test_the_figures_of_the_tokenizer(worked: Path, start: Path, tmp_path: Path) -> None:
    found, page = profiled("corpus", worked, start, tmp_path / "out")
    tokens = found["tokenizer"]  # its own truncation to two tokens is off
    assert (tokens["records"], tokens["words"], tokens["tokens"]) == (4, 14, 18)
    assert tokens["fertility"] == round(18 / 14, 4)
    assert (tokens["unknown"], tokens["unknown_pieces"]) == (1, {"☃": 1})
    assert found["words"]["torn"] == [["untermidable", 1, ["un", "##ter", "##mid", "##ab", "##le"]]]
    assert found["words"]["pieces"] == {"1": 12, "5": 1}
    assert "<i>un</i><i>ter</i>" in page
    assert "snowman" in page


def test_the_vocabulary_is_counted_without_case(worked: Path, start: Path, tmp_path: Path) -> None:
    profiled("corpus", worked, start, tmp_path / "out")
    words = read_json(tmp_path / "out" / "vocabulary.json")
    assert (words["the"], words["cat"], words["fish"]) == (3, 2, 1)


def test_the_same_input_gives_the_same_bytes(worked: Path, start: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        profiled("corpus", worked, start, tmp_path / name)
    for file in ("profile.json", "vocabulary.json", "profile.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_text_from_data_cannot_run_or_turn_the_page(start: Path, tmp_path: Path) -> None:
    hidden = "\u202egnp.exe \x00"
    kept = rows(BAD, hidden + "kept", language=BAD)
    copy = {"place": BAD, "kept": "0000", "kind": "near"}
    source = write(
        tmp_path / "bad",
        "documents",
        [row | {"source": BAD, "group": BAD} for row in kept],
        rows(BAD, reason=BAD, place=BAD),
        rows(BAD + " copy", **copy),
        masked={BAD: 1},
    )
    main("corpus", [BAD, str(source), str(start), str(tmp_path / "out")])
    page = (tmp_path / "out" / "profile.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page
    assert "<img" not in page
    assert not set(hidden) & set(page) - set("gnp.ex ")
    assert "⟨U+202E⟩" in page
    assert_whole(page)


@pytest.mark.parametrize("texts", [(), ("",), ("one",)])
def test_a_corpus_of_next_to_nothing_goes_through(
    texts: tuple[str, ...], start: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "small", "documents", rows(*texts))
    found, page = profiled("corpus", source, start, tmp_path / "out")
    assert found["sizes"]["records"] == len(texts)
    assert found["ledger"]["adds_up"]
    assert "Nothing was rejected." in page
    assert "No copies were found." in page
    assert_whole(page)


SPAN = {"start": 4, "end": 7, "label": "ANIMAL"}
TASKS: dict[str, tuple[list[Row], str]] = {
    "classification": (
        [row | {"label": "ab"[n % 2]} for n, row in enumerate(rows(*["the cat"] * 6))],
        "Labels",
    ),
    "tokens": (
        [row | {"spans": [SPAN][: n % 2]} for n, row in enumerate(rows(*["the cat runs"] * 4))],
        "Examples without a span",
    ),
    "question_answering": (
        [
            rows("the cat runs", question="who runs", answers=[{"start": 4, "text": "cat"}])[0],
            rows("the cat runs", question="who swims", answers=[])[0] | {"id": "1"},
            rows("a cat", question="what", answers=[{"start": 4, "text": "cat"}])[0] | {"id": "2"},
        ],
        "Questions without an answer",
    ),
    "translation": (
        [
            rows("the cat", target="die Katze läuft weg")[0],
            rows("a fish", target="a fish")[0] | {"id": "1"},
        ],
        "Targets that equal their text",
    ),
    "multilabel": (
        [
            row | {"labels": ["a", "b"][: n % 3]}
            for n, row in enumerate(rows(*["the cat"] * 6, split="train"))
        ],
        "Examples with several labels",
    ),
    "regression": (
        [row | {"score": n / 2} for n, row in enumerate(rows(*["the cat"] * 9))],
        "How many examples of each score",
    ),
    "pairs": (
        [
            row | {"pair": "the cat" + " runs" * n, "label": "ab"[n % 2]}
            for n, row in enumerate(rows(*["the cat"] * 4))
        ],
        "Pairs of the same text twice",
    ),
}


@pytest.mark.parametrize("kind", TASKS)
def test_each_kind_of_task_has_its_section(kind: str, start: Path, tmp_path: Path) -> None:
    kept, said = TASKS[kind]
    source = write(tmp_path / "task", kind, kept)
    found, page = profiled("task", source, start, tmp_path / "out")
    assert found["columns"] == list(KINDS[kind])
    assert said in page
    assert_whole(page)


def test_the_figures_of_each_kind_of_task(start: Path, tmp_path: Path) -> None:
    found = {
        kind: profiled("task", write(tmp_path / kind, kind, kept), start, tmp_path / "out" / kind)[
            0
        ]
        for kind, (kept, _) in list(TASKS.items())[:4]
    }
    assert found["classification"]["labels"] == {"counts": {"a": 3, "b": 3}, "entropy": 1.0}
    assert found["tokens"]["labels"]["counts"] == {"ANIMAL": 2}
    assert found["tokens"]["checks"] == {
        "spans": 2,
        "without_spans": 2,
        "characters_in_spans": 6,
    }
    answers = found["question_answering"]
    assert answers["checks"] == {"answers": 2, "unanswerable": 1, "misplaced": 1}
    assert answers["lengths"]["question"]["max"] == 2
    level, said, section = answers["remarks"][0]
    assert (level, section) == ("bad", "kind")
    assert said == "Answers that do not stand in the text where they say: 1."
    assert found["translation"]["checks"] == {"targets_like_text": 1}
    ratios = found["translation"]["lengths"]["words_of_target_a_hundred_of_text"]
    assert (ratios["min"], ratios["max"]) == (100, 200)


def test_the_figures_of_labels_scores_and_pairs(start: Path, tmp_path: Path) -> None:
    found, pages = {}, {}
    for kind in ("multilabel", "regression", "pairs"):
        source = write(tmp_path / kind, kind, TASKS[kind][0])
        found[kind], pages[kind] = profiled("task", source, start, tmp_path / "out" / kind)
    several = found["multilabel"]
    assert several["labels"]["counts"] == {"a": 4, "b": 2}
    assert several["checks"] == {"given_labels": 6, "without_labels": 2, "several_labels": 2}
    assert "Given splits: train 6." in pages["multilabel"]
    scores = found["regression"]["scores"]
    assert [scores[q] for q in ("min", "p25", "median", "max", "mean")] == [0, 1, 2, 4, 2]
    assert scores["deviation"] == pytest.approx((20 / 3 / 4) ** 0.5)
    assert sum(number for _, _, number in scores["histogram"]) == 9
    pairs = found["pairs"]
    assert (pairs["labels"]["counts"], pairs["checks"]) == (
        {"a": 2, "b": 2},
        {"pairs_of_one_text": 1},
    )
    assert (pairs["lengths"]["pair"]["min"], pairs["lengths"]["pair"]["max"]) == (2, 5)
    assert pairs["tokenizer"]["words"] == 4 * 2 + 2 + 3 + 4 + 5
    assert '<p dir="auto">+ the cat runs</p>' in pages["pairs"]


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([2.0] * 4, 1),
        ([0.0] * 3 + [1.0], 20),
        ([1.0, 1.0 + 1e-15], 1),
        ([-1.7e308, 1.7e308], 1),
        ([0.0, 5e-324], 1),
        ([], 0),
    ],
)
def test_any_scores_have_figures(values: list[float], bins: int) -> None:
    found = scores(np.array(values))
    assert len(found.get("histogram", [])) == bins
    json.dumps(found, allow_nan=False)


def test_scores_that_say_little_are_said(start: Path, tmp_path: Path) -> None:
    for name, most, said in (("one", 2.0, "All scores are 2:"), ("few", 5.0, "Nine of ten")):
        values = [2.0] * 39 + [most]
        kept = [row | {"score": x} for row, x in zip(rows(*["a"] * 40), values, strict=True)]
        source = write(tmp_path / name, "regression", kept)
        _, page = profiled("task", source, start, tmp_path / "out" / name)
        assert said in page
        assert_whole(page)


def test_all_that_examples_have_is_measured() -> None:
    assert {name for names in KINDS.values() for name in names} == set(COLUMNS)


def test_a_task_without_an_example_goes_through(start: Path, tmp_path: Path) -> None:
    for kind in ("multilabel", "regression", "pairs"):
        found, page = profiled("task", write(tmp_path / kind, kind, []), start, tmp_path / "out")
        assert (found["sizes"]["records"], found["columns"]) == (0, list(KINDS[kind]))
        assert_whole(page)


def test_a_span_is_shown_in_its_text(start: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "task", "tokens", TASKS["tokens"][0])
    _, page = profiled("task", source, start, tmp_path / "out")
    assert "the <mark>cat<small>ANIMAL</small></mark> runs" in page


def test_a_ledger_that_does_not_add_up_is_said_first(
    worked: Path, start: Path, tmp_path: Path
) -> None:
    ledger = read_json(worked / "ledger.json")
    write_json(worked / "ledger.json", ledger | {"read": 10, "rejected": 3})
    found, page = profiled("corpus", worked, start, tmp_path / "out")
    assert [level for level, _, _ in found["remarks"]][:2] == ["bad", "bad"]
    assert "Nothing was lost" not in page
    assert "does not add up" in page


def test_small_sources_are_folded_into_one_row() -> None:
    ends = {"kept": 1, "rejected": 0, "duplicates": 0}
    sources = {"large": ends | {"read": 1000, "kept": 1000}}
    sources |= {f"small{n}": ends | {"read": 1} for n in range(5)}
    found = fold_sources(sources)
    assert [one["name"] for one in found["shown"]] == ["large"]
    assert (found["number"], found["folded"], found["rest"]["read"]) == (6, 5, 5)


def test_the_overlap_of_vocabularies_is_a_table_and_a_map(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    write_json(folder / "corpora/one/vocabulary.json", {"the": 6, "cat": 3, "<b>": 1})
    write_json(folder / "tasks/two/vocabulary.json", {"the": 5, "dog": 5})
    main("overlap", [str(folder), str(tmp_path / "out")])
    found = read_json(tmp_path / "out" / "overlap.json")
    one, two = "corpora/one", "tasks/two"
    assert found["names"] == [one, two]
    assert found["overlap"][one][two] == pytest.approx(1 / 3)
    assert found["overlap"][two][one] == 0.5
    assert found["covered"][one][two] == 0.6
    assert found["divergence"][one][one] == 0
    assert found["missing"][one][two] == ["cat", "<b>"]
    page = (tmp_path / "out" / "overlap.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert ">50%<" in page
    assert_whole(page)


def test_what_the_user_can_mend_is_one_line(worked: Path, start: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(StepError, match=r"no tokenizer\.json in .*worked"):
        main("corpus", ["toy", str(worked), str(worked), out])
    write_json(tmp_path / "tokenizer.json", {})
    with pytest.raises(StepError, match="has no `model`"):
        main("corpus", ["toy", str(worked), str(tmp_path), out])
    with pytest.raises(StepError, match=r"no .*ledger\.json"):
        main("corpus", ["toy", str(tmp_path), str(start), out])
    with pytest.raises(StepError, match=r"no vocabulary\.json below"):
        main("overlap", [str(worked), out])
    with pytest.raises(StepError, match="expected corpus NAME DOCUMENTS START OUT"):
        main("corpus", ["toy"])
    assert not Path(out).exists()


def test_the_command_needs_no_torch(worked: Path, start: Path, tmp_path: Path) -> None:
    arguments = ["corpus", ["toy", str(worked), str(start), str(tmp_path / "out")]]
    code = "import sys, json; from steps.profile import main; main(*json.loads(sys.argv[1]));"
    code += "assert not {'torch', 'transformers', 'daft'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, json.dumps(arguments)], check=True)


def test_rows_are_drawn_at_even_distances(tmp_path: Path) -> None:
    source = write(tmp_path / "many", "documents", rows(*map(str, range(100))))
    texts = [row["text"] for row in evenly(source / "documents", 4)]
    assert texts == ["0", "25", "50", "75"]
    assert len(list(evenly(source / "documents", 1000))) == 100


def test_records_shown_come_from_as_many_sources_as_there_are(tmp_path: Path) -> None:
    import pyarrow as pa

    found = [row | {"source": "rare"} if n == 9 else row for n, row in enumerate(rows(*"x" * 10))]
    few = Few()
    few.offer(pa.RecordBatch.from_pylist(found), ((n, "label") for n in range(10)))
    assert [row["source"] for row in few.get()["label"]] == ["s0", "s1", "rare"]


def test_lengths_are_exact() -> None:
    from collections import Counter

    found = lengths(Counter({0: 1, 1: 1, 10: 97, 1000: 1}))
    assert (found["min"], found["p1"], found["median"], found["p99"]) == (0, 0, 10, 10)
    assert found["max"] == 1000
    assert found["histogram"][0] == [0, 1, 1]
    assert sum(number for _, _, number in found["histogram"]) == 100
    assert lengths(Counter()) == {}


def test_balance_is_one_for_equal_labels_and_none_for_a_single_one() -> None:
    assert entropy([5, 5, 5]) == 1
    assert entropy([5]) is None
    assert entropy([999, 1]) == pytest.approx(0.0114)


def test_differences_are_marked_and_long_equal_runs_cut() -> None:
    middle = " ".join(["same"] * 200)
    left, right = differences(f"a {middle} end", f"b {middle} end")
    assert left[0] == ("a", True)
    assert right[0] == ("b", True)
    assert "…" in left[1][0]
    assert len(left[1][0]) < 100
    assert alike("a b c", "C, b!") == pytest.approx(2 / 3)
    assert differences("same text", "same text")[0] == [("same text", False)]


def test_figures_are_read_at_a_glance() -> None:
    assert [big(n) for n in (950, 9999, 12_345, 1_400_000)] == ["950", "9,999", "12.3 k", "1.4 M"]
    assert big(2_100_000_000, "B") == "2.1 GB"
    shares = [0, 0.00001, 0.005, 0.25, 0.9999, 1, None]
    assert [percent(share) for share in shares] == [
        *("0%", "<0.01%", "0.50%", "25.0%", ">99.9%", "100%", "–")
    ]
    assert clip("word " * 100).endswith(" …")
    assert visible("a\x00b") == "a⟨U+0000⟩b"
    assert [piece(token) for token in ("##ing", "Ġthe", "▁the", "##")] == [
        "ing",
        "the",
        "the",
        "##",
    ]
    assert bars({str(n): 1 for n in range(50)})["rest"] == 10


def test_spans_inside_others_are_left_out() -> None:
    spans = [{"start": 0, "end": 7, "label": "A"}, {"start": 4, "end": 7, "label": "B"}]
    assert marked({"text": "the cat", "spans": spans})[1] == ("the cat", "A")
