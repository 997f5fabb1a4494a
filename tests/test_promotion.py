"""A champion moves by a verdict or a stated reason, each move is on record, and can be undone."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines import promotion, record, registry
from steps.core.entry import StepError
from steps.core.files import read_rows, write_rows
from steps.core.params import load
from tests import tiny_project
from tests.tiny_project import SCHEMA, STRONG, TASK, WEAK

BUNDLE, REPORT = Path("bundles") / TASK, Path("reports") / TASK
LOG = Path("promotions") / f"{TASK}.jsonl"


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    return tiny_project.blank_registry(tmp_path_factory.mktemp("blank"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory, blank):
    """Version 1 is weak, 2 is good, 3 says exactly what 2 says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(blank, "mlflow.db")
        for recipes in (
            {"baseline": WEAK},
            {"baseline": WEAK, "good": STRONG},
            {"baseline": WEAK, "same": STRONG},
        ):
            tiny_project.make(recipes)
            tiny_project.commit()
            registry.register(TASK, BUNDLE, REPORT)
        yield Path.cwd()


@pytest.fixture(autouse=True)
def project(origin, tmp_path, monkeypatch):
    """A copy to spoil; the artifacts stay where they are."""
    shutil.copytree(origin, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()


@pytest.fixture
def emptied(blank, monkeypatch):
    """Make the registry another, empty one: this process still has the old file open."""

    def empty() -> None:
        shutil.copy(blank, "emptied.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/emptied.db")

    return empty


def champion() -> int | None:
    return registry.status(TASK)["champion"]


def promote(version: int | None = None, force: bool = False, reason: str = "") -> promotion.Outcome:
    return promotion.promote(TASK, version, force, reason)


def test_a_better_challenger_becomes_champion_and_a_worse_one_does_not():
    assert promote(1).moved
    better = promote(2)
    assert (better.moved, better.verdict.verdict, champion()) == (True, "promote", 2)
    worse = promote(1)
    assert (worse.moved, worse.verdict.verdict, champion()) == (False, "refuse", 2)
    assert worse.message.endswith("is not promoted, refuse by: champion, slices")
    said = next(str(one) for one in worse.verdict.clauses if one.name == "champion")
    assert said.startswith(
        "fail      champion: expected better than the champion, found refuse: -0"
    )
    assert len(promotion.history(TASK)) == 2


def test_what_cannot_be_told_apart_never_moves_the_champion():
    promote(2)
    found = promote()  # by default the challenger: the newest version
    assert (found.version, found.moved, found.verdict.verdict) == (3, False, "inconclusive")
    assert champion() == 2


def test_force_moves_it_with_a_reason_that_is_kept():
    promote(2)
    with pytest.raises(StepError, match="a forced promotion needs a reason"):
        promote(3, force=True, reason="  ")
    assert promote(3, force=True, reason="asked for").moved
    last = promotion.history(TASK)[-1]
    assert (last["reason"], last["forced"], last["verdict"]) == ("asked for", True, "inconclusive")
    assert (last["from"]["version"], last["to"]["version"]) == (2, 3)


def test_promoting_the_champion_changes_nothing():
    promote(2)
    again = promote(2)
    assert (again.moved, again.verdict.verdict) == (False, "promote")
    assert "version 2 is the champion already; nothing changed" in again.message
    assert len(promotion.history(TASK)) == 1


def test_rollbacks_go_back_one_champion_at_a_time():
    promote(1)
    promote(2)
    promote(3, force=True, reason="try")
    assert promotion.rollback(TASK, "slow", None).version == 2
    assert promotion.rollback(TASK, "wrong too", None).version == 1
    with pytest.raises(StepError, match="had no champion before version 1"):
        promotion.rollback(TASK, "again", None)
    assert champion() == 1
    assert [e["action"] for e in promotion.history(TASK)] == ["promote"] * 3 + ["rollback"] * 2


def test_a_rollback_goes_to_no_version_that_never_was_champion():
    promote(1)
    promote(2)
    with pytest.raises(StepError, match="version 3 of changes never was champion"):
        promotion.rollback(TASK, "why", 3)
    assert promotion.rollback(TASK, "why", 1).moved
    assert not promotion.rollback(TASK, "why", 1).moved
    assert champion() == 1


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: promotion.rollback(TASK, "why", None), "changes has no champion to roll back"),
        (lambda: promotion.rollback(TASK, " ", None), "a rollback needs a reason"),
        (lambda: promotion.promote("chnges", None, False, ""), "did you mean 'changes'"),
        (lambda: promotion.rollback("chnges", "x", None), "no task 'chnges'"),
        (lambda: promotion.history("chnges"), "no task 'chnges'"),
        (lambda: promotion.promote(TASK, 9, False, ""), "no version 9 of changes; there is: 1, 2"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(act, said):
    with pytest.raises(StepError, match=said) as error:
        act()
    assert "\n" not in str(error.value)


def test_without_any_version_the_way_out_is_named(emptied):
    emptied()
    with pytest.raises(StepError, match="no version of changes is registered; run `dvc repro"):
        promote()


def test_a_crash_between_record_and_alias_is_repaired_by_the_next_command(monkeypatch):
    promote(1)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "crown", lambda found: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote(2)
    said = registry.status(TASK)
    assert (said["champion"], "is version 2 again, as the record says" in said["note"]) == (2, True)


def test_a_torn_last_line_never_happened():
    promote(1)
    with LOG.open("ab") as stream:
        stream.write(b'{"action": "promo')
    assert len(promotion.history(TASK)) == 1
    promote(2)
    promotion.verify(TASK)
    assert [entry["to"]["version"] for entry in promotion.history(TASK)] == [1, 2]


def test_a_line_that_was_changed_is_found():
    promote(1)
    promote(2)
    promotion.verify(TASK)
    lines = LOG.read_text().splitlines()
    changed = json.loads(lines[0]) | {"who": "somebody else"}
    LOG.write_text("\n".join([json.dumps(changed, sort_keys=True), lines[1]]) + "\n")
    with pytest.raises(StepError, match="line 1 was changed"):
        promotion.verify(TASK)


def test_each_move_says_who_when_why_from_and_to():
    promote(2, reason="first")
    entry = promotion.history(TASK)[0]
    assert {"who", "when", "task", "clauses", "previous"} <= entry.keys()
    assert (entry["action"], entry["reason"], entry["from"]) == ("promote", "first", None)
    assert entry["to"]["lineage"] == registry.champion(TASK).lineage


def test_an_emptied_registry_gets_its_champion_back_from_the_record(emptied):
    promote(3)
    emptied()
    found = registry.register(TASK, BUNDLE, REPORT)
    assert (found["number"], champion()) == (1, 1)
    assert "champion is version 1 again" in found["note"]


def test_a_champion_that_an_emptied_registry_lacks_is_told(emptied):
    promote(2)
    emptied()
    found = registry.register(TASK, BUNDLE, REPORT)
    assert "the champion on record" in found["note"]
    assert "is not in the registry" in found["note"]
    assert champion() is None


def test_the_champion_is_judged_anew_where_the_test_set_has_changed():
    promote(1)
    test = Path(f"data/splits/{TASK}/test.parquet")
    rows = [row | {"id": f"new-{row['id']}"} for row in read_rows(test)]
    write_rows(test, rows, SCHEMA)
    found = promote(2)
    marks = {clause.name: clause.mark for clause in found.verdict.clauses}
    assert (marks["champion"], marks["baseline"]) == ("pass", "undecided")
    assert (found.moved, found.verdict.verdict) == (False, "inconclusive")
    said = next(clause.found for clause in found.verdict.clauses if clause.name == "baseline")
    assert said == "nowhere its predictions of the 60 test items; run `dvc repro`"


def test_a_corrected_label_counts_for_both_sides():
    promote(1)
    test = Path(f"data/splits/{TASK}/test.parquet")
    rows = [row | {"label": "fix" if row["label"] == "doc" else "doc"} for row in read_rows(test)]
    write_rows(test, rows, SCHEMA)
    assert promote(2).verdict.verdict == "refuse"


def test_commands_of_one_task_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(record, "WAIT_SECONDS", 0.01)
    with record.serialised(TASK), pytest.raises(StepError, match="was held by another command"):
        promote(1)
