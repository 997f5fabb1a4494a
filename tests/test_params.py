from pathlib import Path

import pytest
import yaml

from steps.core.entry import StepError
from steps.core.params import load

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


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("tasks.changes.split.trian", 3, "tasks.changes.split.trian is not a key (did you mean"),
        ("adaptations.dapt.mask_rat", 0.2, "adaptations.dapt.mask_rat is not a key (did you mean"),
        ("pack.block_tokens", 2, "pack.block_tokens is 2; input should be greater than or equal"),
        ("seeds", [], "seeds is []"),
        ("adaptations.dapt.corpus", "pydoc", "no corpus (in"),
        ("tasks.changes.source", "pydocz", "did you mean 'pydocs'"),
        ("gate.baseline", "base", "no recipe (in"),
    ],
)
def test_a_mistake_in_params_is_one_line_that_names_it(tmp_path, where, value, said):
    with pytest.raises(StepError) as error:
        load(write(tmp_path, where, value))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


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
