"""A plain Hugging Face folder, ONNX and int8: the same answers without us, or one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines import export as exports
from pipelines import export_card, export_writer, exportable, onnx_graph, quantized, registry
from pipelines.cli import app
from steps.core.entry import StepError
from steps.core.files import read_rows, write_json, write_text
from steps.core.params import load
from steps.transfer.checkpoints import load_predictor
from steps.transfer.exported import export as make_plain
from tests.champions import in_float32
from tests.families import make_family
from tests.test_exported import bundled, texts_of
from tests.tiny_project import TASK


@pytest.fixture
def project(champion: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The champion's project to stand in; a folder is written elsewhere."""
    monkeypatch.chdir(champion)
    load.cache_clear()
    with in_float32():
        yield tmp_path


@pytest.fixture(scope="module")
def whole(
    champion: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, exports.Exported]:
    """An export with ONNX and int8, made once: the exporter takes seconds."""
    out = tmp_path_factory.mktemp("export") / "out"
    with pytest.MonkeyPatch.context() as patch, in_float32():
        patch.chdir(champion)
        load.cache_clear()
        return out, exports.export(TASK, out, onnx=True, int8=True)


def rows() -> list[dict[str, Any]]:
    return read_rows(Path("data/splits") / TASK / "test.parquet")


def test_transformers_alone_gives_the_champions_answers(project, whole):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    folder, texts = whole[0], [row["text"] for row in rows()]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = pipeline("text-classification", model=model, tokenizer=tokenizer)(texts)
    ours = load_predictor(registry.champion_bundle(TASK)).predict(texts)
    assert [one["label"] for one in said] == [one["label"] for one in ours]
    sure = [one["confidence"] for one in ours]
    assert [one["score"] for one in said] == pytest.approx(sure, abs=2e-3)
    assert model.config.id2label == {0: "doc", 1: "feature", 2: "fix"}


def test_the_folder_holds_no_code_and_a_card(project, whole):
    folder, done = whole
    assert done.files == sorted([*(path.name for path in folder.iterdir())])
    assert {Path(name).suffix for name in done.files} == {".json", ".md", ".onnx", ".safetensors"}
    front, text = export_card.parted((folder / "README.md").read_text())
    assert front["library_name"] == "transformers"
    assert front["pipeline_tag"] == "text-classification"
    assert front["model-index"][0]["results"][0]["metrics"][0]["type"] == "macro_f1"
    assert "license" not in front
    for said in ("## Intended use", "AutoModelForSequenceClassification", "## ONNX", "int8"):
        assert said in text
    assert registry.champion(TASK).lineage in text
    assert "mlflow.pyfunc" not in text


def test_the_licence_of_the_base_is_said_where_its_card_says_it(project, monkeypatch):
    base = project / "base"
    write_text(base / "README.md", "---\nlicense: apache-2.0\n---\n# A base\n")
    assert export_card.licence(str(base)) == "apache-2.0"
    assert export_card.licence("none") == ""
    write_text(base / "README.md", "no front matter")
    assert export_card.licence(str(base)) == ""
    adapted = load().adaptations["dapt"].model_copy(update={"start": str(base)})
    write_text(base / "README.md", "---\nlicense: mit\n---\n")
    known = load().model_copy(update={"adaptations": {"dapt": adapted}})
    monkeypatch.setattr(export_card, "load", lambda: known)
    assert export_card.licence("models/dapt") == "mit"


def test_onnx_gives_the_same_answers_and_so_does_int8_here(project, whole):
    folder, done = whole
    bundle = registry.champion_bundle(TASK)
    ours = load_predictor(bundle).predictions(rows())
    for name, apart in ((onnx_graph.MODEL, 1e-3), (onnx_graph.INT8, 0.1)):
        run = onnx_graph.session(folder / name)
        said = onnx_graph.predictor(bundle, folder, run).predictions(rows())
        assert [one.value for one in said] == [one.value for one in ours]
        sure = [one.confidence for one in ours]
        assert [one.confidence for one in said] == pytest.approx(sure, abs=apart)
    assert done.judged is not None
    sizes = [(folder / name).stat().st_size for name in (onnx_graph.INT8, onnx_graph.MODEL)]
    assert sizes[0] < 0.8 * sizes[1]
    assert done.judged.after.bytes == sizes[0]
    assert done.judged.verdict == "inconclusive"


@pytest.mark.slow
def test_words_windows_and_all_are_read_through_onnx(project, tmp_path):
    bundle = bundled(tmp_path, make_family("bert", tmp_path / "bert"), "tokens")
    assert make_plain(bundle, 1.0)
    texts = [*texts_of("tokens", tmp_path), "the DEBUG4 option of get_4 in view " * 30]
    ours = load_predictor(bundle).predict(texts)
    onnx_graph.write(bundle)
    run = onnx_graph.session(bundle / onnx_graph.MODEL)
    said = onnx_graph.predictor(bundle, bundle, run).predict(texts)
    assert any(one["entities"] for one in ours)
    for one, other in zip(said, ours, strict=True):
        spans = [[(e["start"], e["end"], e["label"]) for e in a["entities"]] for a in (one, other)]
        assert spans[0] == spans[1]


