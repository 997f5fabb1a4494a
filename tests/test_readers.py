import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steps import readers
from steps.core.entry import StepError
from steps.core.examples import KINDS
from steps.readers import files as reading
from steps.readers.files import files
from steps.readers.inline import strip
from steps.readers.markup import Page, parse
from steps.readers.rst_components import component

OURS = tuple(
    name
    for name in readers.NAMES
    if name not in ("conll", "conll_u", "po", "rst_components", "squad")
)

GUIDE = """\
=====
Guide
=====

.. _label:

A first paragraph with ``code`` and
a :class:`~pkg.Thing` in it::

    dropped = 1

.. note:: Mind the
   gap.

.. versionadded:: 1.2
    New here.

.. comment that
   is long

.. image:: x.png
   :alt: dropped

>>> dropped()
1

:field: dropped

=====  =====
a      table
=====  =====

.. method:: Thing.run(x)
             Thing.run(y)
   :async:

   Runs :meth:`it <Thing.run>`.

Part
----

* One item
  goes on.

  Its second paragraph.
* :setting:`DEBUG` is the other.

term
    Its definition.
"""

CHANGES = """\
Changelog
=========

1.1 (2024-01-02)
----------------

Bug fixes
~~~~~~~~~

- `#12 <https://x.example/12>`_: Fixed a crash in ``run()`` -- by :user:`jane`.
- Fixed the other (:issue:`13`, :issue:`14`).

Features removed
~~~~~~~~~~~~~~~~

- #15: Removed ``old``.
  Patch by Jane Doe.

1.0
---

Improved documentation
~~~~~~~~~~~~~~~~~~~~~~

- Described :func:`pkg.run`. See https://x.example/y

Thoughts
~~~~~~~~

- Not filed.
"""


def read(name: str, root: Path, **options: Any) -> list[dict[str, Any]]:
    """Read a folder as ingest does: all files that the reader takes, one after the other."""
    reader = readers.load(name)
    checked = readers.options(name, options, "options")
    return [row for file in files(root, reader.SUFFIXES) for row in reader.read(file, checked)]


def read_or_say(name: str, root: Path) -> tuple[list[dict[str, Any]], str]:
    try:
        return read(name, root), ""
    except StepError as error:
        return [], str(error)


