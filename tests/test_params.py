from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.core.entry import StepError
from steps.core.params import Params, load
from tests.projects import overlay

PARAMS = yaml.safe_load(Path("params.yaml").read_text())


def write(folder: Path, where: str, value: object) -> Path:
    params = yaml.safe_load(yaml.safe_dump(PARAMS))
    *above, key = where.split(".")
    section = params
    for name in above:
        section = section[name]
    section[key] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


def test_the_demo_is_valid():
    assert set(load(Path("params.yaml")).tasks) == {"entities", "changes"}


def test_the_longer_run_is_valid_and_has_a_control(tmp_path):
    longer = yaml.safe_load(Path("infra/demo/longer.yaml").read_text())
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(overlay(PARAMS, longer)))
    assert load(path).adaptations["control"].control_of == "dapt"


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("tasks.changes.split.trian", 3, "tasks.changes.split.trian is not a key (did you mean"),
        ("adaptations.dapt.mask_rat", 0.2, "adaptations.dapt.mask_rat is not a key (did you mean"),
        ("pack.block_tokens", 2, "pack.block_tokens is 2; input should be greater than or equal"),
        ("seeds", [], "seeds is []"),
        ("adaptations.dapt.text.corpora", {"pydoc": 1}, "no corpus (in"),
        ("adaptations.dapt.text.corpora", {"pydocs": 0}, "pydocs is 0; input should be greater"),
        ("adaptations.dapt.text.corpora", {}, "no part has a share above 0"),
        ("adaptations.dapt.text.tasks", {"entity": 1}, "no task (in"),
        ("adaptations.dapt.text.replay", {"pydoc": 1}, "did you mean 'pydocs'"),
        ("adaptations.dapt.text.replay", {"pydocs": 0}, "pydocs is in corpora and in replay"),
        ("adaptations.dapt.text.nearest", 5, "dapt.text.nearest is 5: documents of corpora that"),
        ("adaptations.dapt.start", "models/dpat", "no adaptation (in"),
        ("adaptations.dapt.start", "models/dapt", "makes a circle: dapt <- dapt"),
        ("adaptations.dapt.control_of", "dpat", "no adaptation (in"),
        ("adaptations.dapt.control_of", "dapt", "control_of is 'dapt', a control itself"),
        ("tasks.changes.source", "pydocz", "did you mean 'pydocs'"),
        ("gate.baseline", "base", "no recipe (in"),
        ("gate.minimum", {"entitles": 0.1}, "gate.minimum) 'entitles' (did you mean 'entities'?)"),
        ("gate.max_ece", 1.5, "gate.max_ece is 1.5; input should be less than or equal to 1"),
        ("gate.inconclusive", "move", "gate.inconclusive is 'move'; input should be 'keep' or"),
        ("tasks.changes.learning.recipe", "base", "no recipe (in"),
        ("tasks.changes.learning.recipe", "tagger", "is 'tagger', which is for entities"),
        ("tasks.changes.learning.labels", [0], "labels.0 is 0; input should be greater than"),
        (
            "recipes.baseline.start",
            "candidates/changes/full",
            "changes.learning.recipe is 'baseline', which starts at candidates/changes/full, a",
        ),
    ],
)
def test_a_mistake_in_params_is_one_line_that_names_it(tmp_path, where, value, said):
    with pytest.raises(StepError) as error:
        load(write(tmp_path, where, value))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


TEXT = PARAMS["adaptations"]["dapt"]["text"]


def load_two(folder: Path, first: dict[str, Any], second: dict[str, Any]) -> Params:
    """Read the demo with `first` laid over dapt, and with a twin that differs by `second`."""
    dapt = PARAMS["adaptations"]["dapt"] | first
    return load(write(folder, "adaptations", {"dapt": dapt, "twin": dapt | second}))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({}, {"seed": 4}, "twin.seed is 4, but 3 in dapt, whose control it is; make them"),
        ({"start": "models/twin"}, {"start": "models/dapt"}, "circle: dapt <- twin <- dapt"),
        ({"control_of": "twin"}, {}, "control_of is 'twin', a control itself; name an original"),
        (
            {"text": TEXT | {"corpora": {}, "tasks": {"changes": 1}, "replay": {"pydocs": 1}}},
            {"text": TEXT},
            "twin.text.replay: only its original trains on replay",
        ),
    ],
)
def test_a_control_is_its_originals_twin(tmp_path, first, second, said):
    with pytest.raises(StepError) as error:
        load_two(tmp_path, first, {"control_of": "dapt"} | second)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", [{"control_of": "dapt"}, {"start": "models/dapt", "seed": 4}])
def test_a_control_or_what_goes_on_from_another_may_read_other_text(tmp_path, other):
    text = TEXT | {"corpora": {}, "tasks": {"changes": 1}}
    found = load_two(tmp_path, {}, other | {"text": text}).adaptations["twin"]
    assert {key: getattr(found, key) for key in other} == other
    assert found.text.tasks == {"changes": 1}


def test_a_corpus_and_a_task_of_one_name_cannot_both_be_measured_by_a_control(tmp_path):
    params = yaml.safe_load(yaml.safe_dump(PARAMS))
    params["corpora"]["changes"] = params["corpora"]["pydocs"]
    dapt = params["adaptations"]["dapt"]
    dapt["text"] = TEXT | {"corpora": {"changes": 1}, "tasks": {"changes": 1}}
    params["adaptations"]["control"] = dapt | {"control_of": "dapt", "text": TEXT}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(StepError, match="a corpus and a task which are both named changes"):
        load(path)


def test_a_missing_section_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in PARAMS.items() if k != "gate"}))
    with pytest.raises(StepError, match="gate is missing"):
        load(path)


def test_a_file_that_is_no_yaml_is_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: [1,\nb: }")
    with pytest.raises(StepError, match="is not YAML"):
        load(path)