def test_int8_that_is_shown_worse_is_refused_and_nothing_is_written(project, whole, monkeypatch):
    """Its graph is spoilt: it says the same of every text."""
    out = project / "out"
    session = onnx_graph.session

    def spoilt(path: Path) -> onnx_graph.Run:
        run = session(path)
        return lambda given: np.zeros_like(run(given))

    monkeypatch.setattr(onnx_graph, "write", lambda made: _copy(whole[0], made))
    monkeypatch.setattr(onnx_graph, "session", spoilt)
    done = CliRunner().invoke(app, ["export", TASK, str(out), "--quantize", "int8"])
    assert done.exit_code == 3
    said = " ".join(done.stdout.split())
    assert "int8 against before: -0." in said
    assert "refuse, worse by more than gate.int8_margin, 0.01: nothing is written" in said
    assert [*project.iterdir()] == []
    lenient = load().gate.model_copy(update={"int8_margin": 1.0})
    known = load().model_copy(update={"gate": lenient})
    monkeypatch.setattr(exports, "load", lambda: known)
    judged = exports.export(TASK, out, int8=True).judged
    assert judged is not None
    assert judged.verdict == "refuse"
    assert not judged.refused


def _copy(folder: Path, made: Path) -> None:
    (made / onnx_graph.MODEL).write_bytes((folder / onnx_graph.MODEL).read_bytes())


def test_the_command_writes_a_folder_and_says_what(project):
    done = CliRunner().invoke(app, ["export", f"{TASK}@1", str(project / "out")])
    assert done.exit_code == 0, done.stderr
    assert "version 1: README.md, config.json, lineage.json, model.safetensors" in done.stderr
    again = CliRunner().invoke(app, ["export", TASK, str(project / "out")])
    assert "out is there already; take another name, or remove it" in again.stderr
    other = CliRunner().invoke(app, ["export", f"{TASK}@3", str(project / "other")])
    assert "no version 3 of changes; there is: 1" in other.stderr


def test_without_a_test_set_int8_is_not_judged(project, whole):
    bundle = registry.champion_bundle(TASK)
    with pytest.raises(StepError, match=r"no data/splits/none, by whose test set int8 is judged"):
        quantized.judge("none", bundle, whole[0], load())


def test_what_the_exporter_does_not_take_is_one_line(project, whole, monkeypatch):
    import torch

    class Odd(torch.nn.Module):
        def forward(self, *given: Any) -> Any:
            return given[0] if given[0].sum() > 3 else given[0].nonzero()

    monkeypatch.setattr(onnx_graph, "_positional", lambda model, names: Odd())
    with pytest.raises(StepError, match=r"torch\.onnx does not take this model") as error:
        onnx_graph.write(whole[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "family", "knobs", "said"),
    [
        ("classification", "bert", {}, "reads a mean over tokens; set `pooling: first`"),
        ("tokens", "bert", {"crf": True, "wide": True}, "set `crf: false`, `wide: false`"),
        ("tokens", "bert", {"dropped_layers": 1}, "set `dropped_layers: 0`"),
        ("tokens", "modernbert", {}, "base is of type modernbert"),
    ],
)
def test_what_cannot_be_exported_says_which_setting_would_let_it(
    tmp_path, kind, family, knobs, said
):
    bundle = bundled(tmp_path, make_family(family, tmp_path / family), kind, **knobs)
    assert not make_plain(bundle, 1.0)
    write_json(bundle / "bundle.json", {"type": kind, "strategy": "full", "loads_in": ["mlflow"]})
    assert said in exportable.lacks(bundle)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("classification", "strategy baseline has no network; take a recipe of strategy full with"),
        ("tokens", "strategy baseline has no network; take a recipe of strategy full"),
        ("question_answering", "transformers has no head that says what ours does"),
    ],
)
def test_what_is_no_network_is_no_export(tmp_path, kind, said):
    about = {"type": kind, "strategy": "baseline", "loads_in": ["mlflow"]}
    write_json(tmp_path / "bundle.json", about)
    assert said in exportable.lacks(tmp_path)


@pytest.mark.parametrize(
    ("family", "kind", "beams"), [("t5", "translation", 1), ("bart", "summarisation", 3)]
)
def test_what_writes_texts_writes_the_same_in_transformers(tmp_path, family, kind, beams):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    base = make_family(family, tmp_path / family)
    knobs = {"learning_rate": 1e-2, "epochs": 30, "batch_tokens": 256, "beams": beams}
    bundle = bundled(tmp_path, base, kind, **knobs)
    about = {"type": kind, "strategy": "full", "loads_in": ["mlflow"], "max_tokens": 64}
    write_json(bundle / "bundle.json", about)
    assert exportable.lacks(bundle) == ""
    texts = [*texts_of(kind, tmp_path), "view " * 200]
    ours = load_predictor(bundle).predictions(texts)
    (folder := tmp_path / "out").mkdir()
    exports.copy(bundle, folder)
    export_writer.settle(bundle, folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
    said = tokenizer.batch_decode(model.generate(**read), skip_special_tokens=True)
    assert [one.strip() for one in said] == [one.value for one in ours]
    assert len({one.value for one in ours}) > 1