def write(root: Path, name: str, data: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def rows(root: Path, *found: Any) -> Path:
    return write(root, "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in found))


def picked(found: list[dict[str, Any]], *keys: str) -> list[Any]:
    """Of each record what these keys hold, None where it has no such key."""
    return [tuple(map(row.get, keys)) if keys[1:] else row.get(keys[0]) for row in found]


def texts(page: str) -> list[str]:
    return [strip(block.text).text for block in parse(page)]


def test_prose_is_kept_and_the_rest_is_dropped() -> None:
    assert texts(GUIDE) == [
        "A first paragraph with code and a Thing in it:",
        "Mind the gap.",
        "New here.",
        "Runs it.",
        "One item goes on.",
        "Its second paragraph.",
        "DEBUG is the other.",
        "Its definition.",
    ]


def test_headings_and_items_are_known() -> None:
    blocks = list(parse(GUIDE))
    assert blocks[0].headings == ("Guide",)
    assert blocks[-1].headings == ("Guide", "Part")
    assert [block.item for block in blocks] == [*[False] * 4, True, False, True, False]


@pytest.mark.parametrize(
    ("markup", "text", "spans", "unmarked"),
    [
        (":meth:`~a.B.c` runs", "c runs", [("c", "FUNC")], False),
        (":py:class:`!a.B` is", "a.B is", [("a.B", "CLASS")], False),
        (":class:`_orm.Session` is", "Session is", [("Session", "CLASS")], False),
        (":ref:`the title <x-y>` and :ref:`x-y`", "the title and x y", [], False),
        ("a :pep:`8` thing (:issue:`1`, :issue:`2`).", "a PEP 8 thing.", [], False),
        ("see `the site <https://x.example>`_ or docs_.", "see the site or docs.", [], False),
        ("**bold** *it* ``x*y`` `z`", "bold it x*y z", [], True),
        ("2*3*4 and snake_case_ends and **kwargs", "2*3*4 and snake_case_ends and **kwargs", [], 0),
        ("note [1]_ and \\*escaped", "note and *escaped", [], False),
        (":class:`the session <Session>`", "the session", [], False),
    ],
)
def test_inline_markup(markup: str, text: str, spans: list[Any], unmarked: bool) -> None:
    prose = strip(markup)
    found = [(prose.text[s["start"] : s["end"]], s["label"]) for s in prose.spans]
    assert (prose.text, found, prose.unmarked) == (text, spans, unmarked)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write(tmp_path, "lib-1/docs/guide.rst", GUIDE)
    return write(tmp_path, "lib-1/CHANGES.rst", CHANGES)


def test_documents_are_sections_grouped_by_file_and_version(docs: Path) -> None:
    found = read("rst", docs)
    assert {record["source"] for record in found} == {"lib-1"}
    assert sorted({record["group"] for record in found}) == [
        "lib-1/CHANGES.rst#1.0",
        "lib-1/CHANGES.rst#1.1 (2024-01-02)",
        "lib-1/docs/guide.rst",
    ]
    assert found[-1]["text"].startswith("One item goes on.\n\nIts second")
    assert found[-1]["place"] == "lib-1/docs/guide.rst:2"


def test_entities_come_from_paragraphs_without_literals(docs: Path) -> None:
    found = read("rst_entities", docs)
    spans = [record["text"][s["start"] : s["end"]] for record in found for s in record["spans"]]
    assert spans == ["pkg.run", "it", "DEBUG"]


def test_changes_have_the_kind_they_are_filed_under(docs: Path) -> None:
    assert picked(read("rst_changes", docs), "text", "label") == [
        ("Fixed a crash in run()", "fix"),
        ("Fixed the other.", "fix"),
        ("Removed old.", "removal"),
        ("Described pkg.run. See", "doc"),
    ]


def test_groups_are_the_same_strings_for_all_three_readers(docs: Path) -> None:
    groups = [
        set(picked(read(name, docs), "group")) for name in ("rst", "rst_entities", "rst_changes")
    ]
    assert groups[1] | groups[2] <= groups[0]


def test_a_page_is_a_changelog_by_name() -> None:
    names = {
        "lib/docs/releases/1.0.txt": True,
        "lib/NEWS.rst": True,
        "lib/docs/exchange.rst": False,
    }
    assert names == {name: Page(name, []).is_changelog for name in names}


@pytest.mark.parametrize(
    "name", ["rst", "rst_changes", "rst_entities", "rst_components", "rst_titles"]
)
def test_a_page_that_is_no_text_is_one_bad_record(tmp_path: Path, name: str) -> None:
    write(tmp_path, "lib/CHANGES.rst", b"caf\xe9\n====\n\nText.\n")
    assert picked(read(name, tmp_path), "source", "place", "reason") == [
        ("lib", "lib/CHANGES.rst", "not_utf8")
    ]


def test_components_are_told_by_the_page_that_one_component_owns(tmp_path: Path) -> None:
    pages = {
        "topics/db/queries.txt": "db",
        "ref/forms/api.txt": "forms",
        "intro/tutorial.txt": None,
    }
    page = "=====\nTitle\n=====\n\nA paragraph of some words about this.\n"
    for name in pages:
        write(tmp_path, f"django-5/docs/{name}", page)
    assert {name: component(f"django-5/docs/{name}") for name in pages} == pages
    assert component("elsewhere/topics/db/queries.txt") is None
    assert sorted(picked(read("rst_components", tmp_path), "label")) == ["db", "forms"]


def test_a_section_is_to_be_summarised_by_its_title_or_found_by_it(tmp_path: Path) -> None:
    body = "The ``cache`` keeps answers of a server. " * 5
    page = f"Page\n====\n\n{body}\n\nThe *whole* cache\n-----------------\n\n{body}\n\n{body}\n\n"
    write(tmp_path, "lib/guide.rst", page + "Too short\n---------\n\nA body of few words.\n")
    write(tmp_path, "lib/CHANGES.rst", page)
    text = " ".join(body.replace("`", "").split())
    (found,) = read("rst_titles", tmp_path)
    assert (found["text"], found["target"]) == (f"{text}\n\n{text}", "The whole cache")
    assert (found["group"], found["place"]) == ("lib/guide.rst", "lib/guide.rst:2")
    reader, options = readers.load("rst_titles"), readers.options("rst_titles", {}, "", "retrieval")
    (file,) = (one for one in files(tmp_path, (".rst",)) if one.name.endswith("guide.rst"))
    (turned,) = reader.read(file, options)
    assert (turned["text"], turned["target"]) == (found["target"], found["text"])


def test_a_text_file_is_a_document_and_a_bad_one_is_listed(tmp_path: Path) -> None:
    write(tmp_path, "a/b.txt", "some\r\ntext")
    write(tmp_path, "c.md", b"caf\xe9")
    write(tmp_path, "d.rst", "not for this reader")
    first, second = read("text", tmp_path)
    assert first == {"source": "a", "group": "a/b.txt", "place": "a/b.txt", "text": "some\ntext"}
    assert second["reason"] == "not_utf8"


def test_blank_lines_part_documents(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", b"\n one\ntwo\n \n\n\nthree\n\nfo\xffur\nfive\n")
    found = read("text", tmp_path, mode="blank_lines")
    assert picked(found, "text", "place", "group", "reason") == [
        (" one\ntwo", "a.txt:2", "a.txt", None),
        ("three", "a.txt:7", "a.txt", None),
        ("fo\ufffdur\nfive", "a.txt:9", "a.txt", "not_utf8"),
    ]


def test_doc_blocks_are_documents_and_what_is_outside_is_listed(tmp_path: Path) -> None:
    text = """stray
<doc id="12" url="https://x.example/?a=1&amp;b=2" title="A &quot;title&quot;">
Title

First.
</doc>

<doc title="B &amp; C">
</doc>
<doc>
never closed
<doc id="13">
nor this
"""
    write(tmp_path, "AA/wiki_00.txt", text)
    found = read("text", tmp_path, mode="doc")
    assert picked(found, "text", "group", "reason") == [
        ("stray", "AA/wiki_00.txt:1", "outside_doc"),
        ("Title\n\nFirst.", "12", None),
        ("", "B & C", None),
        ("never closed", "AA/wiki_00.txt:10", "unclosed_doc"),
        ("nor this", "13", "unclosed_doc"),
    ]


@pytest.mark.parametrize("mode", ["file", "blank_lines", "doc"])
def test_a_document_too_long_is_one_bad_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT", 1000)
    write(tmp_path, "a.txt", "<doc>\n" + "some words here\n" * 500 + "</doc>\n")
    (found,) = read("text", tmp_path, mode=mode)
    assert found["reason"] == "text_too_long"
    assert len(found["text"]) < 1000


def test_each_line_of_any_file_is_a_document(tmp_path: Path) -> None:
    write(tmp_path, "a/b", b"one line\n\n  another\xff\n")
    assert picked(read("lines", tmp_path), "text", "group", "place", "reason") == [
        ("one line", "a/b", "a/b:1", None),
        ("another\ufffd", "a/b", "a/b:3", "not_utf8"),
    ]


def test_json_lines_give_spans_in_the_spellings_of_annotation_tools(tmp_path: Path) -> None:
    prodigy = {"start": 3, "end": 5, "label": "Y", "token_start": 1, "token_end": 1}
    doccano = {"id": 1, "start_offset": 3, "end_offset": 5, "label": "Y"}
    rows(
        tmp_path,
        {"text": "ab cd", "spans": [[0, 2, "X"]], "group": "g"},
        {"text": "ab cd", "spans": [prodigy], "source": "s"},
        {"text": "ab cd", "spans": [doccano]},
        {"text": "ab cd", "spans": []},
        {"text": "ab cd", "spans": [[0, "2", "X"]]},
        {"text": "ab cd", "spans": [{"start": 0, "end": 2}]},
        {"text": "ab cd", "spans": 7},
    )
    found = read("jsonl", tmp_path)
    second = [{"start": 3, "end": 5, "label": "Y"}]
    assert picked(found[:4], "spans") == [
        [{"start": 0, "end": 2, "label": "X"}], second, second, []
    ]  # fmt: skip
    assert picked(found[:3], "source", "group", "place") == [
        ("a.jsonl", "g", "a.jsonl:1"),
        ("s", "a.jsonl:2", "a.jsonl:2"),
        ("a.jsonl", "a.jsonl:3", "a.jsonl:3"),
    ]
    assert picked(found[4:], "reason") == ["bad_spans"] * 3


def test_spans_may_be_where_others_have_a_label(tmp_path: Path) -> None:
    rows(tmp_path, {"data": "ab cd", "label": [[0, 2, "X"]]})
    (found,) = read("jsonl", tmp_path, text="data", spans="label")
    assert found["spans"] == [{"start": 0, "end": 2, "label": "X"}]
    assert "label" not in found


def test_a_field_without_a_name_is_not_read(tmp_path: Path) -> None:
    rows(tmp_path, {"text": "a", "answers": ["b"], "spans": "c"})
    write(tmp_path, "a.csv", "text,spans\na,b\n")
    assert picked(read("jsonl", tmp_path, answers="", spans=""), "reason") == [None]
    assert picked(read("table", tmp_path, spans=""), "reason") == [None]


def test_names_reach_into_objects(tmp_path: Path) -> None:
    pair = {"translation": {"en": "a", "de": "b"}, "meta": {"url": "u", "n": 3}, "meta.id": 7}
    rows(tmp_path, pair)
    names = {"text": "translation.en", "target": "translation.de", "source": "meta.url"}
    (found,) = read("jsonl", tmp_path, **names, group="meta.id", label="meta.n.x")
    assert found == {
        "source": "u", "group": "7", "place": "a.jsonl:1", "text": "a", "target": "b"
    }  # fmt: skip


def test_answers_are_read_in_three_spellings(tmp_path: Path) -> None:
    base = {"context": "ab cd", "question": "which?"}
    rows(
        tmp_path,
        base | {"answers": {"text": ["cd"], "answer_start": [3]}},
        base | {"answers": [{"text": "cd", "answer_start": 3}]},
        base | {"answers": [{"text": "cd", "start": 3}]},
        base | {"answers": {"text": [], "answer_start": []}},
        base | {"answers": {"text": ["cd"], "answer_start": []}},
        base | {"answers": ["cd"]},
    )
    found = read("jsonl", tmp_path, text="context")
    good = [{"start": 3, "text": "cd"}]
    assert picked(found[:4], "answers") == [good, good, good, []]
    assert picked(found, "question") == ["which?"] * 6
    assert picked(found[4:], "reason") == ["bad_answers"] * 2


def test_a_label_is_a_string_and_one_of_several_is_none(tmp_path: Path) -> None:
    labels = ["x", 3, True, ["y"], ["y", "z"], None, float("nan"), {}]
    rows(tmp_path, *({"text": "a", "label": label} for label in labels))
    assert picked(read("jsonl", tmp_path), "label") == [
        "x", "3", "true", "y", None, None, None, None
    ]  # fmt: skip


def test_labels_are_a_list_a_list_in_json_or_one_string(tmp_path: Path) -> None:
    said = [["b", "a"], [], "a, b", "", '["x", 3]', ["x", 3, True], [None], {"a": 1}, "[broken"]
    rows(tmp_path, *({"text": "a", "labels": labels} for labels in said), {"text": "a"})
    assert picked(read("jsonl", tmp_path), "labels", "reason") == [
        (["b", "a"], None),
        ([], None),
        (["a, b"], None),
        ([], None),
        (["x", "3"], None),
        (["x", "3", "true"], None),
        *[(None, "bad_labels")] * 3,
        (None, None),
    ]


def test_a_score_is_a_number_or_a_string_of_one(tmp_path: Path) -> None:
    said = [1, 2.5, " -3e2", "", None, float("nan"), "one", float("inf"), True, [1], 10**400]
    rows(tmp_path, *({"text": "a", "score": score} for score in said))
    found = read("jsonl", tmp_path)
    assert picked(found[:6], "score", "reason") == [
        (1.0, None), (2.5, None), (-300.0, None), (None, None), (None, None), (None, None)
    ]  # fmt: skip
    assert picked(found[6:], "score", "reason") == [(None, "bad_score")] * 5


def test_pairs_and_languages_are_read_by_their_names(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "premise,hypothesis,label,language\na,b,x,de\nc,d,y,\n")
    found = read("table", tmp_path, text="premise", pair="hypothesis")
    assert picked(found, "text", "pair", "label", "language") == [
        ("a", "b", "x", "de"), ("c", "d", "y", None)
    ]  # fmt: skip


def test_the_name_of_a_file_may_say_its_language(tmp_path: Path) -> None:
    write(tmp_path, "xnli/de/test.jsonl", '{"text": "a"}\n{"text": "b", "language": "gsw"}\n')
    write(tmp_path, "readme.jsonl", '{"text": "c"}\n')
    options = readers.options("jsonl", {"language_in_name": r"/(\w\w)/"}, "options")
    found = list(readers.read("jsonl", options, False, files(tmp_path, ())))
    assert picked(found, "text", "language") == [("c", None), ("a", "de"), ("b", "gsw")]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "expected a regular expression"), (r"\w\w", "expected one group.*found 0")],
)
def test_a_pattern_that_gives_no_language_is_refused(pattern: str, said: str) -> None:
    for name in ("jsonl", "conll", "conll_u", "squad"):
        with pytest.raises(StepError, match=rf"language_in_name is .*{said}"):
            readers.options(name, {"language_in_name": pattern}, "options")


