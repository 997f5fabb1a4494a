from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.preflight import preflight
from steps.core.params import Params
from tests.projects import overlay

SEARCH = {"trials": 2, "seed": 1, "knobs": {"epoch": {"low": 1, "high": 2}}}
DEMO = yaml.safe_load(Path("params.yaml").read_text())


def test_the_demo_is_in_order():
    assert preflight(Params.model_validate(DEMO)) == []


def test_an_adaptation_may_start_where_another_ends():
    tapt = DEMO["adaptations"]["dapt"] | {"start": "models/dapt"}
    change = {"adaptations": {"tapt": tapt}, "recipes": {"full": {"start": "models/tapt"}}}
    assert preflight(Params.model_validate(overlay(DEMO, change))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources": {"pydocs": {"path": "none/here"}}}, "sources.pydocs.path is 'none/here'"),
        ({"corpora": {"pydocs": {"reader": "rts"}}}, "no reader 'rts' (did you mean 'rst'?)"),
        (
            {"tasks": {"changes": {"reader": "rst"}}},
            "makes no classification; take: dataset, jsonl, parquet",
        ),
        ({"tasks": {"changes": {"options": {"txt": "a"}}}}, "changes.options: txt is not a key"),
        ({"corpora": {"pydocs": {"filters": ["gopher"]}}}, "did you mean 'gopher_quality'"),
        ({"corpora": {"pydocs": {"languages": ["xx"]}}}, "no language 'xx' can be identified"),
        (
            {"profile": {"start": "models/dpat"}},
            "profile.start is 'models/dpat'; expected a folder",
        ),
        (
            {"adaptations": {"dapt": {"start": "data/raw/minilm6"}}},
            "adaptations.dapt.start is 'data/raw/minilm6'; expected a folder",
        ),
        ({"tasks": {"changes": {"metric": "span_f1"}}}, "for classification take: accuracy, macro"),
        ({"tasks": {"changes": {"slices": ["lenght"]}}}, "did you mean 'length'"),
        ({"recipes": {"full": {"learning_rat": 1}}}, "recipes.full: learning_rat is not a key"),
        ({"recipes": {"full": {"start": "models/dpat"}}}, "one of: data/raw/minilm, data/raw/py"),
        (
            {
                "recipes": {
                    "full": {
                        "search": {
                            "trials": 2,
                            "seed": 1,
                            "knobs": {"epoch": {"low": 1, "high": 2}},
                        }
                    }
                }
            },
            "no knob (in recipes.full.search.knobs) 'epoch' (did you mean 'epochs'?)",
        ),
        (
            {"recipes": {"mine": {"strategy": "fewshot", "start": "models/dapt"}}},
            "'fewshot' tells nothing of words as task entities wants; name the tasks",
        ),
        ({"recipes": {"mine": {"strategy": "fulll", "start": "models/dapt"}}}, "mean 'full'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(change: dict[str, Any], said: str):
    mistakes = preflight(Params.model_validate(overlay(DEMO, change)))
    assert len(mistakes) == 1
    assert said in mistakes[0]
    assert "\n" not in mistakes[0]
