import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps import decontaminate as stage
from steps.core.entry import StepError
from steps.core.files import digest, read_json, read_rows
from steps.core.params import Decontaminate
from steps.corpora.matching import HeldOut, Overlaps, Rules, held_out_texts
from steps.corpora.overlap import normalised, words

SETTINGS = Decontaminate(ngram=8, containment=0.5, near=0.8)
LONG = "The router now sends each request to the first worker that answers within a second."
SHORT = "Fixed a crash in the parser."
NEAR = "In the end all of the workers stop and then none of them answers any request that is sent."
OTHER = NEAR.replace("then", "later")


def find(document: str, *texts: str) -> str | None:
    held_out = [HeldOut(text, "g", "t", "test") for text in texts]
    found = Overlaps(held_out, Rules(**SETTINGS.model_dump())).find([document])[0]
    return found[0] if found else None


def decontaminate(rows: list[dict], held_out: list[HeldOut]) -> tuple[list[dict], list[dict]]:
    batch = pa.RecordBatch.from_pylist(rows)
    kept, removed = stage.decontaminate(batch, stage.Decontamination(held_out, SETTINGS))
    return kept.to_pylist(), removed


def documents(*texts: str) -> list[dict]:
    return [
        {"id": f"{n:03}", "source": "s", "group": f"s/{n}", "text": text}
        for n, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Fixed a Crash, in the parser!", "fixed a crash in  the\nparser"),
        ("ｆｉｘｅｄ a crash", "Fixed a crash"),
        ("STRASSE nine", "straße nine"),
        ("Ångström", "Ångström"),
    ],
)
def test_case_width_composition_and_punctuation_do_not_matter(left, right):
    assert normalised(left) == normalised(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("A <<note>> of it", "A note of it"),
        ("A [[note]] of it", "A <<note>> of it"),
        ("get_value", "get value"),
        ("कि", "का"),
        ("???", "!!!"),
    ],
)
def test_markers_and_letters_do_matter(left, right):
    assert normalised(left) != normalised(right)


def test_scripts_without_spaces_have_a_word_a_character():
    assert words("修复了 parser 的错误") == ["修", "复", "了", "parser", "的", "错", "误"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (f"  {LONG}", "exact"),
        (LONG.upper(), "normalised"),
        (LONG.replace(" now", ", now"), "contained"),
        (f"Before.\n\n{SHORT}\n\nAfter.", "exact"),
        (f"It is said: {LONG} And so on.", "contained"),
        (LONG[:60] + " process.", "contained"),
        (LONG[:45] + "some other process.", None),
        (f"This release {SHORT}", "contained"),
        ("Fixed a crash in the lexer.", None),
        ("", None),
    ],
)
def test_a_document_goes_when_it_holds_a_held_out_text(document, reason):
    assert find(document, LONG, SHORT) == reason


@pytest.mark.parametrize("text", [OTHER, f"Before.\n\n{OTHER}\n\nAfter."])
def test_a_document_goes_when_it_or_a_paragraph_is_nearly_a_held_out_text(text):
    assert find(text, NEAR) == "near"
    assert find(text.replace("request", "call"), NEAR) is None


def test_fewer_than_five_words_count_only_as_a_whole_paragraph():
    assert find("A paragraph: see the manual. Thanks.", "See the manual.") is None
    assert find("A paragraph.\n\nSee the manual!", "See the manual.") == "near"


def test_a_document_goes_with_its_group_whatever_it_says():
    held_out = [HeldOut(LONG, "s/1", "changes", "validation")]
    kept, removed = decontaminate(documents("one", "two", "three"), held_out)
    assert [row["id"] for row in kept] == ["000", "002"]
    assert (removed[0]["reason"], removed[0]["task"], removed[0]["split"]) == (
        "group",
        "changes",
        "validation",
    )


def test_no_held_out_text_is_left_among_the_documents():
    draw = random.Random(3)
    vocabulary = [f"w{n}" for n in range(300)]
    texts = [" ".join(draw.choices(vocabulary, k=draw.randint(5, 30))) for _ in range(60)]
    rows = documents(
        *(
            " ".join([*draw.choices(vocabulary, k=40), draw.choice(texts), "end"])
            for _ in range(90)
        ),
        *(" ".join(draw.choices(vocabulary, k=60)) for _ in range(90)),
    )
    held_out = [HeldOut(text, "g", "t", "test") for text in texts]
    kept, removed = decontaminate(rows, held_out)
    assert len(removed) == 90
    assert not [row for row in kept for text in texts if text in row["text"]]


def write(path, rows):
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_the_stage_accounts_for_every_document(tmp_path):
    write(
        tmp_path / "docs/documents/part-0.parquet",
        documents("Kept as it is.", LONG, f"So: {SHORT}"),
    )
    example = {"id": "x", "source": "s", "group": "g", "text": LONG, "label": "fix"}
    write(tmp_path / "splits/changes/test.parquet", [example])
    write(tmp_path / "splits/other/validation.parquet", [example | {"text": SHORT}])
    for out in ("a", "b"):
        stage.main(
            "pydocs", tmp_path / "docs", tmp_path / "splits", tmp_path / out, tmp_path / "m.json"
        )
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert [row["text"] for row in read_rows(tmp_path / "a/documents")] == ["Kept as it is."]
    removed = read_rows(tmp_path / "a/removed")
    assert [(row["reason"], row["task"], row["split"]) for row in removed] == [
        ("exact", "changes", "test"),
        ("contained", "other", "validation"),
    ]
    assert read_json(tmp_path / "m.json") == {
        "read": 3,
        "kept": 1,
        "removed": 2,
        "reasons": {"contained": 1, "exact": 1},
        "tasks": {"changes": 1, "other": 1},
        "held_out_texts": 2,
    }


def test_the_second_text_of_an_example_is_held_out_too_where_it_tells_anything(tmp_path):
    example = {"id": "x", "source": "s", "group": "g", "text": "Which?"}
    write(tmp_path / "pairs/test.parquet", [example | {"pair": LONG, "label": "x"}])
    rows = [example | {"target": target} for target in ("yes", NEAR)]
    write(tmp_path / "search/validation.parquet", rows)
    found = [(item.task, item.text) for item in held_out_texts(tmp_path)]
    pairs, search = [("pairs", "Which?"), ("pairs", LONG)], [("search", "Which?")] * 2
    assert found == [*pairs, *search, ("search", NEAR)]


def test_a_corpus_that_is_lost_whole_is_an_error(tmp_path):
    write(tmp_path / "docs/documents/part-0.parquet", documents(LONG))
    example = {"id": "x", "source": "s", "group": "s/0", "text": LONG, "label": "fix"}
    write(tmp_path / "splits/changes/test.parquet", [example])
    paths = [tmp_path / name for name in ("docs", "splits", "out", "m.json")]
    with pytest.raises(StepError, match="corpus pydocs: all 1 documents overlap"):
        stage.main("pydocs", *paths)
    assert not (tmp_path / "out").exists()