def test_what_another_kind_of_task_has_is_not_read(tmp_path: Path) -> None:
    row = {"text": "a b", "label": "x", "score": "high", "labels": {"x": 1}, "spans": [[0, 9]]}
    rows(tmp_path, row)
    kinds = {"classification": "x", "documents": None, "multilabel": None}
    for kind, label in kinds.items():
        options = readers.options("jsonl", {}, "options", kind)
        (found,) = readers.read("jsonl", options, False, files(tmp_path, ()))
        bad = "bad_labels" if kind == "multilabel" else None
        assert (found.get("label"), found.get("reason")) == (label, bad)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut o', "not_json"),
        (b"text", "not_json"),
        (b'{"text": ' + b"9" * 5000 + b"}", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'["text"]', "not_an_object"),
        (b"null", "not_an_object"),
        (b"{}", "no_text"),
        (b'{"text": null}', "no_text"),
        (b'{"text": ["a"]}', "no_text"),
        (b'{"text": "a", "text": "b"}', "duplicated_key"),
        (b'{"text": "a\\ud83d"}', "half_a_character"),
        (b'{"text": "caf\xe9"}', "not_utf8"),
        (b'{"text": "a\0"}', "nul_bytes"),
        (b'{"text": "a", "_task_hash": 1, "answer": "reject"}', "not_accepted"),
    ],
)
def test_a_line_that_is_no_record_has_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    write(tmp_path, "a.jsonl", b'{"text": "good"}\n' + line + b'\n{"text": "\\ud83d\\ude00"}')
    found = read("jsonl", tmp_path)
    assert picked(found, "reason") == [None, reason, None]
    assert found[1]["place"] == "a.jsonl:2"
    assert found[2]["text"] == "😀"
    json.dumps(found, ensure_ascii=False).encode()


