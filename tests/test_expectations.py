import json
from pathlib import Path

import pytest

from pipelines import lineage
from pipelines.release import release
from steps.checks import drift, expectations
from steps.checks.measures import Dataset, claim
from steps.core.entry import OFFLINE, StepError
from steps.core.files import Shards, digest, read_json, write_json, write_text
from steps.core.params import Expectation, load
from steps.corpora import schemas
from steps.validate import validate

ROOT = Path(__file__).parent.parent
LEDGER = {
    "read": 10,
    "kept": 6,
    "rejected": 1,
    "duplicates": 3,
    "reasons": {"too_short": 1},
    "masked": {"EMAIL": 3},
    "masked_records": 2,
    "languages": {"en": 4, "de": 2},
    "conflicts": 0,
    "sources": {"notes": {"read": 10, "kept": 6, "rejected": 1, "duplicates": 3}},
}
TEXTS = ["the cat", "the dog", "a cat and <EMAIL>", "mail <EMAIL> or <EMAIL>", "der Hund", "das X"]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def base(number, text):
    return {"id": f"{number:02}", "source": "notes", "group": str(number), "text": text}


def write(path, rows, schema):
    """Two rows a shard."""
    with Shards(path, schema, shard_bytes=1) as made:
        for start in range(0, len(rows), 2):
            made.write_rows(rows[start : start + 2])


def corpus(folder, texts=TEXTS, languages="en en en en de de", masks=True):
    languages = languages.split() or [""] * len(texts)
    documents = [
        base(n, text) | {"language": language}
        for n, (text, language) in enumerate(zip(texts, languages, strict=True))
    ]
    copy = base(7, "the cat") | {"place": "notes.jsonl:8", "kept": "00"}
    copies = [copy | {"kind": kind} for kind in ("exact", "near", "near")]
    write(folder / "documents", documents, schemas.SCHEMAS["documents"])
    write(folder / "duplicates", copies, schemas.DUPLICATES)
    short = base(6, "x") | {"place": "notes.jsonl:7", "reason": "too_short"}
    write(folder / "rejected", [short], schemas.REJECTED)
    write_json(folder / "ledger.json", LEDGER)
    return Dataset(folder, "documents", "notes", masks)


def examples(folder, kind, *annotated):
    given = {"split": "", "language": ""}
    rows = [base(n, text) | given | more for n, (text, more) in enumerate(annotated)]
    write(folder / "examples", rows, schemas.SCHEMAS[kind])
    write_json(folder / "ledger.json", LEDGER)
    return Dataset(folder, "examples", "notes")


def labelled(folder, *pairs):
    return examples(folder, "classification", *((t, {"label": label}) for t, label in pairs))


def judge(data, check, **kwargs):
    """The one result of a suite of one line."""
    item = Expectation(check=f"expect_{check}_to_be_between", critical=True, **kwargs)
    verdict, _ = validate(data, "corpora.notes", [item])
    return verdict["results"][0]


def places(result):
    return [f"{row['id']} {row['place']}" for row in result["rows"]]


@pytest.mark.parametrize(
    ("check", "kwargs", "figure", "rows"),
    [
        ("language_share", {"language": "en", "min_value": 0.9}, 4 / 6, ["04 notes", "05 notes"]),
        ("duplicate_share", {"max_value": 0.1}, 0.3, ["07 notes.jsonl:8"] * 3),
        ("duplicate_share", {"kind": "near", "max_value": 0.1}, 0.2, ["07 notes.jsonl:8"] * 2),
        ("duplicate_share", {"kind": "exact", "max_value": 0.05}, 0.1, ["07 notes.jsonl:8"]),
        ("rejected_share", {"max_value": 0.05}, 0.1, ["06 notes.jsonl:7"]),
        ("rejected_share", {"reason": "too_short", "max_value": 0}, 0.1, ["06 notes.jsonl:7"]),
        ("pii_share", {"max_value": 0.1}, 2 / 6, ["02 notes", "03 notes"]),
        ("pii_share", {"type": "EMAIL", "max_value": 0.1}, 3 / 6, ["02 notes", "03 notes"]),
    ],
)
def test_a_share_of_a_corpus_is_measured_and_its_rows_are_named(
    tmp_path, check, kwargs, figure, rows
):
    result = judge(corpus(tmp_path), check, **kwargs)
    assert result["observed"] == pytest.approx(figure)
    assert result["success"] is False
    assert places(result) == rows
    inside = {"min_value": figure - 0.01, "max_value": figure + 0.01}
    good = judge(corpus(tmp_path), check, **kwargs | inside)
    assert (good["success"], good["rows"], good["error"]) == (True, [], None)


