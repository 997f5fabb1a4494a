import json
from pathlib import Path
from typing import Any

import pytest

from steps import readers
from steps.core.entry import StepError
from steps.readers.inline import strip
from steps.readers.markup import Page, parse

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
    (tmp_path / "lib-1" / "docs").mkdir(parents=True)
    (tmp_path / "lib-1" / "docs" / "guide.rst").write_text(GUIDE)
    (tmp_path / "lib-1" / "CHANGES.rst").write_text(CHANGES)
    return tmp_path


def test_documents_are_sections_grouped_by_file_and_version(docs: Path) -> None:
    found = list(readers.load("rst").read(docs))
    assert {record["source"] for record in found} == {"lib-1"}
    assert sorted({record["group"] for record in found}) == [
        "lib-1/CHANGES.rst#1.0",
        "lib-1/CHANGES.rst#1.1 (2024-01-02)",
        "lib-1/docs/guide.rst",
    ]
    assert found[-1]["text"].startswith("One item goes on.\n\nIts second")


def test_entities_come_from_paragraphs_without_literals(docs: Path) -> None:
    found = list(readers.load("rst_entities").read(docs))
    spans = [record["text"][s["start"] : s["end"]] for record in found for s in record["spans"]]
    assert spans == ["pkg.run", "it", "DEBUG"]


def test_changes_have_the_kind_they_are_filed_under(docs: Path) -> None:
    found = list(readers.load("rst_changes").read(docs))
    assert [(record["text"], record["label"]) for record in found] == [
        ("Fixed a crash in run()", "fix"),
        ("Fixed the other.", "fix"),
        ("Removed old.", "removal"),
        ("Described pkg.run. See", "doc"),
    ]


def test_groups_are_the_same_strings_for_all_three_readers(docs: Path) -> None:
    groups = [
        {record["group"] for record in readers.load(name).read(docs)}
        for name in ("rst", "rst_entities", "rst_changes")
    ]
    assert groups[1] | groups[2] <= groups[0]


def test_a_page_is_a_changelog_by_name() -> None:
    names = {
        "lib/docs/releases/1.0.txt": True,
        "lib/NEWS.rst": True,
        "lib/docs/exchange.rst": False,
    }
    assert names == {name: Page(name, []).is_changelog for name in names}


def test_a_text_file_is_a_document_and_a_bad_one_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("some text")
    (tmp_path / "c.md").write_bytes(b"\xff\xfe")
    first, second = readers.load("text").read(tmp_path)
    assert first == {"source": "a", "group": "a/b.txt", "text": "some text"}
    assert second["reason"] == "not_utf8"


def test_each_line_of_any_file_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"one line\n\n  another\xff\n")
    found = list(readers.load("lines").read(tmp_path))
    assert [record["text"] for record in found] == ["one line", "another\ufffd"]
    assert {record["group"] for record in found} == {"a/b"}


def test_json_lines_give_spans_in_both_spellings(tmp_path: Path) -> None:
    rows = [
        {"text": "ab cd", "spans": [[0, 2, "X"]], "group": "g"},
        {"text": "ab cd", "spans": [{"start": 3, "end": 5, "label": "Y"}], "source": "s"},
        {"text": "ab cd", "spans": [[0, "2", "X"]]},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = list(readers.load("jsonl").read(tmp_path))
    assert found[0]["spans"] == [{"start": 0, "end": 2, "label": "X"}]
    assert found[1]["spans"] == [{"start": 3, "end": 5, "label": "Y"}]
    assert [record["group"] for record in found] == ["g", "a.jsonl:2", "a.jsonl:3"]
    assert found[2]["reason"] == "bad_spans"


@pytest.mark.parametrize("name", sorted(readers.READERS))
def test_every_reader_says_its_kinds(name: str) -> None:
    assert {"documents", "classification", "tokens"} >= readers.load(name).KIND


def test_an_unknown_reader_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        StepError, match=r"no reader 'rts' \(did you mean 'rst'\?\); there is: jsonl"
    ):
        readers.load("rts")


def test_components_are_told_by_the_page_that_one_component_owns(tmp_path):
    from steps.readers.rst_components import component, read

    pages = {
        "topics/db/queries.txt": "db",
        "ref/forms/api.txt": "forms",
        "intro/tutorial.txt": None,
    }
    for name in pages:
        file = tmp_path / "django-5/docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("=====\nTitle\n=====\n\nA paragraph of some words about this.\n")
    assert {name: component(f"django-5/docs/{name}") for name in pages} == pages
    assert component("elsewhere/topics/db/queries.txt") is None
    assert sorted(row["label"] for row in read(tmp_path)) == ["db", "forms"]