def test_a_split_is_given_by_a_field_or_by_the_files_name(tmp_path: Path) -> None:
    write(tmp_path, "test.jsonl", '{"text": "a"}\n{"text": "b", "split": "dev"}\n')
    write(tmp_path, "x.jsonl", '{"text": "c", "split": "TRAIN"}\n{"text": "d", "split": "no"}\n')
    assert picked(read("jsonl", tmp_path), "split") == ["test", "validation", "train", None]
    found = read("jsonl", tmp_path, split="split")
    assert picked(found, "reason") == ["unknown_split", None, None, "unknown_split"]


def test_a_table_is_read_by_its_columns(tmp_path: Path) -> None:
    text = 'body,kind,n\r\n"one, ""two""\nthree",x,1\r\n\r\nfour,y,2\r\nfive,y\r\n,z,3\r\n'
    write(tmp_path, "a.csv", text)
    found = read("table", tmp_path, text="body", label="kind", group="n")
    assert picked(found, "text", "label", "group", "place", "reason") == [
        ('one, "two"\nthree', "x", "1", "a.csv:2", None),
        ("four", "y", "2", "a.csv:5", None),
        ("five,y", None, "a.csv:6", "a.csv:6", "wrong_columns"),
        ("", "z", "3", "a.csv:7", None),
    ]


