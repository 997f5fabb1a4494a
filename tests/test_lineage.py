"""A version tells what it was made from, and a corpus or a file which versions saw it."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipelines import candidates, connection, learnt, lineage, promotion, registry, traces, tracing
from pipelines import tracing_table as table
from pipelines.cli import app
from steps.core.entry import StepError
from steps.core.files import write_json
from steps.core.params import load
from steps.transfer.strategies import STRATEGIES, strategy
from tests import projects, tiny_project
from tests.tiny_project import STRONG, TASK, WEAK

BUNDLE, REPORT = Path("bundles") / TASK, Path("reports") / TASK


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Two versions: 1 saw one corpus and a task's examples, 2 another text in that corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tiny_project.blank_registry(Path.cwd()).rename("mlflow.db")
        tiny_project.make({"baseline": WEAK, "good": STRONG})
        tiny_project.commit()
        wire()
        for text in ("withdrawn", "kept"):
            grow(text)
            registry.register(TASK, BUNDLE, REPORT)
        yield Path.cwd()


def wire() -> None:
    """Put sources and a corpus upstream of the task, as the real graph has them."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    pinned = {"kind": "pypi", "path": "pins.txt", "include": ["*"], "strip": 0}
    params["sources"] = dict.fromkeys(("field", "labels"), pinned)
    params["corpora"] = {"law": params["corpora"]["pydocs"] | {"source": "field"}}
    params["tasks"][TASK]["source"] = "labels"
    params["adaptations"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    pin = "law==1.0 \\\n    --hash=sha256:" + "ab12" * 16
    Path("pins.txt").write_text(f"# MIT\n{pin}\n")
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    for name, over, dep, out in (
        ("fetch", "sources", "pins.txt", "data/raw/${key}"),
        ("ingest_corpus", "corpora", "data/raw/field", "data/documents/${key}"),
        ("ingest_task", "tasks", "data/raw/labels", "data/examples/${key}"),
    ):
        made = {"cmd": f"false {name} ${{key}}", "deps": [dep], "outs": [out]}
        stages[name] = {"foreach": f"${{{over}}}", "do": made}
    stages["fetch"]["do"]["params"] = ["sources.${key}"]
    stages["split"]["do"]["deps"].append("data/examples/${key}")
    stages["validate_task"]["do"]["deps"] += ["data/documents", "data/examples/${key}"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    load.cache_clear()


def grow(text: str) -> None:
    """Write the raw files and what is made of them."""
    files = {"data/raw/field/text": text, "data/raw/labels/text": "labels"}
    files |= {"data/documents/law/part": text, f"data/examples/{TASK}/part": text}
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(f"{name}.txt").write_text(content)
    tiny_project.dvc("commit", "--force", "--quiet")


@pytest.fixture(autouse=True)
def project(origin, tmp_path, monkeypatch):
    shutil.copytree(origin, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()
    return tmp_path / "copy"


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def seen(what: str) -> dict[int, str]:
    return {use["version"]: use["how"] for use in run("uses", what)["versions"]}


def test_a_version_tells_all_that_it_was_made_from():
    promotion.promote(TASK, 1, True, "asked for")
    found = run("lineage", TASK)  # of a task alone its champion is meant
    assert (found["version"], found["recipe"], found["champion"]) == (1, "good", "now")
    assert found["lineage"] == registry.version(TASK, 1).lineage
    assert found["stages"].keys() >= {"fetch@field", "ingest_corpus@law", f"bundle@{TASK}"}
    assert found["params"]["recipes.good.inverse_regularisation"] == 100.0
    assert found["corpora"]["law"]["source"] == "field"
    assert not found["corpora"]["law"]["learnt"]
    assert found["sources"]["labels"]["learnt"]
    assert found["sources"]["field"]["pins"] == ["law==1.0 --hash=sha256:" + "ab12" * 16]
    assert found["validation"]["success"]
    assert found["verdict"]["verdict"] == "promote"
    (move,) = found["moves"]
    assert (move["reason"], bool(move["who"]), bool(move["when"])) == ("asked for", True, True)


def test_an_older_version_is_told_by_its_own_lock_and_not_by_the_present_one():
    one, two = run("lineage", f"{TASK}@1"), run("lineage", f"{TASK}@2")
    assert one["corpora"]["law"]["documents"] != two["corpora"]["law"]["documents"]
    assert one["stages"]["fetch@labels"] == two["stages"]["fetch@labels"]
    lock = lineage.read_lock()["ingest_corpus@law"]
    assert two["corpora"]["law"]["documents"] == lock["outs"][0]["md5"]


def test_a_person_can_read_it():
    out = io.StringIO()
    found = tracing.trace(registry.version(TASK, 2))
    table.show_lineage(found | {"dirty": ["params.yaml"], "commit": "c" * 40}, out)
    said = out.getvalue()
    assert said.startswith(f"{TASK}, version 2: good, seed 1\n")
    assert f"commit      {'c' * 40}; uncommitted: params.yaml\n" in said
    assert "validation  passed\n" in said
    assert "promoted    never\n" in said
    assert "corpus law\t" in said
    assert "fetch@field\t" in said


def test_a_corpus_and_a_source_are_found_by_their_names():
    assert seen("law") == {1: "only read", 2: "only read"}
    assert seen("labels") == {1: "learnt from", 2: "learnt from"}


def test_a_file_is_found_by_both_hashes_by_their_beginning_and_by_its_path():
    Path("letter.txt").write_text("withdrawn")
    md5, sha256 = traces.hashes(Path("letter.txt"))
    for what in (md5, sha256, sha256[:8], md5[:9].upper(), "letter.txt"):
        assert seen(what) == {1: "only read"}
    (use,) = run("uses", md5)["versions"]
    assert use["found"] == ["field: text.txt"]


def test_a_pinned_distribution_and_a_folder_are_found_by_their_hashes():
    assert seen("ab12" * 16).keys() == {1, 2}
    folder = run("lineage", f"{TASK}@1")["corpora"]["law"]["documents"]
    assert seen(folder).keys() == {1}


def test_champions_present_and_past_are_marked():
    promotion.promote(TASK, 1, True, "first")
    promotion.promote(TASK, 2, True, "second")
    champions = {use["version"]: use["champion"] for use in run("uses", "law")["versions"]}
    assert champions == {1: "before", 2: "now"}


@pytest.mark.parametrize("what", ["0123456789", "nothing", "pins.txt"])
def test_what_nothing_saw_is_a_plain_sentence_and_no_error(what):
    done = CliRunner().invoke(app, ["uses", what])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"no version saw {what}")


def test_a_beginning_of_two_hashes_is_refused(monkeypatch):
    rows = [{"source": "field", "path": name, "md5": "a" * 31 + name} for name in "bc"]
    full = [row | {"sha256": row["path"] * 64} for row in rows]
    monkeypatch.setattr(tracing, "read_rows", lambda path: full)
    with pytest.raises(StepError, match=r"begins 2 hashes: b+, c+; say more"):
        tracing.uses("a" * 8)


def test_a_version_that_kept_no_stages_is_said_not_to_be_known():
    trace = registry.trace(registry.version(TASK, 1))
    kept = (trace / traces.STAGES).read_bytes()
    (trace / traces.STAGES).unlink()
    try:
        assert run("uses", "law")["untraced"] == [f"{TASK}@1"]
        with pytest.raises(StepError, match="version 1 of changes was registered before"):
            tracing.trace(registry.version(TASK, 1))
    finally:
        (trace / traces.STAGES).write_bytes(kept)


def test_raw_files_that_are_not_those_of_the_lock_are_refused_by_their_folder():
    shutil.rmtree(traces.KEPT)
    Path("data/raw/field/text.txt").write_text("another")
    stages = lineage.upstream(lineage.read_lock(), BUNDLE)
    with pytest.raises(StepError, match=r"data/raw/field is not what dvc\.lock says"):
        traces.write(stages, Path("evidence"))


def test_raw_files_that_are_in_the_cache_alone_are_listed_from_there_and_else_named(tmp_path):
    stages = lineage.upstream(lineage.read_lock(), BUNDLE)
    known = traces.read_rows(traces.KEPT / f"{stages['fetch@field']['outs'][0]['md5']}.parquet")
    shutil.rmtree(traces.KEPT)
    shutil.rmtree("data/raw/field")
    traces.write(stages, tmp_path)
    listed = traces.read_rows(tmp_path / traces.FILES)
    assert [row | {"source": ""} for row in listed if row["source"] == "field"] == known
    shutil.rmtree(traces.KEPT)
    shutil.rmtree(".dvc/cache")
    traces.write(stages, tmp_path)
    assert traces.read(tmp_path)["unlisted"] == ["field"]


@pytest.mark.parametrize("text", ["changes@x", "@1", "chnges"])
def test_what_names_no_version_is_one_line(text):
    with pytest.raises(StepError):
        tracing.named(text)


def test_a_run_has_the_curves_of_its_candidate_and_a_version_signature_example_and_card():
    import mlflow

    client = mlflow.MlflowClient(connection.address())
    item = client.get_model_version(TASK, "1")
    run = client.get_run(item.run_id)
    assert "outplant.report" in run.data.tags
    assert "report/report.html" in [f.path for f in client.list_artifacts(item.run_id, "report")]
    info = mlflow.models.get_model_info(f"models:/{TASK}/1")
    assert [str(one.type) for one in info.signature.inputs.inputs] == ["DataType.string"]
    assert {one.name for one in info.signature.outputs.inputs} >= {"label", "confidence"}
    assert info.saved_input_example_info["artifact_path"] == "input_example.json"
    assert "on test; the card is in the bundle's README.md" in item.description
    assert "## Intended use" in item.description
    assert registry.version(TASK, 1).dirty == ()


def test_losses_and_scores_by_epoch_and_the_calibration_become_curves():
    figures = {"losses": [0.9, 0.4], "scores": [0.5, 0.6], "validation": 0.6}
    write_json(Path("candidates/t/r/seed-2/figures.json"), figures)
    write_json(Path("candidates/t/r/seed-3/figures.json"), figures | {"validation": None})
    write_json(Path("plots/calibration/t/r.json"), [{"confidence": 0.126, "accuracy": 0.1}])
    assert candidates.curves("t", "r") == {
        "loss_seed_2": {1: 0.9, 2: 0.4},
        "loss_seed_3": {1: 0.9, 2: 0.4},
        "validation_seed_2": {1: 0.5, 2: 0.6},
        "calibration": {13: 0.1},
    }
    assert candidates.curves("t", "pulled without its folder") == {}


def lock(**stages: tuple[list[str], str]) -> lineage.Entries:
    return {
        name.replace("__", "@"): {
            "deps": [{"path": path} for path in deps],
            "outs": [{"path": out}],
        }
        for name, (deps, out) in stages.items()
    }


def test_what_started_at_a_version_that_learnt_from_it_is_found_near_and_far():
    stages = lock(
        finetune__t_r=(["starts/r"], "candidates/t/r"),
        prepare__r=(["data/raw/base"], "starts/r"),
        fetch__base=([], "data/raw/base"),
    )
    one = registry.version(TASK, 1)
    near, far, other = (replace(one, task="t", recipe="r", number=number) for number in (4, 5, 6))
    pins = {near: f"models:/{TASK}/1", far: "models:/t@champion", other: f"models:/{TASK}/2"}
    others = [(v, {"stages": stages, "pins": {"base": [line]}}) for v, line in pins.items()]
    seen = tracing.Use(TASK, 1, "good", tracing.LEARNT, "never", "", [])
    found = tracing.handed_on([seen], others)
    assert [(use.version, use.how) for use in found] == [(4, "learnt from"), (5, "learnt from")]
    assert found[0].found == [f"base pins models:/{TASK}/1"]
    assert tracing.handed_on([replace(seen, how=tracing.READ)], others) == []


def test_weights_learn_from_an_adaptations_corpora_and_not_from_those_it_is_kept_apart_from():
    stages = lock(
        finetune__t_r=(["data/splits/t", "starts/r"], "candidates/t/r"),
        prepare__r=(["models/dapt", "data/clean", "data/splits"], "starts/r"),
        adapt__dapt=(["data/texts/dapt", "data/raw/base"], "models/dapt"),
        gather__dapt=(["data/clean", "data/splits"], "data/texts/dapt"),
        decontaminate__law=(["data/documents/law", "data/splits"], "data/clean/law"),
        decontaminate__news=(["data/documents/news", "data/splits"], "data/clean/news"),
        split__t=(["data/examples/t", "data/validation/tasks/t/verdict.json"], "data/splits/t"),
        split__other=(["data/examples/other"], "data/splits/other"),
        validate_task__t=(["data/documents"], "data/validation/tasks/t"),
        fetch__base=([], "data/raw/base"),
    )
    text = {"corpora": {"law": 1.0}, "replay": {}, "tasks": {}}
    stages["gather@dapt"]["params"] = {"params.yaml": {"adaptations": {"dapt": {"text": text}}}}
    recipe: dict[str, Any] = {"strategy": "full", "start": "models/dapt"}
    stages["prepare@r"]["params"] = {"params.yaml": {"recipes.r": recipe}}
    found = learnt.learnt(stages, "t", "r")
    assert learnt.names(found, "decontaminate") == ["law"]
    assert learnt.names(found, "split") == ["t"]
    assert "fetch@base" in found
    recipe |= {"pool": "news", "with": ["other"]}
    more = learnt.learnt(stages, "t", "r")
    assert more - found == {"decontaminate@news", "split@other"}
    recipe |= {"strategy": "baseline"}
    assert "fetch@base" not in learnt.learnt(stages, "t", "r")


def test_every_strategy_that_gathers_more_does_so_by_a_knob_that_is_followed():
    gathers = {name for name in STRATEGIES if hasattr(strategy(name), "gather")}
    assert gathers == {"augment", "multitask", "selftrain"}  # a start's own; with; pool


def test_the_real_graph_has_the_stages_that_are_followed():
    heads = yaml.safe_load((projects.ROOT / "dvc.yaml").read_text())["stages"].keys()
    assert heads >= learnt.APART.keys() | {"fetch", "ingest_corpus", "ingest_task", "finetune"}
