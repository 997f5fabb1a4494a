"""Registering twice adds nothing, files must be those of dvc.lock, and a version loads anywhere."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors import SafetensorError

from pipelines import connection, lineage, promotion, registry
from steps import register
from steps.core.entry import StepError
from steps.core.files import read_json, write_text
from tests import tiny_project
from tests.tiny_project import STRONG, TASK, WEAK

BUNDLE, REPORT = Path("bundles") / TASK, Path("reports") / TASK
LOAD = """
import json, sys
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/changes@champion")
texts = ["fixed a crash in it", "documentation"]
one, other = model.predict(texts), model.predict(pandas.DataFrame({"text": texts}))
assert one == other
print(json.dumps([answer["label"] for answer in one]))
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A project whose winner is registered by `dvc repro` itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tiny_project.make({"baseline": WEAK, "good": STRONG})
        tiny_project.commit()
        said = tiny_project.dvc("repro", f"register@{TASK}")
        Path("said").write_text(said.stdout)
        yield Path.cwd()


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    return tiny_project.blank_registry(tmp_path_factory.mktemp("blank"))


@pytest.fixture
def project(origin, tmp_path, monkeypatch):
    """A copy to spoil; the artifacts stay where they are."""
    shutil.copytree(origin, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "copy"


def test_dvc_repro_registers_for_the_lock_has_the_bundle_by_then(origin):
    assert f"{TASK}: version 1 (good) registered, 2 new runs" in (origin / "said").read_text()


def test_registering_twice_adds_nothing(project):
    found = registry.register(TASK, BUNDLE, REPORT)
    assert (found["number"], found["added"], found["runs"]) == (1, False, 0)
    import mlflow

    client = mlflow.MlflowClient(connection.address())
    assert len(client.search_model_versions(f"name = '{TASK}'")) == 1
    experiment = client.get_experiment_by_name(TASK)
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["baseline", "good"]
    good = next(run for run in runs if run.info.run_name == "good")
    assert good.data.metrics["test"] == pytest.approx(1.0)
    assert {"test_low", "test_high", "validation", "validation_sd"} <= good.data.metrics.keys()
    assert good.data.params["inverse_regularisation"] == "100.0"


def test_an_emptied_registry_is_filled_again(project, blank):
    Path("mlflow.db").unlink()
    assert registry.status(TASK)["challenger"] is None  # and none is made by looking
    shutil.copy(blank, "mlflow.db")
    found = registry.register(TASK, BUNDLE, REPORT)
    assert (found["number"], found["added"], found["runs"]) == (1, True, 2)
    assert registry.status(TASK)["challenger_recipe"] == "good"


def test_a_version_loads_in_another_process_and_folder_with_pickle_off(project, tmp_path):
    registry.crown(registry.version(TASK, 1))
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_TRACKING_URI": connection.address(),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["fix", "doc"]


def test_a_bundle_that_does_not_load_is_not_registered(project, blank, capsys):
    shutil.copy(blank, "mlflow.db")
    (BUNDLE / "head.safetensors").write_bytes(b"rubbish")
    tiny_project.commit()
    with pytest.raises(SafetensorError):
        registry.register(TASK, BUNDLE, REPORT)
    assert registry.status(TASK)["challenger"] is None


def test_a_version_carries_the_evidence_a_gate_needs(project):
    bundle, evidence = registry.files(registry.version(TASK, 1))
    assert lineage.dvc_hash(bundle) == lineage.dvc_hash(BUNDLE)
    names = {path.name for path in evidence.iterdir()}
    assert {"comparison.json", "report.html", "predictions.parquet", "validation.json"} <= names


def test_a_bundle_that_is_not_what_the_lock_says_is_refused_by_its_path(project):
    write_text(BUNDLE / "README.md", "better than it was")
    with pytest.raises(StepError, match=r"bundles/changes is not what dvc\.lock says"):
        registry.register(TASK, BUNDLE, REPORT)


def test_a_lock_whose_upstream_has_moved_on_is_refused(project):
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"][f"split@{TASK}"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    with pytest.raises(StepError, match=rf"split@{TASK} has made another data/splits/{TASK}"):
        registry.register(TASK, BUNDLE, REPORT)


def test_without_a_lock_the_way_out_is_named(project):
    Path("dvc.lock").unlink()
    with pytest.raises(StepError, match=r"no dvc\.lock here; run `dvc repro`"):
        registry.register(TASK, BUNDLE, REPORT)


def test_the_hash_of_a_folder_is_the_one_of_dvc(project):
    lock = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    outs = [out for stage in lock.values() for out in stage.get("outs", [])]
    assert len(outs) >= 8
    for out in outs:
        assert lineage.dvc_hash(Path(out["path"])) == out["md5"]


def test_the_lineage_key_depends_on_every_stage_upstream_and_on_no_other(project):
    entries = lineage.read_lock()
    stages = lineage.upstream(entries, BUNDLE)
    assert {f"split@{TASK}", f"finetune@{TASK}-good", f"compare@{TASK}"} <= stages.keys()
    assert f"register@{TASK}" not in stages
    key = lineage.key(stages)
    changed = json.loads(json.dumps(stages))
    changed[f"finetune@{TASK}-good"]["cmd"] += " --other"
    assert lineage.key(changed) != key
    assert lineage.params(stages)["recipes.good.inverse_regularisation"] == 100.0


def test_a_stage_that_was_taken_out_of_params_no_longer_counts(project):
    tiny_project.write_params(["baseline"])
    assert f"finetune@{TASK}-good" not in lineage.read_lock()
    assert f"finetune@{TASK}-baseline" in lineage.read_lock()


def test_the_commit_names_what_is_not_committed(project):
    assert lineage.commit().hash == ""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    assert lineage.commit().dirty == ["dvc.yaml"]
    Path("params.yaml").write_text("changed: true\n")
    assert lineage.commit().dirty == ["dvc.yaml", "params.yaml"]


def test_a_registry_that_is_down_fails_no_training_and_is_caught_up(
    project, blank, monkeypatch, capsys
):
    shutil.copy(blank, "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    register.main(TASK, BUNDLE, REPORT)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "changes is not registered yet; the next `dvc repro` will do it" in said[0]
    assert "secret" not in said[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    register.main(TASK, BUNDLE, REPORT)
    assert "version 1 (good) registered" in capsys.readouterr().out


def test_a_server_that_falls_silent_later_is_down_and_a_refusal_of_mlflow_is_not(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(connection, "probe", lambda uri: None)
    with pytest.raises(connection.Down, match=r"http://127\.0\.0\.1 does not answer"):
        registry.champion(TASK)
    assert not connection.lost(ValueError("a bug"))


@pytest.fixture
def server(tmp_path):
    """A real MLflow server that keeps the artifacts itself, in its own process group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not answers(uri):
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield uri
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(uri: str) -> bool:
    try:
        connection.probe(uri)
    except connection.Down:
        return False
    return True


@pytest.mark.slow
def test_a_server_registers_promotes_and_gives_the_bundle_back(project, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert registry.register(TASK, BUNDLE, REPORT)["added"]
    assert not registry.register(TASK, BUNDLE, REPORT)["added"]
    assert promotion.promote(TASK, None, False, "").moved
    assert registry.status(TASK)["champion"] == 1
    assert lineage.dvc_hash(registry.champion_bundle(TASK)) == lineage.dvc_hash(BUNDLE)
    with registry.opened(TASK, registry.registered(TASK)[1]["champion"]) as folder:
        assert lineage.dvc_hash(folder / "artifacts" / TASK) == lineage.dvc_hash(BUNDLE)
    assert not folder.exists()


@pytest.mark.slow
def test_a_server_takes_a_history_once(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    rows = [{"step": n, "tokens": 10.0 * n, "loss": 1 / n} for n in range(1, 1001)]
    rows.append({"step": 1001, "tokens": 10010.0, "loss": float("nan")})
    for part, status in ((rows[:700], "RUNNING"), (rows, "KILLED"), (rows, "FINISHED")):
        registry.log_history("adapt-dapt-0", "dapt", part, status)
    import mlflow

    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("adaptations").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    steps = [item.step for item in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps) == list(range(1, 1002))


def test_what_mlflow_refuses_is_one_line(project):
    with pytest.raises(StepError, match=r"MLflow refuses: .*; look at its log"):
        registry.log_history("key", "dapt", [{"step": 1, "tokens": 1.0, "loss !": 1.0}], "RUNNING")


def test_a_database_that_is_down_is_told_in_one_line(monkeypatch):
    with pytest.raises(connection.Down, match=r"MLflow at postgresql://127\.0\.0\.1 does not"):
        connection.probe("postgresql://me:secret@127.0.0.1:9/mlflow")


def test_a_version_that_is_not_there_is_told_with_those_that_are(project):
    with pytest.raises(StepError, match="no version 7 of changes; there is: 1"):
        registry.version(TASK, 7)
    with pytest.raises(StepError, match="has no champion; run `outplant promote changes`"):
        registry.champion_bundle(TASK)
    assert read_json(REPORT / "comparison.json")["winner"] == "good"