def test_tables_without_a_header_or_with_other_delimiters(tmp_path: Path) -> None:
    write(tmp_path, "a/train.tsv", "x\tone\ny\ttwo\n")
    found = read("table", tmp_path, header=False, text=2, label=1)
    assert picked(found, "text", "label", "split") == [("one", "x", "train"), ("two", "y", "train")]
    write(tmp_path, "b/b.csv", 'text;label\n"quoted" here;x\n')
    (found,) = read("table", tmp_path / "b", delimiter=";", quoted=False)
    assert (found["text"], found["label"]) == ('"quoted" here', "x")


def test_a_table_holds_spans_and_answers_as_json(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", 'text,spans\nab cd,"[[0, 2, ""X""]]"\nab,\nab,[[\n')
    write(tmp_path / "b", "b.csv", 'text,labels\nab,"[""x"", ""y""]"\nab,\nab,x\n')
    assert picked(read("table", tmp_path / "b"), "labels") == [["x", "y"], [], ["x"]]
    (tmp_path / "b/b.csv").unlink()
    found = read("table", tmp_path)
    assert picked(found, "spans", "reason") == [
        ([{"start": 0, "end": 2, "label": "X"}], None), ([], None), (None, "bad_spans")
    ]  # fmt: skip


def test_a_column_of_row_numbers_has_no_name_and_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", ",text\n0,one\n1,two\n")
    options = readers.options("table", {}, "options", "documents")
    found = readers.read("table", options, False, files(tmp_path, ()))
    assert picked(list(found), "text", "reason") == [("one", None), ("two", None)]


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (b"text\ncaf\xe9\ngood\n", ["not_utf8", None]),
        (b"text\na\0b\ngood\n", ["nul_bytes", None]),
        (b'text\n"a"b\ngood\n', ["bad_quotes", None]),
        (b'text\ngood\n"never closed\nand on\n', [None, "bad_quotes"]),
        (b"text\n" + b"x" * 2000 + b"\ngood\n", ["line_too_long", None]),
        (b'text\n"' + b"x" * 2000 + b'"\ngood\n', ["line_too_long", None]),
        (b"text\na,b\ngood\n", ["wrong_columns", None]),
        (b"text\n", []),
        (b"", []),
    ],
)
def test_a_bad_row_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, reasons: list[Any]
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 1000)
    assert picked(read("table", write(tmp_path, "a.csv", data)), "reason") == reasons