def test_what_was_left_out_is_named_without_its_text(tmp_path):
    data = corpus(tmp_path)
    copies = judge(data, "duplicate_share", kind="near", max_value=0)["rows"]
    assert copies[0] == {"id": "07", "place": "notes.jsonl:8", "text": "near copy of 00"}
    rejects = judge(data, "rejected_share", max_value=0)["rows"]
    assert rejects == [{"id": "06", "place": "notes.jsonl:7", "text": "too_short"}]


def test_rows_are_named_only_on_the_side_that_is_out_of_bounds(tmp_path):
    result = judge(corpus(tmp_path), "duplicate_share", min_value=0.9)
    assert (result["success"], result["rows"]) == (False, [])


def test_a_share_of_a_reason_that_never_came_up_says_which_did(tmp_path):
    result = judge(corpus(tmp_path), "rejected_share", reason="too_shrt", max_value=0.5)
    assert (result["observed"], result["detail"]) == (0, "0 of 10 records read: too_short 1")


@pytest.mark.parametrize(
    ("check", "kwargs", "said"),
    [
        ("language_share", {"language": "en"}, "no languages: none was identified"),
        ("pii_share", {}, "no PII counts: none is looked for here"),
        ("label_entropy", {}, "no labels: these documents have none"),
        ("label_noise", {}, "no labels: documents have none"),
        ("vocabulary_overlap", {"with": "other"}, "infra/released/other.json"),
        ("vocabulary_overlap", {"with": "other.json"}, "no file other.json"),
    ],
)
def test_what_cannot_be_measured_has_raised_and_has_not_failed(tmp_path, check, kwargs, said):
    data = corpus(tmp_path, languages="", masks=False)
    result = judge(data, check, min_value=0, **kwargs)
    assert said in result["error"]
    assert (result["success"], result["observed"], result["rows"]) == (False, None, [])


def test_entropy_is_one_for_equal_labels_and_zero_for_one_label(tmp_path):
    equal = labelled(tmp_path / "a", ("x", "fix"), ("y", "bug"), ("z", "doc"))
    assert judge(equal, "label_entropy", min_value=0.99)["observed"] == pytest.approx(1)
    single = labelled(tmp_path / "b", ("x", "fix"), ("y", "fix"))
    assert judge(single, "label_entropy", min_value=0)["observed"] == 0
    skewed = labelled(tmp_path / "c", ("x", "fix"), ("y", "fix"), ("z", "fix"), ("w", "bug"))
    result = judge(skewed, "label_entropy", min_value=0.9)
    assert result["observed"] == pytest.approx(0.8113, abs=1e-4)
    assert result["detail"] == "0.81 bits: fix 3, bug 1"
    assert places(result) == ["03 notes"]  # of the rarest label


def test_entropy_of_spans_is_that_of_their_labels(tmp_path):
    def spans(*labels):
        return {"spans": [{"start": 0, "end": 1, "label": label} for label in labels]}

    data = examples(tmp_path, "tokens", ("x", spans("A", "B")), ("y", spans()), ("z", spans("A")))
    result = judge(data, "label_entropy", min_value=0.99)
    assert result["observed"] == pytest.approx(0.9183, abs=1e-4)
    assert places(result) == ["00 notes"]


def test_entropy_of_several_labels_is_that_of_all_of_them(tmp_path):
    rows = [("x", {"labels": ["a", "b"]}), ("y", {"labels": []}), ("z", {"labels": ["a"]})]
    result = judge(examples(tmp_path, "multilabel", *rows), "label_entropy", min_value=0.99)
    assert result["observed"] == pytest.approx(0.9183, abs=1e-4)
    assert result["detail"] == "0.92 bits: a 2, b 1"
    assert places(result) == ["00 notes"]


@pytest.mark.parametrize(
    ("kind", "more", "has"),
    [
        ("regression", {"score": 1.0}, "score"),
        ("retrieval", {"target": "x"}, "target"),
        ("question_answering", {"question": "?", "answers": []}, "answers"),
    ],
)
def test_what_has_no_labels_says_what_it_has(tmp_path, kind, more, has):
    result = judge(examples(tmp_path, kind, ("x", more)), "label_entropy", min_value=0)
    assert result["error"] == (
        f"no labels: these examples have none, but {has}; take the check out of the suite"
    )


def test_examples_have_languages_where_their_source_says_them(tmp_path):
    rows = [(text, {"label": "x", "language": code}) for text, code in (("a", "de"), ("b", "fr"))]
    data = examples(tmp_path, "classification", *rows)
    result = judge(data, "language_share", language="de", min_value=0.9)
    assert (result["observed"], places(result)) == (0.5, ["01 notes"])


