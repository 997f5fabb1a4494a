"""A champion is held against the newest data: no false alarms, no drift that goes unseen."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipelines import (
    champion_before,
    champion_check,
    champion_report,
    check_page,
    connection,
    lineage,
    promotion,
    registry,
)
from pipelines.champion_check import Newest
from pipelines.cli import app
from pipelines.reevaluation import word
from steps.checks import shift
from steps.checks.chance import LEVEL, Sides
from steps.checks.shift import Parts, Said
from steps.checks.two_sample import Text, Told
from steps.core.entry import StepError
from steps.core.files import read_json, read_rows, write_rows
from steps.core.params import load
from steps.judge.values import REFERENCES
from tests import projects, tiny_project
from tests.pages import assert_whole
from tests.tiny import EXAMPLES
from tests.tiny_project import SCHEMA, STRONG, TASK

TEST = Path(f"data/splits/{TASK}/test.parquet")
WORDS = [f"w{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(300)]
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A champion of a hundred training texts, in git."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(tiny_project.blank_registry(tmp_path_factory.mktemp("blank")), "mlflow.db")
        tiny_project.make({"baseline": ("fix",), "good": STRONG}, train=slice(90, 190))
        tiny_project.commit()
        Path(".gitignore").write_text("/*\n!/dvc.yaml\n!/params.yaml\n!/.dvc\n/.dvc/[ct]*/\n")
        projects.commit(folder)
        registry.register(TASK, Path("bundles") / TASK, Path("reports") / TASK)
        promotion.promote(TASK, None, False, "")
        yield folder


@pytest.fixture
def project(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil; the artifacts stay where they are."""
    shutil.copytree(origin, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()
    return tmp_path / "copy"


def check() -> dict[str, Any]:
    return champion_report.check(TASK, print, print)


def renew(rows: Rows) -> None:
    """Let these be the newest test set, as if `split` had made it."""
    write_rows(TEST, rows, SCHEMA)
    tiny_project.dvc("commit", "--force", "--quiet", f"split@{TASK}")


def forget_split() -> None:
    """Let DVC's cache lose the splits that the champion was trained on."""
    (out,) = lineage.read_lock()[f"split@{TASK}"]["outs"]
    (Path(".dvc/cache/files/md5") / out["md5"][:2] / out["md5"][2:]).unlink()


def foreign(rows: Rows) -> Rows:
    """Other texts than the champion knows, of other documents, with the same labels."""
    draw = np.random.default_rng(0)
    return [
        row | {"id": f"n{at:04}", "group": f"n{at}", "text": " ".join(draw.choice(WORDS, 9))}
        for at, row in enumerate(rows)
    ]


def test_an_unchanged_champion_on_unchanged_data_has_exactly_its_registered_figure(
    project: Path,
) -> None:
    before = {
        path: path.read_bytes() for path in (Path("dvc.lock"), Path(f"promotions/{TASK}.jsonl"))
    }
    found = check()
    assert found["now"]["value"] == found["then"]["value"] == found["registered"]["seeds"]["1"]
    assert found["now"]["low"] == found["then"]["low"]
    assert (found["paired"], found["verdict"]) == (True, "steady")
    assert found["difference"]["difference"] == 0
    assert [found["predictions"][part]["p"] for part in ("labels", "confidence")] == [1, 1]
    told = found["inputs"]["told_apart"]
    assert told["from_training"] == told["at_registration"]
    assert (told["since_registration"]["value"], found["inputs_verdict"]) == (0.5, "not shown")
    assert {path: path.read_bytes() for path in before} == before
    assert registry.status(TASK)["champion"] == 1


def test_corrected_labels_are_compared_item_by_item(project: Path) -> None:
    rows = read_rows(TEST)
    renew([row | {"label": "fix" if row["label"] == "doc" else "doc"} for row in rows])
    found = check()
    assert (found["paired"], found["verdict"]) == (True, "worse")
    assert {row["verdict"] for row in found["slices"]} == {"worse"}
    assert found["predictions_verdict"] == found["inputs_verdict"] == "not shown"


def test_texts_of_another_field_are_found_and_the_champion_is_shown_worse_on_them(
    project: Path,
) -> None:
    renew(foreign(read_rows(TEST)))
    found = check()
    assert (found["paired"], found["verdict"]) == (False, "worse")
    assert found["difference"]["high"] < 0
    assert (found["inputs_verdict"], found["predictions_verdict"]) == ("moved", "moved")
    told = found["inputs"]["told_apart"]
    assert min(told[name]["value"] for name in ("since_registration", "from_training")) > 0.95
    assert told["at_registration"]["p"] > LEVEL
    unseen = found["inputs"]["vocabulary"]["unseen"]
    assert unseen[0] < 0.1 < unseen[1] == 1
    assert all(row["moved"] for row in found["inputs"]["slices"])
    assert "The texts have moved, most of all" in check_page.headline(found)


def test_what_the_champion_learnt_from_is_no_test_of_it(project: Path) -> None:
    learnt = read_rows(Path(f"data/splits/{TASK}/train.parquet"))[:20]
    renew([*read_rows(TEST), *(row | {"id": f"z{row['id']}"} for row in learnt)])
    found = check()
    assert found["items"] == {"now": 60, "then": 60, "left_out": 20}
    assert found["verdict"] == "steady"


def test_only_the_stages_up_to_the_split_are_run(project: Path) -> None:
    Path("newest.py").write_text(
        f"import os, shutil\nos.makedirs('data/splits/{TASK}', exist_ok=True)\n"
        f"shutil.copytree('newest', 'data/splits/{TASK}', dirs_exist_ok=True)\n"
    )
    shutil.copytree(f"data/splits/{TASK}", "newest")
    graph = yaml.safe_load(Path("dvc.yaml").read_text())
    graph["stages"]["split"]["do"] |= {"cmd": "python newest.py", "deps": ["newest"]}
    Path("dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    tiny_project.dvc("commit", "--force", "--quiet")
    write_rows(Path("newest/test.parquet"), foreign(read_rows(TEST)), SCHEMA)
    said: list[str] = []
    found = champion_report.check(TASK, said.append, said.append)  # `false compare` is not run
    assert found["verdict"] == "worse"
    assert [line for line in said if line.startswith("Running")] == [
        f"Running stage 'split@{TASK}':"
    ]


def test_a_stage_that_fails_is_one_line(project: Path) -> None:
    graph = Path("dvc.yaml")
    graph.write_text(graph.read_text().replace("false split", "false anew"))
    with pytest.raises(StepError, match=f"stage split@{TASK} failed: "):
        check()


@pytest.mark.slow
def test_what_was_learnt_from_comes_from_the_remote_where_it_is_nowhere_here(
    project: Path, tmp_path: Path
) -> None:
    tiny_project.dvc("remote", "add", "--local", "--default", "far", str(tmp_path / "far"))
    tiny_project.dvc("push", "--quiet", f"split@{TASK}")
    forget_split()
    renew(foreign(read_rows(TEST)))
    assert check()["inputs_verdict"] == "moved"


def test_without_what_was_learnt_from_the_metric_is_judged_all_the_same(project: Path) -> None:
    forget_split()
    renew(foreign(read_rows(TEST)))
    said: list[str] = []
    found = champion_report.check(TASK, print, said.append)
    assert (found["verdict"], found["inputs"], found["inputs_verdict"]) == (
        "worse",
        None,
        "can't tell",
    )
    assert said[0].startswith(f"{TASK}: what its champion learnt from cannot be had: not all of")
    assert_whole((Path("checks") / TASK / "check.html").read_text())


def test_a_check_is_logged_once_and_another_is_its_next_step(project: Path) -> None:
    check(), check()
    renew(foreign(read_rows(TEST)))
    check()
    import mlflow

    client = mlflow.MlflowClient(connection.address())
    (run,) = client.search_runs([client.get_experiment_by_name("checks").experiment_id])
    points = client.get_metric_history(run.info.run_id, "score")
    assert [point.step for point in points] == [0, 1]
    assert points[0].value > points[1].value
    assert (run.info.run_name, run.info.status) == (f"{TASK}@1", "FINISHED")


def test_the_page_is_whole_and_data_cannot_change_it(project: Path) -> None:
    found = check()
    page = (Path("checks") / TASK / "check.html").read_text()
    assert_whole(page)
    assert "That the texts have moved is not shown." in page
    kept = read_json(Path("checks") / TASK / "check.json")
    assert kept == json.loads(json.dumps(found))
    found["slices"][0]["slice"] = "<script>x</script>"
    found["inputs"]["vocabulary"]["moved"] = ["<script>x</script>"]
    assert_whole(check_page.render(found))


def test_rows_of_a_log_have_texts_and_no_more(project: Path) -> None:
    before = champion_before.read(registry.champion(TASK), print)
    train, test = before.part("train"), before.part("test")
    assert train
    assert test
    rows = [{"text": row["text"]} for row in foreign(read_rows(TEST))]
    newest = Newest(rows, champion_check.predict(before, rows), ["length"])
    found = champion_check.drift(before, newest, (train, test), load())
    assert (found["inputs_verdict"], found["predictions_verdict"]) == ("moved", "moved")


def test_a_line_for_one_a_table_for_many_and_json(project: Path) -> None:
    done = CliRunner().invoke(app, ["champion-check"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{TASK}: version 1 (good) is steady: macro_f1 1.000 [")
    found = json.loads(CliRunner().invoke(app, ["champion-check", TASK, "--json"]).stdout)
    assert [one["verdict"] for one in found] == ["steady"]
    renew(foreign(read_rows(TEST)))
    assert CliRunner().invoke(app, ["champion-check"]).exit_code == 3
    wrong = CliRunner().invoke(app, ["champion-check", "chnges"])
    assert (wrong.exit_code, "did you mean 'changes'" in wrong.stderr) == (1, True)
    table = io.StringIO()
    champion_report.show([found[0], found[0]], table)
    rows = [row.split("\t") for row in table.getvalue().splitlines()]
    assert rows[0] == list(champion_report.COLUMNS)
    assert rows[1] == rows[2] == list(champion_report.cells(found[0]))


def test_without_a_champion_the_way_out_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_project.write_params(["baseline"])
    one = CliRunner().invoke(app, ["champion-check", TASK])
    said = f"error: {TASK} has no champion; run `outplant promote {TASK}`\n"
    assert (one.exit_code, one.stderr) == (1, said)
    every = CliRunner().invoke(app, ["champion-check"])
    assert (every.exit_code, every.stdout) == (0, "")
    assert every.stderr == "warning: no task has a champion; `outplant promote TASK` makes one\n"
    assert not Path("mlflow.db").exists()


def draw(rng: np.random.Generator, documents: str, groups: int, first: int = 0) -> list[Text]:
    """Four texts a document, which has words of its own."""
    found = []
    for group in range(groups):
        own = rng.choice(WORDS, 8)
        for _ in range(4):
            words = [*rng.choice(WORDS[first : first + 200], 6), *rng.choice(own, 4)]
            found.append(Text(" ".join(words), f"{documents}{group}"))
    return found


def p_values(groups_known: bool) -> list[float | None]:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sides = draw(rng, "a", 20), draw(rng, "b", 15)
        if not groups_known:
            sides = tuple([one._replace(group=f"{n}") for n, one in enumerate(s)] for s in sides)
        found.append(Told(*sides, seed).apart().p)
    return found


def test_where_nothing_moved_false_alarms_are_as_rare_as_they_should_be() -> None:
    """Texts of one document are alike: who takes them for independent is always alarmed."""
    alarms = sum(p <= LEVEL for p in p_values(True) if p)
    assert 0 < alarms <= 5  # of 40: 2 are expected, 6 and more happen once in 70 times
    naive = [p for p in p_values(False)[:10] if p]
    assert sum(p <= LEVEL for p in naive) > 5


def test_drift_is_found_and_the_slice_that_moved_most_is_named() -> None:
    rng = np.random.default_rng(1)
    learnt, then = draw(rng, "l", 40), draw(rng, "a", 40)
    now = draw(rng, "b", 20) + draw(rng, "c", 20, first=100)
    places = (
        {"source": {"old": range(80), "new": range(80, 160)}},
        {"source": {"old": range(80), "new": range(80, 160), "unknown": range(5)}},
    )
    found = shift.inputs(Parts(learnt, then, now), places, 1)
    assert found["p"] <= LEVEL
    champion_check.judge_slices(found["slices"])
    assert [row["slice"] for row in found["slices"]] == ["new", "old"]
    assert (found["slices"][0]["moved"], found["words"]["p"]) == (True, 1)


def test_a_test_set_that_always_differed_from_training_has_not_moved() -> None:
    rng = np.random.default_rng(2)
    learnt, *tests = draw(rng, "l", 30), draw(rng, "a", 30, 100), draw(rng, "b", 30, 100)
    found = shift.inputs(Parts(learnt, *tests), ({}, {}), 2)
    told = found["told_apart"]
    assert max(told[name]["p"] for name in ("from_training", "at_registration")) <= LEVEL
    assert found["p"] == told["since_registration"]["p"] > LEVEL


@pytest.mark.parametrize(("groups", "why"), [(49, "49 and 60 texts"), (3, "of 3 and 3 groups")])
def test_too_few_texts_or_documents_get_no_p_value(groups: int, why: str) -> None:
    rng = np.random.default_rng(0)
    few = [f"a{at % groups}" for at in range(49 if groups == 49 else 60)]
    many = [f"b{at % groups if groups == 3 else at}" for at in range(60)]
    texts = [[Text(" ".join(rng.choice(WORDS, 5)), one) for one in side] for side in (few, many)]
    found = Told(*texts, 0).apart()
    assert (found.p, found.shown, why in found.why) == (None, False, True)
    assert Sides(few, many, 0).gap([0.0] * len(few) + [1.0] * 60).p is None


@pytest.mark.parametrize("kind", EXAMPLES)
def test_predictions_of_each_task_type_can_move(kind: str) -> None:
    rows = EXAMPLES[kind](60)
    values = [REFERENCES[kind](row) for row in rows]
    if kind == "generation":
        values = [{"text": value, "loss": 1.0, "words": 4} for value in values]
    if kind == "retrieval":
        values = [1 + at % 3 for at in range(60)]
    empty: dict[str, Callable[[Any], Any]] = {
        "regression": lambda value: value - 3,
        "retrieval": lambda rank: rank + 9,
        "generation": lambda value: value | {"text": ""},
        "multilabel": lambda _: [],
        "tokens": lambda _: [],
        "tags": lambda _: [],
        **dict.fromkeys(("classification", "sentiment", "pairs"), lambda _: "other"),
    }
    other = [empty.get(kind, lambda _: "")(value) for value in values]
    groups = [row["id"] for row in rows], [f"n{row['id']}" for row in rows]
    sure = np.linspace(0.3, 0.9, 60).tolist()
    same = shift.outputs(kind, Said(values, sure, groups[0]), Said(values, sure, groups[1]), 0)
    found = shift.outputs(kind, Said(values, sure, groups[0]), Said(other, sure, groups[1]), 0)
    parts = [part for part in ("labels", "numbers") if found[part]]
    assert parts
    for part in parts:
        assert (same[part]["p"], found[part]["p"]) == (1, 0.001)
    assert found["confidence"]["p"] == 1


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.1, "better"),
        (-0.1, -0.01, "worse"),
        (-0.05, 0.1, "steady"),
        (-0.3, 0.3, "inconclusive"),
    ],
)
def test_steady_rules_a_fall_out_and_inconclusive_does_not(
    low: float, high: float, said: str
) -> None:
    assert word({"low": low, "high": high}, 0.1) == said
    assert word(None, 0.1) == "inconclusive"