def test_a_truncated_table_keeps_what_is_whole(tmp_path: Path) -> None:
    body = "text\n" + "".join(f"line {n} {n * 7919 % 1000}\n" for n in range(9000))
    write(tmp_path, "a.csv.gz", gzip.compress(body.encode())[:-500])
    found = read("table", tmp_path)
    assert picked(found, "reason")[-2:] == [None, "truncated"]
    assert len(found) > 1000


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("table", {}, r"no column \(in a\.csv, options\.text\) 'text' .*; there is: texts, x$"),
        ("table", {"text": "texts", "label": "y"}, r"options\.label\) 'y'.*; there is: texts, x$"),
        ("table", {"header": False, "text": 3}, r"options\.text\) '3'; there is: 1, 2$"),
        ("table", {"text": "x"}, "a.csv has 2 columns 'x'"),
        ("table", {"texts": "x"}, r"options: texts is not a key \(did you mean 'text'\?\)"),
        ("parquet", {}, r"\(in a\.parquet, options\.text\) 'text' .*; there is: texts, x$"),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_those_there_are(
    tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    write(tmp_path, "a.csv", "x,x\n1,2\n" if options == {"text": "x"} else "texts,x\n1,2\n")
    pq.write_table(pa.table({"texts": ["a"], "x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(StepError, match=said):
        read(name, tmp_path, **options)


def test_a_header_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", b"t\xe9xt\na\n")
    with pytest.raises(StepError, match=r"a\.csv: its first line, the header, is not_utf8"):
        read("table", tmp_path)


def test_parquet_is_read_by_its_columns(tmp_path: Path) -> None:
    meta = [{"url": "u"}, {"url": None}, None, {"url": "v"}]
    table = pa.table({"text": ["a", None, "c", "d"], "label": [1, 2, None, 0], "meta": meta})
    pq.write_table(table, tmp_path / "train-0.parquet", row_group_size=2)
    found = read("parquet", tmp_path, source="meta.url")
    here = "train-0.parquet"
    assert picked(found, "text", "label", "source", "place", "split", "reason") == [
        ("a", "1", "u", f"{here}:1", "train", None),
        ("", None, here, f"{here}:2", "train", "no_text"),
        ("c", None, here, f"{here}:3", "train", None),
        ("d", "0", "v", f"{here}:4", "train", None),
    ]


def test_a_parquet_string_that_is_no_text_is_one_bad_record(tmp_path: Path) -> None:
    cells = pa.array([b"good", b"caf\xe9", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": cells}), tmp_path / "a.parquet")
    assert picked(read("parquet", tmp_path), "text", "reason") == [
        ("good", None), ("", "not_utf8"), ("fine", None)
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "end"), [("parquet", "parquet"), ("dataset", "arrow")])
@pytest.mark.parametrize("data", [b"", b"this is none", b"PAR1 nor this PAR1", b"ARROW1\0\0 no"])
def test_what_is_no_table_is_one_line_that_names_it(
    tmp_path: Path, name: str, end: str, data: bytes
) -> None:
    write(tmp_path, f"a.{end}", data)
    with pytest.raises(StepError, match=rf"^a\.{end} is no whole (Parquet|Arrow) file"):
        read(name, tmp_path)


def test_a_data_set_saved_to_disk_gives_splits_and_names_of_labels(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    names = ClassLabel(names=["no", "yes"])
    features = Features({"text": Value("string"), "label": names, "labels": List(names)})
    rows = {"label": [1, 0, -1], "labels": [[1, 0], [], [0]]}
    parts = {
        split: Dataset.from_dict({"text": [f"{split} {n}" for n in range(3)], **rows},
                                 features=features)
        for split in ("train", "test")
    }  # fmt: skip
    DatasetDict(parts).save_to_disk(tmp_path / "set")
    parts["train"].to_parquet(tmp_path / "hub.parquet")
    found = read("dataset", tmp_path)
    assert picked(found, "text", "label", "split") == [
        (f"{split} {n}", label, split)
        for split in ("test", "train")
        for n, label in enumerate(("yes", "no", None))
    ]
    assert picked(read("parquet", tmp_path), "label") == ["yes", "no", None]
    assert picked(read("parquet", tmp_path), "labels") == [["yes", "no"], [], ["no"]]


def test_arrow_files_of_both_forms_are_read(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": [0, 1], "labels": [[1, 1], []]})
    (tmp_path / "x").mkdir()
    with pa.ipc.new_file(tmp_path / "x/a.arrow", table.schema) as out:
        out.write_table(table)
    with pa.ipc.new_stream(tmp_path / "x/b.arrow", table.schema) as out:
        out.write_table(table)
    label = {"names": ["no", "yes"], "_type": "ClassLabel"}
    info = {"features": {"label": label, "labels": [label]}}  # as old versions wrote a list
    write(tmp_path, "x/dataset_info.json", json.dumps(info))
    write(tmp_path, "x/state.json", '{"_split": "validation"}')
    found = read("dataset", tmp_path)
    assert picked(found, "text", "label", "labels", "split") == [
        ("a", "no", ["yes", "yes"], "validation"), ("b", "yes", [], "validation")
    ] * 2  # fmt: skip


@pytest.mark.parametrize("name", OURS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(str.encode),
        st.lists(
            st.sampled_from(
                [b"text", b"label", b",", b"\n", b'"', b"{", b"}", b":", b"[", b"\xff", b"\0",
                 b"1", b"<doc id=", b"</doc>", b">", b"\xff\xfe", b"====", b" ", b"`", b".. x::"]
            ),
            max_size=40,
        ).map(b"".join),
    )
)  # fmt: skip
def test_no_bytes_make_a_reader_fail_but_in_one_line(
    tmp_path: Path, name: str, data: bytes
) -> None:
    ends = {"table": "table", "dataset": "arrow", "jsonl": "jsonl", "parquet": "parquet"}
    end = ends.get(name, "txt")
    write(tmp_path, f"a.{end}", data)
    found, said = read_or_say(name, tmp_path)
    assert not said or f"a.{end}" in said
    for record in found:
        assert all(isinstance(record[key], str) for key in ("source", "group", "place", "text"))
        json.dumps(record, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", sorted(readers.READERS))
def test_every_reader_says_what_it_reads_and_takes_no_option_it_does_not_know(name: str) -> None:
    reader = readers.load(name)
    assert reader.KIND
    assert set(KINDS) >= reader.KIND
    assert set(getattr(reader, "FOR", {})) <= reader.KIND
    assert all(end.startswith(".") for end in reader.SUFFIXES)
    assert readers.options(name, {}, "options") == reader.Options()
    with pytest.raises(StepError, match=r"tasks\.x\.options: no_such is not a key"):
        readers.options(name, {"no_such": 1}, "tasks.x.options")


def test_an_unknown_reader_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        StepError, match=r"no reader 'rts' \(did you mean 'rst'\?\); there is: conll"
    ):
        readers.load("rts")
