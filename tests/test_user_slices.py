"""Slices by what users keep of their records, and by what a tokenizer cannot spell."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from pipelines import facts
from pipelines.facts import Side
from pipelines.preflight import preflight
from pipelines.versions import Version
from steps import compare as stage_compare
from steps import ingest as stage_ingest
from steps import readers
from steps import split as stage_split
from steps.core.entry import StepError
from steps.core.files import digest, read_json, read_rows, write_json, write_rows
from steps.core.params import Params, SplitParams, load
from steps.core.tokenizer import read_tokenizer
from steps.corpora.cleaning import Rules
from steps.corpora.schemas import SCHEMAS
from steps.ingest import Plan, ingest
from steps.judge.load import read_references
from steps.judge.slices import KINDS, check_kind, places, slice_values
from steps.judge.unknown import named, read_by, unknown_share
from tests.projects import overlay
from tests.rivals import Rivals
from tests.test_readers import read
from tests.tiny import classified

COLUMNS = {"columns": {"region": "meta.region", "paid": "paid", "age": "age"}}
SAID = [
    {"meta": {"region": " North\tEast "}, "paid": True, "age": 3},
    {"meta": {"region": ""}, "paid": False, "age": 4.0},
    {"meta": {}, "paid": None, "age": 4.5},
    {"meta": {"region": ["a"]}, "paid": True, "age": None},
]
KEPT = [
    {"region": "North East", "paid": "true", "age": "3"},
    {"region": "unknown", "paid": "false", "age": "4"},
    {"region": "unknown", "paid": "unknown", "age": "4.5"},
    {"region": "unknown", "paid": "true", "age": "unknown"},
]
DEMO = yaml.safe_load(Path("params.yaml").read_text())


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFT_PROGRESS_BAR", "0")


def told(rows: list[dict[str, Any]] = SAID) -> list[dict[str, Any]]:
    return [{"text": f"a text {n}", "label": "x", **row} for n, row in enumerate(rows)]


def test_lines_of_json_keep_strings_numbers_and_truth_values(tmp_path: Path) -> None:
    lines = "".join(f"{json.dumps(row)}\n" for row in told())
    (tmp_path / "a.jsonl").write_text(lines)
    assert [row["columns"] for row in read("jsonl", tmp_path, **COLUMNS)] == KEPT
    assert all("columns" not in row for row in read("jsonl", tmp_path))


def test_a_table_keeps_the_cells_of_columns_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,region,paid\none, North  East,true\ntwo,,false\n")
    wanted = {"region": "region", "paid": "paid"}
    found = read("table", tmp_path, columns=wanted)
    assert [row["columns"] for row in found] == [
        {"region": "North East", "paid": "true"},
        {"region": "unknown", "paid": "false"},
    ]
    with pytest.raises(StepError, match=r"options\.columns\.region\) 'regoin' \(did you mean"):
        read("table", tmp_path, columns={"region": "regoin"})
    (tmp_path / "a.csv").write_text("one,x\n")
    found = read("table", tmp_path, header=False, text=1, columns={"region": 2})
    assert found[0]["columns"] == {"region": "x"}


def test_parquet_and_data_sets_keep_columns_too(tmp_path: Path) -> None:
    flat = [{**row, "meta": {"region": row["meta"].get("region")}} for row in told(SAID[:3])]
    table = pa.Table.from_pylist(flat)
    pq.write_table(table, tmp_path / "a.parquet")
    assert [row["columns"] for row in read("parquet", tmp_path, **COLUMNS)] == KEPT[:3]
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as stream:
        stream.write_table(table)
    assert [row["columns"] for row in read("dataset", tmp_path, **COLUMNS)] == KEPT[:3]
    with pytest.raises(StepError, match=r"options\.columns\.region"):
        read("parquet", tmp_path, columns={"region": "mata.region"})


def test_no_documents_have_columns(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"law\.options\.columns: columns are kept with a task's"):
        readers.options("jsonl", COLUMNS, "corpora.law.options", "documents")
    conll = readers.options("conll", {"columns": ["word", "tag"]}, "here", "tokens")
    assert readers.kept_columns(conll) == []


class Made:
    """Notes that were ingested and split with some options."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]], **options: Any) -> None:
        (folder / "raw").mkdir(parents=True)
        (folder / "raw/a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        checked = readers.options("jsonl", options, "test", "classification")
        rules = Rules(False, (), 1, 20, 0.0, (), False)
        plan = Plan("classification", "jsonl", checked, False, rules, 1.0)
        self.folder, self.ledger = folder, ingest(plan, folder / "raw", folder / "made")
        self.kept = read_rows(folder / "made" / stage_ingest.folder(plan.kind))

    def split(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        wanted = SplitParams(given=False, train=12, validation=6, test=12, seed=1)
        task = load().tasks["changes"].model_copy(update={"split": wanted})
        small = load().model_copy(update={"tasks": {"t": task}})
        monkeypatch.setattr(stage_split.params, "load", lambda: small)
        stage_split.main("t", self.folder / "made", self.folder / "split")
        return read_rows(self.folder / "split/test.parquet")


def notes() -> list[dict[str, Any]]:
    rows = [{**row, "region": f"r{n % 3}"} for n, row in enumerate(classified(60))]
    return [*rows, rows[0] | {"region": "elsewhere"}, rows[1] | {"label": "other"}]


def test_columns_travel_to_the_splits_and_change_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Made(tmp_path / "plain", notes())
    kept = Made(tmp_path / "kept", notes(), columns={"region": "region", "no": "no"})
    assert plain.ledger == kept.ledger
    assert (plain.ledger["duplicates"], plain.ledger["conflicts"]) == (1, 1)
    assert list(plain.kept[0]) == SCHEMAS["classification"].names
    assert [without(row) for row in kept.kept] == plain.kept
    assert kept.kept[0]["columns"] == {"no": "unknown", "region": "r0"}  # of copies the first one's
    tests = plain.split(monkeypatch), kept.split(monkeypatch)
    assert [without(row) for row in tests[1]] == tests[0]
    assert {row["columns"]["region"] for row in tests[1]} <= {"r0", "r1", "r2"}
    for name in ("task.json", "train.parquet", "validation.parquet"):  # what training depends on
        assert digest(tmp_path / "plain/split" / name) == digest(tmp_path / "kept/split" / name)


def without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "columns"}


def test_a_slice_may_be_of_a_column_and_small_ones_are_left_out() -> None:
    regions = ["north"] * 3 + ["south"] * 2 + ["unknown"]
    examples = [{"source": "s", "columns": {"region": region}} for region in regions]
    assert places(examples, ["source", "region"], 2) == {
        "source": {"s": [0, 1, 2, 3, 4, 5]},
        "region": {"north": [0, 1, 2], "south": [3, 4]},
    }


def test_a_slice_that_is_neither_a_kind_nor_a_column_is_told_both() -> None:
    example = {"source": "s", "columns": {"region": "north", "source": "web"}}
    known = [*KINDS, "region"]
    with pytest.raises(StepError, match="did you mean 'region'") as said:
        slice_values(example, "regoin")
    assert all(name in str(said.value) for name in known)
    with pytest.raises(StepError, match="did you mean 'region'") as said:
        check_kind("regoin", "pairs", "tasks.t.slices", ["region"])
    assert all(name in str(said.value) for name in known)
    for refuse in (
        lambda: slice_values(example, "source"),
        lambda: check_kind("source", "pairs", "tasks.t.slices", ["source"]),
    ):
        with pytest.raises(StepError, match="'source' is a kind of slice, and a column"):
            refuse()


@pytest.mark.parametrize(
    ("columns", "slices", "said"),
    [
        ({"region": "meta.region"}, ["source", "region", "unknown_tokens"], None),
        ({"region": "meta.region"}, ["regoin"], "did you mean 'region'"),
        ({"length": "meta.length"}, ["length"], "'length' is a kind of slice, and a column"),
        ({"region": ""}, ["source"], "columns.region is ''"),
        (["region"], ["region"], "columns is ['region']; input should be a valid dict"),
    ],
)
def test_columns_are_checked_before_a_run(columns: Any, slices: list[str], said: str) -> None:
    task = {"reader": "jsonl", "options": {"columns": columns}, "slices": slices}
    found = preflight(Params.model_validate(overlay(DEMO, {"tasks": {"changes": task}})))
    assert not found if said is None else any(said in line for line in found), found


def test_a_corpus_that_keeps_columns_is_told_so_before_a_run() -> None:
    corpus = {"reader": "jsonl", "options": {"columns": {"region": "region"}}}
    (line,) = preflight(Params.model_validate(overlay(DEMO, {"corpora": {"pydocs": corpus}})))
    assert "corpora.pydocs.options.columns: columns are kept with a task's examples" in line


def make_tokenizer(folder: Path) -> Path:
    """Write a tokenizer that knows five words and nothing else."""
    words = ["[UNK]", *["the", "cache", "of", "a", "page"]]
    tokenizer = Tokenizer(
        models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(
    ("share", "name"), [(0.0, "none"), (0.01, "some"), (0.05, "some"), (0.051, "many")]
)
def test_unknown_words_are_none_some_or_many(share: float, name: str) -> None:
    assert named(share) == name


def test_a_word_is_unknown_if_any_part_of_it_is(tmp_path: Path) -> None:
    tokenizer, unknown = read_tokenizer(make_tokenizer(tmp_path))
    assert unknown_share("the cache of a page", tokenizer, unknown) == 0
    assert unknown_share("the caché, a ☃ page", tokenizer, unknown) == pytest.approx(3 / 6)
    assert unknown_share("", tokenizer, unknown) == 0


def test_a_tokenizer_of_bytes_spells_every_word(tmp_path: Path) -> None:
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert unknown_share("the caché, a ☃ page", *read_tokenizer(tmp_path)) == 0


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two rivals on examples of which each third has a word that the base cannot spell."""
    rivals = Rivals(tmp_path, "classification", items=60)
    rivals.add("baseline", 0.3)
    rivals.add("full", 0.6)
    for part, rows in rivals.rows.items():
        for place, row in enumerate(rows):
            row["text"] = f"the cache of a page {'☃' * (place % 3 == 0)}"
        file = tmp_path / f"data/splits/toy/{part}.parquet"
        write_rows(file, rows, pq.read_schema(file))
    make_tokenizer(tmp_path / "base")
    task = DEMO["tasks"]["changes"] | {"slices": ["unknown_tokens"]}
    recipe = {"strategy": "full", "start": "base"}
    change = {"tasks": {"toy": task}, "recipes": dict.fromkeys(("baseline", "full"), recipe)}
    raw = DEMO | change | {"profile": {"start": str(tmp_path / "base")}}
    raw["judge"] = raw["judge"] | {"resamples": 200}
    monkeypatch.setattr(stage_compare, "load", lambda: Params.model_validate(raw))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_compare() -> dict[str, Any]:
    write_json(Path("data/profiles/overlap/overlap.json"), {"overlap": {}})
    folders = (Path("data"), Path("predictions/toy"), Path("metrics"))
    stage_compare.main("toy", *folders, Path("out"), Path("small.json"))
    found: dict[str, Any] = read_json(Path("out/comparison.json"))
    return found


def test_the_stage_reads_the_test_texts_by_the_profiles_tokenizer(room: Path) -> None:
    found = run_compare()
    rows = {(row["kind"], row["slice"]): row["items"] for row in found["slices"]}
    assert rows == {("unknown_tokens", "many"): 20, ("unknown_tokens", "none"): 40}
    assert found["candidates"]["full"]["slices"]["unknown_tokens"].keys() == {"many", "none"}


def test_a_tokenizer_that_is_not_there_is_one_line_and_is_looked_for_only_when_asked(
    room: Path,
) -> None:
    (room / "base/tokenizer.json").unlink()
    with pytest.raises(StepError, match=r"no tokenizer\.json in .*base"):
        run_compare()
    references = read_references(Path("data/splits/toy"), "test")
    assert read_by(references, ["source", "length"], room / "base") is references
    with pytest.raises(StepError, match="a tokenizer has read"):
        slice_values(references.examples[0], "unknown_tokens")


def test_the_gate_reads_the_test_texts_by_it_too(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_compare()
    fields = dict.fromkeys(Version.__dataclass_fields__, "") | {"task": "toy", "seed": 1}
    sides = []
    for name in ("full", "baseline"):
        folder = room / "predictions/toy" / name
        write_json(folder / "comparison.json", read_json(Path("out/comparison.json")))
        write_json(folder / "validation.json", {"success": True})
        sides.append(Side(Version(**fields | {"recipe": name, "number": 1}), room, folder))
    known = facts.gather(stage_compare.load(), *sides)
    assert known.slices.keys() == {"unknown_tokens many", "unknown_tokens none"}
