"""The report: whole in itself, escaped, and honest about what it shows."""

import re
from pathlib import Path

import pytest

from steps.judge.contest import Contest
from steps.judge.mistakes import confusions, errors, mistakes, mixed_up, segments
from steps.judge.report import Evidence, render
from tests.pages import assert_whole
from tests.test_compare import RECIPES, SKILLS, contest, judged, play


def page(room: Path) -> str:
    counts, conflict = {"train": 300, "test": 200}, {"text": "<b>x</b>", "labels": ["a", "b"]}
    held = contest(room, sorted(RECIPES))
    return render(judged(room) | mistakes(held, 20), Evidence(held, counts, [conflict], 10))


@pytest.fixture(scope="module", params=["classification", "tokens"])
def room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return play(tmp_path_factory.mktemp(request.param), SKILLS, request.param)


@pytest.fixture(scope="module")
def html(room: Path) -> str:
    return page(room)


def test_the_page_is_whole_and_runs_nothing(html: str) -> None:
    assert_whole(html)


def test_text_from_data_is_escaped(html: str) -> None:
    assert "<select>" not in html
    assert "&lt;select&gt;" in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html


def test_plots_take_the_colours_of_the_page(html: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == 5
    assert all('role="img"' in one and "var(--" in one for one in drawings)
    assert not re.search(r"#0[1-6]0[2-7]0[3-8]", html)


def test_a_wrong_label_is_a_mixed_up_pair() -> None:
    assert mixed_up("classification", "fix", "doc") == [("fix", "doc")]
    assert mixed_up("classification", "fix", "fix") == []


def test_spans_are_missed_extra_relabelled_or_cut_wrong() -> None:
    reference = [(0, 2, "A"), (4, 8, "B"), (10, 12, "A"), (20, 22, "A")]
    prediction = [(0, 2, "B"), (4, 6, "B"), (14, 16, "A"), (20, 22, "A")]
    assert mixed_up("tokens", reference, prediction) == [
        ("A", "B"),
        ("B", "B, other bounds"),
        ("A", "(nothing)"),
        ("(nothing)", "A"),
    ]


def test_segments_rebuild_the_text_and_say_what_each_is() -> None:
    text = "abcdefgh"
    found = segments(text, [(0, 2, "A"), (4, 6, "B")], [(0, 2, "A"), (4, 5, "C"), (7, 8, "A")])
    assert "".join(part["text"] for part in found) == text
    kinds = {part["text"]: part["kind"] for part in found}
    assert kinds == {"ab": "right", "cd": "", "e": "other", "f": "missed", "g": "", "h": "extra"}


def test_errors_that_all_seeds_make_come_first(room: Path) -> None:
    held: Contest = contest(room, sorted(RECIPES))
    found = errors(held, 20)
    assert 0 < len(found) <= 20
    assert [row["wrong_seeds"] for row in found] == sorted(
        (row["wrong_seeds"] for row in found), reverse=True
    )
    assert all(row["reference"] != row["prediction"] for row in found)
    counted = [row["count"] for row in confusions(held, 5)]
    assert counted == sorted(counted, reverse=True)
