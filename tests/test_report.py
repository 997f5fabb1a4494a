"""The report: whole in itself, escaped, and honest about what it shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from steps import report as stage
from steps.core.files import digest, read_json, write_json
from steps.core.params import Explain
from steps.judge.contest import Contest
from steps.judge.mistakes import confusions, errors, mistakes, mixed_up, segments
from steps.judge.questions import questions
from steps.judge.report import Evidence, render
from steps.judge.shading import pieces, strongest
from tests import tiny_project
from tests.pages import assert_whole
from tests.test_compare import RECIPES, SKILLS, contest, judged, play
from tests.tiny_project import STRONG, TASK, WEAK


def page(room: Path, **more: Any) -> str:
    held = contest(room, sorted(RECIPES))
    return drawn(held, judged(room) | mistakes(held, 20) | more)


def drawn(held: Contest, comparison: dict[str, Any]) -> str:
    counts, conflict = {"train": 300, "test": 200}, {"text": "<b>x</b>", "labels": ["a", "b"]}
    return render(comparison, Evidence(held, counts, [conflict], 10))


def explained(held: Contest, method: str = "integrated_gradients") -> list[dict[str, Any]]:
    """The errors of a contest, with a mark on each of their first two words."""
    found = mistakes(held, 20)["errors"]
    for error, asked in zip(found, questions(held, found), strict=True):
        first, second, *_ = re.finditer(r"\S+", text_of(held, error["id"]))
        marks = [(first, 1.0), (second, -0.5)]
        error |= {
            "explained": asked[0],
            "explained_at": asked[1],
            "method": method,
            "completeness": 0.0123 if method == "integrated_gradients" else None,
            "attributions": [
                {"field": "text", "start": m.start(), "end": m.end(), "value": value}
                for m, value in marks
            ],
        }
    return found


def text_of(held: Contest, name: str) -> str:
    references = held.references["test"]
    return str(references.examples[references.ids.index(name)]["text"])


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


def test_an_errors_text_is_coloured_and_its_sign_is_more_than_a_colour(room: Path) -> None:
    held = contest(room, sorted(RECIPES))
    html = drawn(held, judged(room) | mistakes(held, 20) | {"errors": explained(held)})
    assert_whole(html)
    assert re.search(r'<span class="(asked )?up s5" title="\+1.000">', html)
    assert re.search(r'<span class="(asked )?down s2" title="−0.500">', html)
    assert ".up, .down { --depth: 10%; border-bottom: 2px solid" in html
    assert ".down { border-bottom: 2px dotted" in html
    assert "off by 1.2% of all that is added" in html
    assert "raises the score" in html


def test_the_page_says_what_attention_does_not_prove(room: Path) -> None:
    held = contest(room, sorted(RECIPES))
    errors = explained(held, "attention")
    html = drawn(held, judged(room) | mistakes(held, 20) | {"errors": errors})
    assert "does not prove that the answer comes from there" in html
    assert "off by" not in html


def test_the_label_that_is_explained_is_the_wrong_one(room: Path) -> None:
    held = contest(room, sorted(RECIPES))
    found = mistakes(held, 20)["errors"]
    for error, (label, span) in zip(found, questions(held, found), strict=True):
        if held.references["test"].kind == "classification":
            assert (label, span) == (error["prediction"], None)
        else:
            wrong = error["prediction"] + error["reference"]
            assert f"{label} {span[0]}-{span[1]}" in wrong


def test_pieces_rebuild_the_text_and_know_what_is_asked() -> None:
    marks = [
        {"start": 0, "end": 2, "value": 1.0},
        {"start": 2, "end": 4, "value": -0.5},
        {"start": 2, "end": 4, "value": -0.1},
    ]
    found = pieces("abcd ef", marks, (2, 4))
    assert [(p["text"], p["value"], p["strength"], p["asked"]) for p in found] == [
        ("ab", 1.0, 5, False),
        ("cd", -0.6, 3, True),
        (" ef", 0, 0, False),
    ]


def test_words_are_named_with_what_their_tokens_do_together() -> None:
    said = ((0, 3, 0.4), (3, 5, 0.5), (6, 8, -0.3), (9, 10, 0.1), (11, 12, 1.0))
    marks = [{"field": "text", "start": s, "end": e, "value": value} for s, e, value in said]
    example = {"text": "abcde fg h ."}
    assert strongest({"attributions": marks}, example, 1) == [(".", 1.0), ("abcde", 0.9)]
    assert strongest({"attributions": marks}, example, -1) == [("fg", -0.3)]
    assert strongest({}, example, 1) == []


def test_of_a_long_text_the_part_around_the_strongest_mark_is_shown() -> None:
    text = "a " * 1000 + "here" + " b" * 1000
    found = pieces(text, [{"start": 2000, "end": 2004, "value": -1.0}], None)
    said = "".join(piece["text"] for piece in found)
    assert (said[0], said[-1]) == ("…", "…")
    assert "here" in said
    assert len(said) == 602


def test_a_page_has_what_newer_stages_tell(tmp_path: Path) -> None:
    """p by Holm, items needed, McNemar, costs, calibration and the labels that would pay."""
    room = play(tmp_path, SKILLS)
    html = page(room, **newer(judged(room)))
    assert_whole(html)
    for said in (
        "p (Holm)",
        "▲ shown better",
        "▼ shown worse",
        "4,321",
        "alone is right on 31 ",
        "p &lt; 0.001 by the exact test of McNemar",
        "91.0 MB",
        "95 of 100 within, ms",
        "Brier score",
        "What more labels would buy",
        "The next 100 labels",
        "1,234",
    ):
        assert said in html, said
    assert "▼ source: " in html


def newer(found: dict[str, Any]) -> dict[str, Any]:
    """What a comparison has once all of the judge's figures are there."""
    calibrated = {"ece_scaled": 0.02, "brier": 0.3, "brier_scaled": 0.28, "temperature": 1.4}
    costs = {"latency_ms": 3.2, "latency_ms_p95": 5.0, "bytes": 91_000_000}
    verdicts = dict(zip(sorted(SKILLS), ("", "refuse", "promote", "inconclusive"), strict=True))
    for name, one in found["candidates"].items():
        one.update(calibrated | costs)
        if one["vs_baseline"]:
            said = {"p_holm": 0.03, "verdict": verdicts[name], "items_needed": 4321}
            one["vs_baseline"] |= said
    mcnemar = {"only_winner": 31, "only_baseline": 4, "p": 0.0001}
    point = {"mean": 0.5, "low": 0.4, "high": 0.6, "seeds": {"1": 0.5}}
    return {
        "candidates": found["candidates"],
        "verdict": found["verdict"] | {"mcnemar": mcnemar, "items_needed": None},
        "slices": [row | {"p_holm": 0.01, "verdict": "refuse"} for row in found["slices"]],
        "learning": {
            "recipe": "baseline",
            "metric_title": "macro F1",
            "lower_is_better": False,
            "points": [{"labels": 50, **point}, {"labels": 100, **point}],
            "fit": None,
            "band": [],
            "next": None,
            "needed": [{"score": 0.6, "labels": 1234, "low": 900, "high": None}],
            "sentence": "The next 100 labels buy +0.020.",
        },
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_stage(out: str, learning: str = "none") -> dict[str, Any]:
    folders = [Path(folder) / TASK for folder in ("comparisons", "data/splits", "predictions")]
    stage.main(*folders, Path("bundles") / TASK, Path(learning), Path(out))
    found: dict[str, Any] = read_json(Path(out) / "comparison.json")
    return found


def test_the_stage_adds_errors_to_what_was_decided_in_the_same_bytes_twice(project: Path) -> None:
    tiny_project.make({"baseline": WEAK, "weak": WEAK})
    found = run_stage("one")
    run_stage("two")
    assert digest(Path("one")) == digest(Path("two"))
    decided = read_json(Path("comparisons") / TASK / "comparison.json")
    assert found == found | decided
    more = {"errors", "confusions", "explain", "learning"}
    assert found.keys() - decided.keys() == more
    assert 0 < len(found["errors"]) < 20
    for error in found["errors"]:
        assert error["explained"] == error["prediction"]
        assert (error["method"], error["completeness"]) == ("weights", 0)
        assert max(abs(mark["value"]) for mark in error["attributions"]) == 1
    assert found["explain"] == {"method": "integrated_gradients", "why_not": ""}
    assert found["learning"] is None
    assert_whole((project / "one/report.html").read_text())


def test_a_winner_without_errors_has_a_whole_page_and_a_learning_curve_if_there_is_one(
    project: Path,
) -> None:
    tiny_project.make({"baseline": WEAK, "good": STRONG})
    write_json(Path("learning/learning.json"), newer_learning())
    found = run_stage("out", "learning")
    assert (found["errors"], found["confusions"]) == ([], [])
    assert found["learning"] == newer_learning()
    html = (project / "out/report.html").read_text()
    assert_whole(html)
    assert "No errors on test." in html
    assert "What more labels would buy" in html


def newer_learning() -> dict[str, Any]:
    return {"points": [], "fit": None, "needed": [], "sentence": "Not shown."}


def test_explanations_that_are_turned_off_are_said_to_be(project: Path) -> None:
    tiny_project.make({"baseline": WEAK})
    comparison = read_json(Path("comparisons") / TASK / "comparison.json")
    held = stage.held(comparison, Path("data/splits") / TASK, Path("predictions") / TASK)
    off = Explain(method="none", steps=1, errors=3)
    found = stage.report(held, Path("bundles") / TASK, off)
    assert len(found["errors"]) == 3
    assert "attributions" not in found["errors"][0]
    html = drawn(held, comparison | found)
    assert "Explanations are turned off (explain.method in params.yaml)." in html


def test_the_reliability_plot_has_the_winner_at_its_temperature_too(project: Path) -> None:
    tiny_project.make({"baseline": WEAK, "good": STRONG})
    found = run_stage("one")
    held = stage.held(found, Path("data/splits") / TASK, Path("predictions") / TASK)
    plain = drawn(held, found)
    winner = found["candidates"][found["winner"]] | {"temperatures": {"1": 3.0, "2": 3.0}}
    warm = drawn(held, found | {"candidates": found["candidates"] | {found["winner"]: winner}})
    said = "Grey: good at its temperature"
    assert said in warm
    assert said not in plain
    plots = [page.split("calibration: share right")[1].split("</svg>")[0] for page in (plain, warm)]
    assert plots[1].count("<path") > plots[0].count("<path")
