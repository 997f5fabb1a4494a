"""The stage `gather`: what an adaptation reads, and what it must never read."""

import random
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from steps import gather as stage
from steps.core.entry import StepError
from steps.core.files import digest, read_json, read_rows, write_rows
from steps.core.params import load
from steps.corpora import nearest as library
from steps.corpora.nearest import nearest
from steps.corpora.schemas import SCHEMAS

PARAMS = yaml.safe_load(Path("params.yaml").read_text())
TEXT = {"corpora": {}, "tasks": {}, "replay": {}, "nearest": 0, "new_tokens": 0}
SYLLABLES = [
    "".join(s) for s in product(("ba", "do", "ki", "lu", "me", "no", "ru", "ta"), repeat=3)
]
FIELDS = {"plants": SYLLABLES[:150], "stones": SYLLABLES[150:300], "general": SYLLABLES[300:]}


def sentence(chance: random.Random, words: list[str], length: int) -> str:
    return " ".join(chance.choice(words) for _ in range(length))


def documents(name: str, count: int, length: int = 30, seed: int = 0) -> list[dict[str, str]]:
    chance = random.Random(f"{name} {seed}")
    texts = [
        sentence(chance, FIELDS[name], chance.randint(5, 2 * length - 5)) for _ in range(count)
    ]
    return [
        {"id": f"{name}-{n}", "source": name, "group": f"g{n}", "text": text, "language": "en"}
        for n, text in enumerate(texts)
    ]


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three corpora, the first in two shards, and two tasks of one field."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("plants", 80), ("stones", 200), ("general", 50)):
        rows = documents(name, count)
        halves = [rows[: count // 2], rows[count // 2 :]] if name == "plants" else [rows]
        for n, half in enumerate(halves):
            put(f"data/clean/{name}/documents/part-{n:05}.parquet", half, "documents")
    for task in ("changes", "entities"):
        chance = random.Random(task)
        for part in ("train", "validation", "test"):
            texts = [sentence(chance, FIELDS["plants"], 12) for _ in range(30)]
            split(task, part, texts)
    return tmp_path


def put(path: str, rows: list[dict[str, Any]], kind: str) -> None:
    write_rows(Path(path), rows, SCHEMAS[kind])


def split(task: str, part: str, texts: list[str]) -> None:
    rows = [
        {"id": f"{part}-{n}", "source": "s", "group": f"{part}{n}", "text": text}
        for n, text in enumerate(texts)
    ]
    labelled = [row | {"label": "fix", "split": "", "language": ""} for row in rows]
    put(f"data/splits/{task}/{part}.parquet", labelled, "classification")


def texts(folder: Path | str) -> list[str]:
    return [row["text"] for row in read_rows(Path(folder))]


def run(name: str = "dapt", **adaptations: dict[str, Any]) -> dict[str, Any]:
    """Run the stage for one of some adaptations, each given as its text and what else differs."""
    base = PARAMS["adaptations"]["dapt"]
    made = {}
    for one, given in adaptations.items():
        of, seed = given.pop("control_of", None), given.pop("seed", 3)
        made[one] = base | {"text": TEXT | given, "control_of": of, "seed": seed}
    params = PARAMS | {
        "corpora": dict.fromkeys(FIELDS, PARAMS["corpora"]["pydocs"]),
        "adaptations": made,
    }
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    load.cache_clear()
    out = Path("data/texts") / name
    stage.main(name, Path("data/clean"), Path("data/splits"), out)
    load.cache_clear()
    return {part["part"]: part for part in read_json(out / "text.json")["parts"]}


def test_shares_are_of_one_and_words_are_counted(field: Path) -> None:
    mixed = {"corpora": {"stones": 3.0, "plants": 1}, "tasks": {"changes": 2}}
    parts = run(dapt=mixed | {"replay": {"general": 2.0}})
    assert list(parts) == ["corpora/stones", "corpora/plants", "tasks/changes", "replay/general"]
    assert [part["share"] for part in parts.values()] == [0.375, 0.125, 0.25, 0.25]
    for name, part in parts.items():
        found = texts(f"data/texts/dapt/{name}")
        words = sum(len(text.split()) for text in found)
        assert (part["documents"], part["words"]) == (len(found), words)


def test_replay_of_share_0_is_only_measured(field: Path) -> None:
    parts = run(dapt={"corpora": {"plants": 4.0}, "replay": {"general": 0}})
    assert [part["share"] for part in parts.values()] == [1.0, 0.0]
    assert len(texts("data/texts/dapt/replay/general")) == 50


def test_a_whole_corpus_is_copied_byte_for_byte(field: Path) -> None:
    run(dapt={"corpora": {"plants": 1.0}, "replay": {"general": 1.0}})
    for part in ("corpora/plants", "replay/general"):
        source = Path("data/clean") / Path(part).name / "documents"
        assert digest(Path("data/texts/dapt") / part) == digest(source)
    assert len(list(Path("data/texts/dapt/corpora/plants").iterdir())) == 2


def test_of_a_task_only_training_texts_that_no_task_holds_out_are_read(field: Path) -> None:
    chance = random.Random(9)
    own, other, near, clean = (sentence(chance, FIELDS["plants"], 12) for _ in range(4))
    for task, part, text in (("changes", "validation", own), ("entities", "test", other)):
        split(task, part, [*texts(f"data/splits/{task}/{part}.parquet"), text])
    split("entities", "validation", [near])
    inside = f"{sentence(chance, FIELDS['plants'], 9)} {other}"
    words = near.split()
    split(
        "changes", "train", [own, clean, f" {other.upper()}!", inside, " ".join(words[:-1]), clean]
    )
    parts = run(dapt={"tasks": {"changes": 1.0}})
    assert texts("data/texts/dapt/tasks/changes") == [clean]
    assert parts["tasks/changes"]["documents"] == 1
    dropped = read_json(Path("data/texts/dapt/text.json"))["dropped"]
    assert dropped == {"tasks/changes": {"overlap": 4, "repeated": 1}}
    (row,) = read_rows(Path("data/texts/dapt/tasks/changes"))
    assert (row["id"], row["source"], row["group"]) == ("train-1", "s", "train1")
    assert set(row) == {"id", "source", "group", "text"}


def test_nothing_but_training_texts_is_read_of_a_task(field: Path) -> None:
    run(dapt={"tasks": {"changes": 1.0, "entities": 1.0}})
    for task in ("changes", "entities"):
        assert texts(f"data/texts/dapt/tasks/{task}") == texts(f"data/splits/{task}/train.parquet")


def test_a_task_whose_texts_are_all_held_out_is_an_error(field: Path) -> None:
    split("changes", "train", texts("data/splits/entities/test.parquet"))
    with pytest.raises(StepError, match="all of its 30 training texts overlap"):
        run(dapt={"tasks": {"changes": 1.0}})
    assert not list(Path("data/texts").iterdir())


def test_a_corpus_that_was_not_made_is_one_line(field: Path) -> None:
    (field / "data/clean/plants").rename(field / "data/clean/weeds")
    with pytest.raises(StepError, match=r"no data/clean/plants/documents; run `dvc repro`"):
        run(dapt={"corpora": {"plants": 1.0}})


def test_the_nearest_are_the_documents_that_were_planted(field: Path) -> None:
    wanted = texts("data/splits/changes/train.parquet")[:5]
    split("changes", "train", wanted)
    rows = documents("stones", 200)
    chance = random.Random(2)
    for place, text in zip((3, 50, 51, 120, 199), wanted, strict=True):
        around = [sentence(chance, FIELDS["stones"], 150) for _ in range(2)]
        rows[place]["text"] = f"{around[0]}\n\n{text}\n\n{around[1]}"
    put("data/clean/stones/documents/part-00000.parquet", rows, "documents")
    both = {"corpora": {"general": 1.0, "stones": 1.0}, "tasks": {"changes": 2.0}}
    parts = run(dapt=both | {"nearest": 1})
    found = read_rows(Path("data/texts/dapt/corpora/stones"))
    assert [row["id"] for row in found] == [f"stones-{n}" for n in (3, 50, 51, 120, 199)]
    assert found[0] == rows[3]
    assert [part["share"] for part in parts.values()] == pytest.approx([1 / 3, 2 / 3])
    assert list(parts) == ["corpora/stones", "tasks/changes"]  # no general document is near


def pool(batch: int, rows: list[str]) -> Any:
    return lambda: (rows[at : at + batch] for at in range(0, len(rows), batch))


def test_the_nearest_are_the_same_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row["text"] for row in documents("plants", 60, 150)] + [""]
    wanted = [row["text"] for row in documents("plants", 7, 8, seed=1)]
    found = [nearest(wanted, pool(batch, rows), len(rows), 3) for batch in (1, 7, 100)]
    monkeypatch.setattr(library, "CELLS", 20)
    found.append(nearest(wanted, pool(100, rows), len(rows), 3))
    assert 3 < len(found[0]) <= 21
    assert all(one.tolist() == found[0].tolist() for one in found)


def test_of_documents_equally_near_the_first_is_taken() -> None:
    rows = ["leaf root", "stone", "root leaf", "leaf root"]
    assert nearest(["leaf root"], pool(2, rows), 4, 1).tolist() == [0]
    assert nearest(["leaf root"], pool(2, rows), 4, 2).tolist() == [0, 2]


def test_what_shares_no_word_is_not_near() -> None:
    assert nearest(["leaf"], pool(2, ["stone", "leaf", "sand"]), 3, 3).tolist() == [1]


def test_a_control_has_no_more_words_than_its_original(field: Path) -> None:
    pair = {
        "dapt": {"corpora": {"plants": 1.0}},
        "control": {"corpora": {"stones": 3.0, "general": 1.0}, "control_of": "dapt"},
    }
    parts = run("control", **pair)
    limit = sum(len(text.split()) for text in texts("data/clean/plants/documents"))
    stones, general, domain = parts.values()
    assert 0.95 * limit < stones["words"] + general["words"] <= limit
    assert stones["words"] == pytest.approx(3 * general["words"], rel=0.1)
    assert domain == {"part": "domain/plants", "share": 0.0, "documents": 80, "words": limit}
    folder = Path("data/texts/control")
    assert digest(folder / "domain/plants") == digest(Path("data/clean/plants/documents"))
    kept = texts(folder / "corpora/stones")
    whole = texts("data/clean/stones/documents")
    assert kept == [text for text in whole if text in set(kept)]  # in their order
    assert sorted(path.name for path in folder.iterdir()) == ["corpora", "domain", "text.json"]
    assert read_json(folder / "text.json")["control_of"] == "dapt"


def test_what_a_control_keeps_depends_on_the_seed_alone(field: Path) -> None:
    def kept(seed: int) -> str:
        own = {"corpora": {"stones": 1.0}, "control_of": "dapt", "seed": seed}
        run("control", dapt={"corpora": {"plants": 1.0}, "seed": seed}, control=own)
        return digest(Path("data/texts/control"))

    assert kept(3) == kept(3) != kept(4)


def test_what_one_part_of_a_control_lacks_another_has(field: Path) -> None:
    parts = run(
        "control",
        dapt={"corpora": {"plants": 1.0}},
        control={"corpora": {"stones": 1.0, "general": 9.0}, "control_of": "dapt"},
    )
    stones, general, domain = parts.values()
    assert general["documents"] == 50
    assert 0.95 * domain["words"] < stones["words"] + general["words"] <= domain["words"]


def test_a_control_with_too_little_text_says_so(
    field: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"dapt": {"corpora": {"stones": 1.0}}}
    parts = run("control", **pair, control={"corpora": {"general": 1.0}, "control_of": "dapt"})
    times = parts["domain/stones"]["words"] / parts["corpora/general"]["words"]
    said = capsys.readouterr().out.splitlines()[0]
    assert f"its text will be read {times:.1f} times over" in said
    assert digest(Path("data/texts/control/corpora/general")) == digest(
        Path("data/clean/general/documents")
    )


def test_a_control_is_measured_on_its_originals_tasks_and_replays_no_more(field: Path) -> None:
    original = {"corpora": {"plants": 1.0}, "tasks": {"changes": 1.0}, "replay": {"general": 1.0}}
    own = {"corpora": {"general": 1.0}, "tasks": {"entities": 1.0}, "replay": {"stones": 1.0}}
    parts = run("control", dapt=original, control=own | {"control_of": "dapt"})
    assert list(parts) == [
        *("corpora/general", "tasks/entities", "replay/stones"),
        *("domain/plants", "domain/changes"),
    ]
    words = [part["words"] for part in parts.values()]
    assert words[0] + words[1] <= words[3] + words[4]
    general = sum(len(text.split()) for text in texts("data/clean/general/documents"))
    assert 0.9 * general < words[2] <= general
    assert texts("data/texts/control/domain/changes") == texts("data/splits/changes/train.parquet")


def test_a_control_is_not_measured_apart_on_what_it_reads_itself(field: Path) -> None:
    original = {"corpora": {"plants": 1.0}, "tasks": {"changes": 1.0}}
    own = {"corpora": {"stones": 1.0}, "tasks": {"changes": 1.0}}
    parts = run("control", dapt=original, control=own | {"control_of": "dapt"})
    assert list(parts) == ["corpora/stones", "tasks/changes", "domain/plants"]


def test_a_control_whose_documents_are_all_too_long_is_an_error(field: Path) -> None:
    rows = documents("plants", 1, 5)
    put("data/clean/plants/documents/part-00000.parquet", rows, "documents")
    put("data/clean/plants/documents/part-00001.parquet", [], "documents")
    put("data/clean/stones/documents/part-00000.parquet", documents("stones", 3, 900), "documents")
    own = {"corpora": {"stones": 1.0}, "control_of": "dapt"}
    with pytest.raises(StepError, match="none of its 3 documents is as short as the 5 words"):
        run("control", dapt={"corpora": {"plants": 1.0}}, control=own)


def test_text_has_the_columns_that_packing_needs(field: Path) -> None:
    run(dapt={"corpora": {"plants": 1.0}, "tasks": {"changes": 1.0}})
    for part in ("corpora/plants", "tasks/changes"):
        rows = read_rows(Path("data/texts/dapt") / part)
        schema = pa.Table.from_pylist(rows).schema
        assert {schema.field(name).type for name in stage.COLUMNS} == {pa.string()}