@pytest.mark.parametrize(
    ("kind", "column", "value"),
    [
        ("multilabel", "labels", ["x", "y"]),  # lists by their lengths
        ("regression", "score", 2.0),
        ("tags", "spans", [{"start": 0, "end": 1, "label": "X"}] * 2),
    ],
)
def test_expectations_of_others_see_the_columns_of_each_type(tmp_path, kind, column, value):
    data = examples(tmp_path, kind, ("x", {column: value}), ("y", {column: value}))
    item = {"check": "expect_column_values_to_be_between", "column": column, "critical": True}
    for least, success in ((2, True), (2.5, False)):
        verdict, _ = validate(data, "tasks.notes", [Expectation(**item, min_value=least)])
        assert verdict["results"][0]["success"] is success
        assert verdict["results"][0]["error"] is None


def test_noise_is_the_share_of_examples_that_contradict_each_other(tmp_path):
    data = labelled(
        tmp_path,
        ("unique", "fix"),
        ("Same text", "fix"),
        ("agreed", "bug"),
        ("same  TEXT", "fix"),
        ("agreed", "bug"),
        ("same text!", "bug"),
    )
    result = judge(data, "label_noise", max_value=0.1)
    assert result["observed"] == pytest.approx(0.5)
    assert [row["text"] for row in result["rows"]] == ["fix: Same text", "bug: same text!"]
    assert judge(labelled(tmp_path / "b", ("x", "fix")), "label_noise", max_value=0)["success"]


def span(start, end, label):
    return {"start": start, "end": end, "label": label}


def answers(*texts):
    return [{"start": 0, "text": text} for text in texts]


@pytest.mark.parametrize(
    ("kind", "left", "right", "noisy"),
    [
        ("tokens", {"spans": [span(4, 7, "A")]}, {"spans": [span(0, 3, "A")]}, True),
        ("tokens", {"spans": [span(4, 7, "A")]}, {"spans": [span(4, 7, "B")]}, True),
        ("tokens", {"spans": [span(0, 3, "A"), span(4, 7, "A")]}, {"spans": []}, True),
        (
            "tokens",
            {"spans": [span(0, 3, "A"), span(4, 7, "B")]},
            {"spans": [span(4, 7, "B"), span(0, 3, "A")]},
            False,
        ),
        (
            "question_answering",
            {"question": "Who?", "answers": answers("the cat", "cat")},
            {"question": "who", "answers": answers("Cat", "the cat")},
            False,
        ),
        (
            "question_answering",
            {"question": "Who?", "answers": answers("the cat")},
            {"question": "Who?", "answers": []},
            True,
        ),
        (
            "question_answering",
            {"question": "Who?", "answers": answers("the cat")},
            {"question": "Which?", "answers": answers("the")},
            False,
        ),
        ("multilabel", {"labels": ["a", "b"]}, {"labels": ["a"]}, True),
        ("multilabel", {"labels": []}, {"labels": []}, False),
        ("regression", {"score": 1.0}, {"score": 1.5}, True),
        ("pairs", {"pair": "A dog", "label": "x"}, {"pair": "a dog!", "label": "y"}, True),
        ("pairs", {"pair": "a dog", "label": "x"}, {"pair": "a cat", "label": "y"}, False),
        ("tags", {"spans": [span(0, 3, "A")]}, {"spans": [span(0, 3, "B")]}, True),
        ("retrieval", {"target": "Die Katze"}, {"target": "der Kater"}, True),
        ("translation", {"target": "Die Katze"}, {"target": "die Katze."}, False),
        ("translation", {"target": "Die Katze"}, {"target": "der Kater"}, True),
    ],
)
def test_noise_is_known_in_each_kind_of_example(tmp_path, kind, left, right, noisy):
    data = examples(tmp_path, kind, ("the cat", left), ("the cat", right))
    result = judge(data, "label_noise", max_value=0.1)
    assert result["observed"] == (1 if noisy else 0)
    assert len(result["rows"]) == (2 if noisy else 0)


def test_another_place_of_the_same_words_is_no_contradiction():
    left = {"text": "the  cat", "spans": [span(5, 8, "A")]}
    right = {"text": "the cat", "spans": [span(4, 7, "A")]}
    assert claim(left) == claim(right)


def test_vocabulary_overlap_is_measured_with_a_profile_a_folder_and_a_release(tmp_path):
    data = labelled(tmp_path / "task", ("the cat the cat", "fix"), ("some dog", "bug"))
    write_json(drift.VOCABULARIES / "pets/vocabulary.json", {"the": 9, "cat": 2, "vocabulary": 1})
    write_json(tmp_path / "released.json", {"vocabulary": {"the": 9, "cat": 2}})
    corpus(tmp_path / "folder")
    for other, figure in (("pets", 0.5), ("released.json", 0.5), ("folder", 0.75)):
        result = judge(data, "vocabulary_overlap", min_value=0.8, **{"with": other})
        assert result["observed"] == figure
    assert result["detail"] == ("3 of 4 words are in folder, of the others most frequent: some")


