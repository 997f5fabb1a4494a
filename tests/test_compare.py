"""The stage `compare`: who wins, against what, and what adaptation was worth."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from steps import compare as stage
from steps.compare import compare, read_candidates, verify
from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.core.params import Recipe
from steps.judge.contest import PARTS, Contest
from steps.judge.load import read_references
from steps.judge.metrics import metric_for
from tests.rivals import JUDGE, Rivals

RECIPES = {
    "baseline": Recipe(strategy="baseline", start="base"),
    "features": Recipe(strategy="features", start="base"),
    "features_adapted": Recipe(strategy="features", start="models/dapt"),
    "full": Recipe(strategy="full", start="base"),
}
SKILLS = {"baseline": 0.3, "features": 0.35, "features_adapted": 0.6, "full": 0.33}
METRIC = {"classification": "macro_f1", "tokens": "span_f1"}


def play(room: Path, skills: dict[str, float], kind: str = "classification") -> Path:
    rivals = Rivals(room, kind, items=200)
    for name, skill in skills.items():
        recipe = RECIPES.get(name, RECIPES["full"])
        rivals.add(name, skill, recipe.strategy, recipe.start)
    rivals.adapted("dapt", after=4.45)
    return room


def loss_of(room: Path, name: str, **more: Any) -> None:
    """Write the metrics of an adaptation."""
    losses = {"held_out_loss_before": 6.71, "held_out_loss_after": 4.45}
    write_json(room / f"metrics/adapt/{name}.json", losses | more)


def contest(room: Path, names: list[str]) -> Contest:
    references = {part: read_references(room / "data/splits/toy", part) for part in PARTS}
    kind = references["test"].kind
    candidates = read_candidates("toy", names, room / "predictions/toy", room / "metrics")
    metric = metric_for(METRIC[kind], kind)
    return Contest("toy", metric, references, candidates, "baseline", JUDGE)


def judged(room: Path, recipes: dict[str, Recipe] = RECIPES) -> dict[str, Any]:
    losses = {file.stem: read_json(file) for file in (room / "metrics/adapt").glob("*.json")}
    return compare(contest(room, sorted(recipes)), recipes, losses, ["source", "length"])


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return play(tmp_path_factory.mktemp("field"), SKILLS)


def rewrite(path: Path, change: Any) -> None:
    table = pq.read_table(path)
    rows = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_the_best_by_validation_wins_and_is_held_against_the_baseline(field: Path) -> None:
    found = judged(field)
    assert found["winner"] == "features_adapted"
    assert found["verdict"]["verdict"] == "promote"
    assert "shown better than the baseline" in found["headline"]
    assert found["candidates"]["baseline"]["vs_baseline"] is None
    same = found["candidates"]["features_adapted"]["vs_baseline"]
    assert same.items() >= {"difference": found["verdict"]["difference"]}.items()
    assert same["p_holm"] >= same["p"] == found["verdict"]["p"]


def test_test_references_have_no_say_in_who_wins(field: Path, tmp_path: Path) -> None:
    room = tmp_path / "shuffled"
    shutil.copytree(field, room)
    before = contest(field, sorted(RECIPES))

    def turn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        labels = [row["label"] for row in rows]
        return [r | {"label": x} for r, x in zip(rows, labels[7:] + labels[:7], strict=True)]

    rewrite(room / "data/splits/toy/test.parquet", turn)
    after = contest(room, sorted(RECIPES))
    assert (after.ranking, after.seed) == (before.ranking, before.seed)
    assert after.seeds("test", after.winner) != before.seeds("test", before.winner)


def test_a_tie_on_validation_goes_to_the_smaller_candidate(tmp_path: Path) -> None:
    room = play(tmp_path / "room", {"baseline": 0.3, "a": 0.6})
    shutil.copytree(room / "predictions/toy/a", room / "predictions/toy/b")
    for part in ("evaluate", "finetune"):
        shutil.copy(room / f"metrics/{part}/toy/a.json", room / f"metrics/{part}/toy/b.json")
    about = read_json(room / "predictions/toy/b/candidate.json")
    smaller = json.dumps(about | {"parameters": 10})
    (room / "predictions/toy/b/candidate.json").write_text(smaller)
    assert contest(room, ["a", "b", "baseline"]).winner == "b"


def test_missing_items_are_refused_with_their_number_and_an_example(tmp_path: Path) -> None:
    room = play(tmp_path / "room", {"baseline": 0.3})
    gone = {"test-00003", "test-00007"}
    file = room / "predictions/toy/baseline/predictions.parquet"
    rewrite(file, lambda rows: [row for row in rows if row["id"] not in gone])
    held = contest(room, ["baseline"])
    with pytest.raises(StepError, match=r"2 of 200 items lack a prediction.*test-00003"):
        held.seeds("test", "baseline")


def test_seeds_that_cover_other_items_are_refused(tmp_path: Path) -> None:
    room = play(tmp_path / "room", {"baseline": 0.3})
    file = room / "predictions/toy/baseline/predictions.parquet"
    rewrite(file, lambda rows: [r for r in rows if (r["seed"], r["id"]) != (2, "test-00003")])
    with pytest.raises(StepError, match="seed 2: 1 of 200 items"):
        contest(room, ["baseline"])


def test_a_recipe_without_predictions_is_named(field: Path) -> None:
    with pytest.raises(StepError, match="no predictions of lora"):
        contest(field, ["baseline", "lora"])


def test_a_baseline_that_is_not_there_is_named(field: Path) -> None:
    with pytest.raises(StepError, match=r"no candidate \(gate.baseline\) 'baseline'"):
        contest(field, ["full"])


def test_a_baseline_that_wins_is_said_to_win(tmp_path: Path) -> None:
    room = play(tmp_path / "room", {**SKILLS, "baseline": 0.8}, "tokens")
    found = judged(room)
    assert found["headline"].startswith("The baseline wins:")
    assert (found["winner"], found["verdict"]["difference"]) == ("baseline", 0)
    assert found["verdict"]["verdict"] == "inconclusive"


def test_adaptation_is_judged_between_twins_alone(field: Path) -> None:
    (entry,) = judged(field)["adaptation"]
    assert (entry["from"], entry["to"]) == ("features", "features_adapted")
    assert entry["low"] > 0
    assert entry["sentence"].startswith("Adaptation is shown better")
    assert "6.71 (its head warmed up) → 4.45" in entry["sentence"]
    assert "Without a twin from a control adaptation" in entry["sentence"]


def test_a_control_splits_the_gain_into_objective_and_domain(tmp_path: Path) -> None:
    skills = {**SKILLS, "features_control": 0.6}
    recipes = RECIPES | {"features_control": Recipe(strategy="features", start="models/bible")}
    room = play(tmp_path / "room", skills)
    held_out = {"corpora/asv": {"after": 4.32}, "domain/pydocs": {"after": 6.43}}
    loss_of(room, "bible", control_of="dapt", held_out=held_out)
    loss_of(room, "dapt", control_of=None, held_out={"corpora/pydocs": {"after": 4.45}})
    entry, control = judged(room, recipes)["adaptation"]
    assert control["sentence"].endswith("from the objective, not from the domain.")
    assert (control["is_control"], control["split"]) == (True, None)
    parts = entry["split"]
    assert (entry["is_control"], parts["control"]) == (False, "features_control")
    losses = "Held-out loss on the field's text: 4.45 after dapt, 6.43 after its control."
    assert entry["sentence"].endswith(losses)
    both = parts["objective"]["difference"] + parts["domain"]["difference"]
    assert both == pytest.approx(entry["difference"], abs=2e-6)
    assert parts["objective"]["verdict"] == "promote"
    assert "from the objective" in entry["sentence"]
    assert "from the domain" in entry["sentence"]
    loss_of(room, "bible", control_of="dapt", held_out=held_out, new_tokens=100)
    entry, _ = judged(room, recipes)["adaptation"]
    assert losses not in entry["sentence"]  # of two vocabularies


def test_what_is_called_a_control_and_is_none_of_this_adaptation_splits_nothing(
    tmp_path: Path,
) -> None:
    skills = {**SKILLS, "features_control": 0.6, "features_other": 0.6}
    recipes = RECIPES | {
        "features_control": Recipe(strategy="features", start="models/control"),
        "features_other": Recipe(strategy="features", start="models/other"),
    }
    room = play(tmp_path / "room", skills)
    loss_of(room, "control")  # no control_of: written before there was one
    loss_of(room, "other", control_of="tapt")
    found = {entry["to"]: entry for entry in judged(room, recipes)["adaptation"]}
    assert not found["features_control"]["is_control"]
    assert found["features_other"]["is_control"]
    assert found["features_adapted"]["split"] is None
    assert "Without a twin from a control" in found["features_adapted"]["sentence"]


def test_losses_on_several_parts_of_a_field_are_told_apart(tmp_path: Path) -> None:
    recipes = RECIPES | {"features_control": Recipe(strategy="features", start="models/control")}
    room = play(tmp_path / "room", {**SKILLS, "features_control": 0.6})
    ours = {"corpora/pydocs": {"after": 4.45}, "tasks/changes": {"after": 3.1}}
    loss_of(room, "dapt", held_out=ours | {"replay/asv": {"after": 5.0}})
    theirs = {"domain/pydocs": {"after": 6.43}, "domain/changes": {"after": 5.2}}
    loss_of(room, "control", control_of="dapt", held_out=theirs | {"domain/asv": {"after": 1.0}})
    found = {entry["to"]: entry for entry in judged(room, recipes)["adaptation"]}
    assert found["features_adapted"]["sentence"].endswith(
        "on the field's text: pydocs 4.45 after dapt, 6.43 after its control;"
        " changes 3.10 after dapt, 5.20 after its control."
    )


def test_what_is_not_shown_is_said_not_to_be_shown(tmp_path: Path) -> None:
    room = play(tmp_path / "room", {**SKILLS, "features_adapted": SKILLS["features"]})
    (entry,) = judged(room)["adaptation"]
    assert entry["sentence"].startswith("A gain by adaptation is not shown")


def run_stage(room: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["recipes"] = {name: recipe.model_dump() for name, recipe in RECIPES.items()}
    params["tasks"] = {"toy": params["tasks"]["changes"]}
    params["judge"]["resamples"] = 500
    params["gate"]["minimum"] = {}
    (room / "params.yaml").write_text(yaml.safe_dump(params))
    shares = {"overlap": {"tasks/toy": {"corpora/pydocs": 0.8}}}
    write_json(room / "data/profiles/overlap/overlap.json", shares)
    with monkeypatch.context() as inside:
        inside.chdir(room)
        inside.setattr(stage, "load", lambda: stage_params(room))
        folders = (Path("data"), Path("predictions/toy"), Path("metrics"))
        stage.main("toy", *folders, Path(out), Path(f"{out}.json"))
    files = [*(room / out).iterdir(), room / f"{out}.json"]
    return {f.name.replace(out, ""): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def stage_params(room: Path) -> Any:
    from steps.core.params import load

    return load(room / "params.yaml")


def test_the_stage_writes_the_same_bytes_twice(
    field: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = (run_stage(field, out, monkeypatch) for out in ("one", "two"))
    assert first == again
    assert len(first) == 3
    assert set(read_json(field / "one.json")) == {"winner", "baseline", "difference", "low", "high"}
    ranking = read_json(field / "one/comparison.json")["ranking"]
    assert [row["candidate"] for row in read_json(field / "one/scores.json")] == ranking


@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_scores_that_the_library_does_not_give_stop_the_stage(tmp_path: Path, kind: str) -> None:
    good = contest(play(tmp_path, SKILLS, kind), sorted(SKILLS))
    verify(good)
    wrong = replace(good.metric, score=lambda sums: good.metric.score(sums) + 0.01)
    with pytest.raises(StepError, match="by its library"):
        verify(replace(good, metric=wrong))
