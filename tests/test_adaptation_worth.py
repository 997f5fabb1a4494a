"""Was adaptation worth it: what it took, by its whole chain, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest

from steps.core.files import write_json
from steps.core.params import Recipe
from steps.judge.adaptation_costs import with_overlap
from steps.judge.mistakes import mistakes
from steps.judge.report import Evidence, render
from tests.rivals import SEEDS, Rivals
from tests.test_compare import contest, judged, rewrite

STARTS = {
    "baseline": "base",
    "features": "base",
    "features_dapt": "models/dapt",
    "features_tapt": "models/tapt",
    "features_both": "models/both",
    "features_control": "models/control",
}
RECIPES = {
    name: Recipe(strategy="features" if "_" in name or name == "features" else name, start=start)
    for name, start in STARTS.items()
}
SKILLS = {
    "baseline": 0.3,
    "features": 0.3,
    "features_dapt": 0.6,
    "features_tapt": 0.32,
    "features_both": 0.61,
    "features_control": 0.4,
}
CORPUS, TASK = {"before": 6.9, "warm": 6.7, "after": 4.4}, {"before": 4, "warm": 4, "after": 3.5}
LOSSES: dict[str, dict[str, Any]] = {
    "dapt": {
        "start": "data/raw/base",
        "device_seconds": 90.0,
        "held_out": {"corpora/pydocs": CORPUS, "replay/asv": CORPUS},
        "forgetting": {"replay/asv": 0.3},
    },
    "tapt": {
        "start": "data/raw/base",
        "device_seconds": 30.0,
        "held_out": {"tasks/toy": TASK},
        "forgetting": {},
    },
    "both": {
        "start": "models/dapt",
        "device_seconds": 30.0,
        "held_out": {"tasks/toy": TASK, "replay/asv": TASK},
        "forgetting": {"replay/asv": 0.1},
    },
    "control": {
        "start": "data/raw/base",
        "device_seconds": 90.0,
        "control_of": "dapt",
        "held_out": {"corpora/asv": CORPUS, "domain/pydocs": CORPUS | {"after": 6.4}},
        "forgetting": {},
    },
}
OVERLAP = {"tasks/toy": {"corpora/pydocs": 0.8, "corpora/asv": 0.3, "tasks/toy": 1.0}}


def play(room: Path, skills: dict[str, float] = SKILLS) -> Path:
    rivals = Rivals(room, "classification", items=300)
    for name, skill in skills.items():
        rivals.add(name, skill, RECIPES[name].strategy, RECIPES[name].start)
    after = {"held_out_loss_before": 6.7, "held_out_loss_after": 4.4, "control_of": None}
    for name, losses in with_overlap(LOSSES, "toy", OVERLAP).items():
        write_json(room / f"metrics/adapt/{name}.json", after | losses)
    return room


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return play(tmp_path_factory.mktemp("room"))


def entries(room: Path, recipes: dict[str, Recipe] = RECIPES) -> dict[str, dict[str, Any]]:
    return {entry["adaptation"]: entry for entry in judged(room, recipes)["adaptation"]}


def test_each_adaptation_is_held_against_the_base(room: Path) -> None:
    found = entries(room)
    assert set(found) == {"dapt", "tapt", "both", "control"}
    assert {entry["from"] for entry in found.values()} == {"features"}
    assert all(entry["seeds_match"] for entry in found.values())
    assert found["control"]["is_control"]


def test_what_goes_on_from_another_has_cost_both(room: Path) -> None:
    found = entries(room)
    assert found["dapt"]["device_minutes"] == 1.5
    assert found["both"]["device_minutes"] == 2.0
    rate = found["both"]["gain_per_hour"]
    for key, of in (("value", "difference"), ("low", "low"), ("high", "high")):
        assert rate[key] == pytest.approx(30 * found["both"][of], abs=1e-5)


def test_what_goes_on_from_another_is_held_against_that_one_too(room: Path) -> None:
    found = entries(room)
    assert found["dapt"]["versus_start"] is None
    over = found["both"]["versus_start"]
    assert (over["recipe"], over["adaptation"]) == ("features_dapt", "dapt")
    assert over["device_minutes"] == 0.5
    assert over["verdict"] == "inconclusive"
    gains = found["both"]["difference"] - found["dapt"]["difference"]
    assert over["difference"] == pytest.approx(gains, abs=2e-6)
    assert "came on top of dapt" in found["both"]["sentence"]
    assert ": not shown)" in found["both"]["sentence"]


def test_forgetting_adds_up_over_what_all_of_a_chain_have_measured(room: Path) -> None:
    found = entries(room)
    assert found["dapt"]["forgetting"] == {"replay/asv": 0.3}
    assert found["both"]["forgetting"] == {"replay/asv": pytest.approx(0.4)}
    assert found["tapt"]["forgetting"] is None
    assert "on asv it changed by +0.400" in found["both"]["sentence"]


def test_words_in_common_are_the_tasks_with_each_text_that_was_read(room: Path) -> None:
    found = entries(room)
    assert found["dapt"]["vocabulary_overlap"] == {"corpora/pydocs": 0.8}
    assert found["both"]["vocabulary_overlap"] == {"corpora/pydocs": 0.8, "tasks/toy": 1.0}
    assert found["control"]["vocabulary_overlap"] == {"corpora/asv": 0.3}


def test_a_text_without_a_profile_has_no_words_in_common() -> None:
    assert with_overlap(LOSSES, "toy", {})["dapt"]["vocabulary_overlap"] == {}


def test_the_conclusion_says_the_price_only_of_a_gain_that_is_shown(room: Path) -> None:
    found = entries(room)
    said = found["dapt"]["sentence"]
    assert said.startswith("Adaptation is shown better: features_dapt (start: dapt) against")
    rate = f"+{found['dapt']['gain_per_hour']['value']:.3f} an hour"
    assert f", for 1.5 device minutes ({rate}, +" in said
    said = found["tapt"]["sentence"]
    assert said.startswith("A gain by adaptation is not shown:")
    assert ", for 0.5 device minutes; this test set finds" in said
    assert "an hour" not in said


def test_the_conclusion_is_at_most_four_sentences(room: Path) -> None:
    for entry in entries(room).values():
        assert entry["sentence"].count(". ") <= 3, entry["sentence"]


def test_the_split_by_a_control_ends_with_the_losses_on_the_fields_text(room: Path) -> None:
    entry = entries(room)["dapt"]
    assert entry["split"]["held_out"] == {"pydocs": {"adapted": 4.4, "control": 6.4}}
    assert entry["sentence"].endswith("text: 4.40 after dapt, 6.40 after its control.")
    assert entry["split"]["domain"]["seeds_match"]


def test_what_a_chain_has_cost_is_not_known_where_one_of_it_is_not(
    tmp_path: Path,
) -> None:
    room = play(
        tmp_path, {name: SKILLS[name] for name in ("baseline", "features", "features_both")}
    )
    (room / "metrics/adapt/dapt.json").unlink()
    recipes = {name: RECIPES[name] for name in ("baseline", "features", "features_both")}
    entry = entries(room, recipes)["both"]
    assert (entry["device_minutes"], entry["gain_per_hour"]) == (None, None)
    assert (entry["forgetting"], entry["versus_start"]) == (None, None)
    assert "device minutes" not in entry["sentence"]


def test_other_seeds_are_said_to_be_others(tmp_path: Path) -> None:
    names = ("baseline", "features", "features_dapt")
    room = play(tmp_path, {name: SKILLS[name] for name in names})
    file = room / "predictions/toy/features_dapt/predictions.parquet"
    rewrite(file, lambda rows: [row for row in rows if row["seed"] != SEEDS[-1]])
    entry = entries(room, {name: RECIPES[name] for name in names})["dapt"]
    assert not entry["seeds_match"]
    assert "against features (other seeds): " in entry["sentence"]


def test_the_report_has_a_row_for_each_comparison(room: Path) -> None:
    found = judged(room, RECIPES)
    held = contest(room, sorted(RECIPES))
    html = render(found | mistakes(held, 20), Evidence(held, {"train": 300}, [], 10))
    table = html.split("Table of what adaptation cost and gave")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + 4 + 1  # head, entries, both against dapt
    assert "corpora/pydocs 80%" in table