def test_what_is_no_vocabulary_is_refused(tmp_path):
    data = corpus(tmp_path / "documents")
    for bad in (["the"], {"the": "often"}, {"vocabulary": {"the": None}}):
        write_json(tmp_path / "bad.json", bad)
        result = judge(data, "vocabulary_overlap", min_value=0, **{"with": "bad.json"})
        assert "is no vocabulary; expected a number for each word" in result["error"]


def test_drift_passes_and_says_so_where_nothing_was_released(tmp_path):
    result = judge(corpus(tmp_path), "drift", max_value=0)
    assert result["success"] is True
    assert result["observed"] == "no released version yet; `outplant release notes` makes one"


def test_drift_is_measured_from_the_released_version(tmp_path):
    data = corpus(tmp_path / "a")
    write_json(drift.RELEASED / "notes.json", drift.released(data, ""))
    assert judge(data, "drift", max_value=0)["observed"] == 0
    moved = corpus(tmp_path / "b", [f"{text} and more and more of it" for text in TEXTS])
    words, lengths, both = (
        judge(moved, "drift", max_value=0, **kwargs)
        for kwargs in ({"of": "words"}, {"of": "lengths"}, {})
    )
    assert 0.2 < words["observed"] < 1
    assert 0.2 < lengths["observed"] <= 1
    assert both["observed"] == max(words["observed"], lengths["observed"])
    assert "words that moved most: +more, +and, " in both["detail"]


def test_an_unrelated_corpus_has_the_greatest_drift(tmp_path):
    write_json(drift.RELEASED / "notes.json", drift.released(corpus(tmp_path / "a"), ""))
    other = corpus(tmp_path / "b", ["zug " * 50] * 6)
    assert judge(other, "drift", max_value=0)["observed"] == pytest.approx(1)


@pytest.fixture
def notes(monkeypatch):
    """A corpus `notes` in params.yaml."""
    known = load(ROOT / "params.yaml")
    small = known.model_copy(update={"corpora": {"notes": known.corpora["pydocs"]}})
    monkeypatch.setattr("pipelines.release.load", lambda: small)


def test_a_release_is_what_drift_is_measured_from(tmp_path, notes):
    data = corpus(tmp_path / "data/documents/notes")
    path = release("notes")
    first = digest(path)
    assert digest(release("notes")) == first
    made = read_json(path)
    assert path.as_posix() == "infra/released/notes.json"
    assert made["documents"] == 6
    assert made["languages"] == {"de": 2, "en": 4}
    assert made["lengths"] == {"4": 3, "8": 1, "16": 2}
    assert made["vocabulary"]["cat"] == 2
    assert made["ledger"] == {"read": 10, "kept": 6, "rejected": 1, "duplicates": 3}
    assert made["md5"] == ""  # no dvc.lock here
    assert judge(data, "drift", max_value=0)["observed"] == 0


def test_a_release_knows_the_bytes_of_dvc_lock_and_refuses_others(tmp_path, notes):
    corpus(tmp_path / "data/documents/notes")
    md5 = lineage.dvc_hash(tmp_path / "data/documents/notes")
    out = {"path": "data/documents/notes", "md5": md5}
    write_text(tmp_path / "params.yaml", "{}")
    write_text(tmp_path / "dvc.yaml", "stages: {ingest_corpus: {foreach: {notes: 1}, do: {}}}")
    lock = {"schema": "2.0", "stages": {"ingest_corpus@notes": {"cmd": "x", "outs": [out]}}}
    write_text(tmp_path / "dvc.lock", json.dumps(lock))
    assert read_json(release("notes"))["md5"] == md5
    write_json(tmp_path / "data/documents/notes/ledger.json", LEDGER | {"read": 11})
    with pytest.raises(StepError, match=r"is not what dvc\.lock says"):
        release("notes")


def test_a_corpus_that_is_not_in_params_cannot_be_released(notes):
    with pytest.raises(StepError, match="no corpus 'nots'"):
        release("nots")


def test_each_expectation_of_ours_is_one_of_great_expectations(tmp_path):
    from great_expectations.expectations import registry

    assert expectations.register() is expectations.register()
    for name, kind in expectations.register().items():
        assert registry.get_expectation_impl(name) is kind
        assert name.startswith("expect_")
