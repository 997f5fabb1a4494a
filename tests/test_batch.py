"""Files in, files with predictions out: in each format, after each kind of kill, and in S3."""

import csv
import gzip
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from pipelines import batch, batch_input, batch_output, registry
from pipelines.batch_output import Parts
from pipelines.cli import app
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.params import load
from steps.transfer import checkpoints
from steps.transfer.checkpoints import load_predictor
from tests.forked import PRELOAD
from tests.tiny import EXAMPLES, classified
from tests.tiny_project import TASK

ROWS = 8  # of a chunk here
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(PRELOAD)
Champion = tuple[Version, tuple[Path, Path]]


@pytest.fixture
def project(champion: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The champion's project to stand in, with small chunks; OUT goes elsewhere."""
    monkeypatch.chdir(champion)
    monkeypatch.setattr(batch_input, "ROWS", ROWS)
    load.cache_clear()
    yield tmp_path
    assert not [path for path in batch.ROOM.glob("*") if path.is_dir()]


def rows(count: int = 30) -> list[dict[str, Any]]:
    """Rows of several lengths, with columns of several kinds."""
    return [
        {
            "id": f"r{n:03}",
            "text": row["text"] + " crash" * (n % 5),
            "n": n,
            "tags": ["a", str(n)] if n % 3 else [],
            "more": {"x": n / 2},
        }
        for n, row in enumerate(classified(count))
    ]


def write_jsonl(path: Path, given: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected(given: list[dict[str, Any]]) -> list[str]:
    said = load_predictor(registry.champion_bundle(TASK)).predict(given)
    return [one["label"] for one in said]


def predict(source: Path | str, out: Path | str, **more: Any) -> batch.Done:
    return batch.predict(TASK, str(source), str(out), **{"which": "champion"} | more)


def test_rows_keep_their_order_and_all_their_columns(project):
    given = rows()
    done = predict(write_jsonl(project / "in.jsonl", given), project / "out.jsonl")
    found = read_jsonl(project / "out.jsonl")
    assert (done.rows, done.rejected, done.version) == (30, 0, 1)
    assert [{name: row[name] for name in given[0]} for row in found] == given
    assert [row["label"] for row in found] == expected(given)
    assert set(found[0]["probabilities"]) == {"doc", "feature", "fix"}
    assert not (project / "out.jsonl.rejected.jsonl").exists()


@pytest.mark.parametrize("end", [".jsonl", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.zst"])
def test_each_format_comes_in_and_goes_out(project, end):
    """What is written in a format is read in it, too: with other names, it comes out again."""
    given = rows(20)
    first = predict(write_jsonl(project / "in.jsonl", given), project / f"one{end}")
    again = predict(project / f"one{end}", project / "two.jsonl", prefix="again_")
    found = read_jsonl(project / "two.jsonl")
    assert first.rows == again.rows == 20
    assert [row["again_label"] for row in found] == expected(given)
    assert [row["label"] for row in found] == expected(given)
    assert [str(row["n"]) for row in found] == [str(row["n"]) for row in given]
    if "parquet" in end:
        assert found[1]["tags"] == ["a", "1"]
        assert found[3]["more"] == {"x": 1.5}


def test_csv_has_json_in_its_cells_and_names_once(project):
    predict(write_jsonl(project / "in.jsonl", rows(20)), project / "out.csv")
    with (project / "out.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == 20
    assert json.loads(found[4]["tags"]) == ["a", "4"]
    assert sum(json.loads(found[4]["probabilities"]).values()) == pytest.approx(1)


def test_parquet_keeps_its_types(project):
    kinds = {"text": pa.string(), "at": pa.timestamp("ns"), "few": pa.int8(), "raw": pa.binary()}
    columns = [
        pa.array(values, kind)
        for values, kind in zip(
            (["a crash", "documentation"], [1, 2], [3, None], [b"\0", b"x"]),
            kinds.values(),
            strict=True,
        )
    ]
    table = pa.table(dict(zip(kinds, columns, strict=True)))
    pq.write_table(table, project / "in.parquet")
    predict(project / "in.parquet", project / "out.parquet")
    found = pq.read_table(project / "out.parquet")
    assert found.select(list(kinds)).equals(table)
    assert found.schema.field("probabilities").type.num_fields == 3


def test_a_column_of_two_kinds_becomes_one_of_texts(project):
    given = [{"text": "a crash", "x": n if n < 9 else f"n{n}"} for n in range(20)]
    predict(write_jsonl(project / "in.jsonl", given), project / "out.parquet")
    found = pq.read_table(project / "out.parquet").column("x").to_pylist()
    assert found == [str(row["x"]) for row in given]


def test_a_folder_of_shards_becomes_a_folder_of_shards(project):
    given = rows(30)
    (project / "in").mkdir()
    for number in range(3):
        part = pa.Table.from_pylist(given[10 * number : 10 * number + 10])
        pq.write_table(part, project / f"in/{number}.parquet")
    predict(project / "in", project / "out")
    assert [path.name for path in sorted((project / "out").iterdir())] == [
        f"part-{number:06}.parquet" for number in range(6)
    ]
    found = pq.read_table(project / "out").to_pylist()
    assert [row["id"] for row in found] == [row["id"] for row in given]
    assert [row["label"] for row in found] == expected(given)


BAD = {
    '{"id": 1}': "no_text",
    '{"text": null}': "no_text",
    '{"text": "  "}': "no_text",
    '{"text": 3}': "text_is_int",
    '{"text": ["a"]}': "text_is_list",
    "{": "not_json",
    "[]": "not_an_object",
    '{"text": "a", "text": "b"}': "duplicated_key",
    '{"text": "\\ud83d"}': "half_a_character",
}


def test_what_cannot_be_predicted_is_listed_with_place_and_reason(project):
    lines = [line for bad in BAD for line in (bad, '{"text": "a crash"}', "")]
    (project / "in.jsonl").write_text("\n".join(lines))
    done = predict(project / "in.jsonl", project / "out.jsonl")
    assert (done.rows, done.rejected) == (len(BAD), len(BAD))
    found = read_jsonl(Path(done.rejected_at))
    assert [row["reason"] for row in found] == list(BAD.values())
    assert [row["place"] for row in found] == [f"in.jsonl:{3 * n + 1}" for n in range(len(BAD))]


def test_rows_of_a_table_are_rejected_one_by_one(project):
    (project / "in.csv").write_text('text,n\na crash,1\n"",2\ntoo,many,cells\na "crash,4\n')
    predict(project / "in.csv", project / "out.csv")
    reasons = [row["reason"] for row in read_jsonl(project / "out.csv.rejected.jsonl")]
    assert reasons[:2] == ["no_text", "wrong_columns"]
    table = pa.table({"text": ["a crash", None, ""], "n": [1, 2, 3]})
    pq.write_table(table, project / "in.parquet")
    predict(project / "in.parquet", project / "out.parquet")
    assert [row["place"] for row in read_jsonl(project / "out.parquet.rejected.jsonl")] == [
        "in.parquet:2",
        "in.parquet:3",
    ]
    assert pq.read_table(project / "out.parquet").column("n").to_pylist() == [1]


def test_the_tasks_own_names_of_columns_hold(project):
    """As its reader's options say, and else by the names of the fields."""
    named = {"reader": "jsonl", "options": {"text": "body.en"}}
    task = load().tasks[TASK].model_copy(update=named)
    write_jsonl(project / "in.jsonl", [{"body": {"en": "a"}, "text": "b"}, {"text": "c"}])
    (chunk,) = batch_input.source(project / "in.jsonl", task).chunks()
    assert [item["text"] for item in chunk.items] == ["a", "c"]
    options = {"text": "2", "header": False, "delimiter": ";"}
    task = task.model_copy(update={"reader": "table", "options": options})
    (project / "in.csv").write_text("1;a\n2;c\n")
    (chunk,) = batch_input.source(project / "in.csv", task).chunks()
    assert [item["text"] for item in chunk.items] == ["a", "c"]


def test_nothing_in_is_nothing_out(project):
    (project / "in.jsonl").write_text("\n")
    assert predict(project / "in.jsonl", project / "out.jsonl").rows == 0
    assert (project / "out.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("source", "out", "more", "said"),
    [
        ("in.jsonl", "there.jsonl", {}, "there.jsonl is there already; take another name"),
        ("in.jsonl", "out.xml", {}, "out.xml is to be of no known format; expected"),
        ("in.jsonl", "out.parquet.gz", {}, "is to be of no known format"),
        ("in.jsonl", "out.jsonl", {"which": "7"}, "no version 7 of changes; there is: 1"),
        ("in.jsonl", "out.jsonl", {"which": "best"}, "no version 'best'; expected a number"),
        ("none", "out.jsonl", {}, "none; mend its name"),
        ("odd.txt", "out.jsonl", {}, "odd.txt has no such file; expected rows as .jsonl"),
        ("taken.jsonl", "out.jsonl", {}, "taken.jsonl:1 has a field 'label', where"),
        ("taken.csv", "out.parquet", {}, "taken.csv:2 has a field 'label', where"),
    ],
)
def test_what_the_user_can_mend_is_one_line(project, monkeypatch, source, out, more, said):
    write_jsonl(project / "in.jsonl", rows(2))
    write_jsonl(project / "taken.jsonl", [{"text": "a", "label": "b"}])
    (project / "taken.csv").write_text("text,label\na,b\n")
    for name in ("there.jsonl", "odd.txt"):
        (project / name).touch()
    with pytest.raises(StepError) as error:
        predict(project / source, project / out, **more)
    assert said in str(error.value)
    assert not (project / "out.jsonl").exists()
    for room in batch.ROOM.glob("*/"):  # of what was begun
        for path in [*room.iterdir()]:
            path.unlink()
        room.rmdir()


def known() -> Champion:
    """What the registry says, for a process that need not load MLflow to ask it."""
    found = registry.version(TASK, 1)
    return found, registry.files(found)


def enter(here: Path, champion: Champion) -> None:
    """Be a process of the champion's project."""
    found, files = champion
    os.chdir(here)
    batch.chosen = lambda task, which: found  # type: ignore[assignment]
    registry.files = lambda version: files  # type: ignore[assignment]


def killed(here: Path, champion: Champion, source: Path, out: Path, way: str) -> None:
    """Be a run that gets SIGKILL after its third part, within it, or as all are joined."""
    enter(here, champion)
    batch_input.ROWS = ROWS
    calls = {"between": (Parts, "write"), "within": (batch_output, "write_json")}
    holder, name = calls.get(way, (batch_output, "copy"))
    work: Callable[..., None] = getattr(holder, name)
    done = 0

    def work_and_die(*arguments: Any) -> None:
        nonlocal done
        done += 1
        if way != "within" or done < 3:
            work(*arguments)
        if done == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(holder, name, work_and_die)
    predict(source, out)


@pytest.mark.parametrize("way", ["between", "within", "joining"])
def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_bytes(project, champion, way):
    given = rows(40)
    given[11]["text"] = given[33]["text"] = ""
    source = write_jsonl(project / "in.jsonl", given)
    predict(source, project / "whole.jsonl.gz")
    paths = source, project / "out.jsonl.gz"
    run = SERVER.Process(target=killed, args=(champion, known(), *paths, way))
    run.start()
    run.join(120)
    assert run.exitcode == -signal.SIGKILL
    assert not (project / "out.jsonl.gz").exists()
    (room,) = (path for path in batch.ROOM.glob("*") if path.is_dir())
    parts = len([path for path in room.glob("*.json") if path.name != batch.RUN])
    assert parts == {"between": 3, "within": 2, "joining": 5}[way]
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        write = Parts.write
        patch.setattr(Parts, "write", lambda *given: (asked.append(given[1]), write(*given))[1])
        predict(source, project / "out.jsonl.gz")
    assert asked == list(range(parts, 5))
    for end in ("", ".rejected.jsonl"):
        one, other = (project / f"{name}.jsonl.gz{end}" for name in ("whole", "out"))
        assert one.read_bytes() == other.read_bytes()
    found = gzip.decompress((project / "out.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["id"] for line in found] == [r["id"] for r in given if r["text"]]


def test_two_do_not_make_one_run_at_once(project):
    source = write_jsonl(project / "in.jsonl", rows(3))
    entered: list[str] = []
    write = Parts.write

    def again(*given: Any) -> None:
        with pytest.raises(StepError, match="is being predicted by another process; wait for it"):
            predict(source, project / "out.jsonl")
        entered.append("once")
        write(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "write", again)
        predict(source, project / "out.jsonl")
    assert entered == ["once"]
    assert not [*batch.ROOM.glob("*.lock")]


def test_another_input_is_another_run(project):
    """A part of one is none of the other's."""
    first = write_jsonl(project / "in.jsonl", rows(10))
    predict(first, project / "one.jsonl")
    write_jsonl(first, list(reversed(rows(10))))
    predict(first, project / "two.jsonl")
    one, two = (read_jsonl(project / f"{name}.jsonl") for name in ("one", "two"))
    assert [row["id"] for row in one] == [row["id"] for row in reversed(two)]


def test_s3_on_both_sides(project, monkeypatch):
    import boto3

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    try:
        client.create_bucket(Bucket="field")
        given = rows(20)
        given[3]["text"] = ""
        for number in range(2):
            body = "".join(json.dumps(row) + "\n" for row in given[10 * number :][:10]).encode()
            squeezed = zstandard.compress(body)
            client.put_object(Bucket="field", Key=f"in/{number}.jsonl.zst", Body=squeezed)
        predict("s3://field/in", "s3://field/out.jsonl")
        predict("s3://field/in", "s3://field/shards/")
        found = client.get_object(Bucket="field", Key="out.jsonl")["Body"].read().splitlines()
        assert [json.loads(line)["id"] for line in found] == [r["id"] for r in given if r["text"]]
        keys = [item["Key"] for item in client.list_objects_v2(Bucket="field")["Contents"]]
        assert {"out.jsonl.rejected.jsonl", "shards/part-000003.jsonl"} <= set(keys)
        with pytest.raises(StepError, match=r"s3://field/out\.jsonl is there already"):
            predict("s3://field/in", "s3://field/out.jsonl")
    finally:
        client.close()
        server.stop()


def test_the_command_says_what_it_did(project):
    write_jsonl(project / "in.jsonl", [{"text": "a crash"}, {"text": ""}])
    out = project / "out.jsonl"
    done = CliRunner().invoke(app, ["predict", TASK, str(project / "in.jsonl"), str(out)])
    assert done.exit_code == 0, done.stderr
    assert "1 rows predicted by version 1, 1 rejected: see " in done.stderr
    lone = CliRunner().invoke(app, ["predict", TASK, str(project / "in.jsonl")])
    assert "name a new file after it" in lone.stderr


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_type_of_task_has_columns_for_its_answers(kind, tmp_path):
    """Whatever its answer is made of has a type, so that a part without it has it, too."""
    from steps.tasks import task_type

    answers = {
        "span": [[(-1, -1, 0.0), (0, 1, 2.0)]],
        "text": [{"text": "a", "confidence": 0.5, "loss": 1.0, "words": 1}],
        "vector": [{"query": [1.0, 0.0], "passage": None}],
    }
    import numpy as np

    module, example = task_type(kind), EXAMPLES[kind](4)[:1]
    if module.OUTPUT in answers:
        raws, classes = answers[module.OUTPUT], []
        raws = [np.array(raws[0])] if module.OUTPUT == "span" else raws
    else:
        classes = module.classes(module.labels(EXAMPLES[kind](8)))
        raws = [np.full((len(module.units(example[0])), len(classes)), 0.6)]
    said = [one.answer for one in module.decode(example, raws, classes)]
    said[0].pop("rank", None)
    form = batch_output.form("x.parquet", "jsonl")
    chunk = batch_input.Chunk(places=["x:1"], rows=[{"id": 1}])
    table = Parts(tmp_path, form, "")._table(chunk, said, classes)
    assert table.to_pylist() == [{"id": 1, **said[0]}]


class Same:
    """A model that says the same of all."""

    classes = ("doc",)

    def predict(self, items: list[Any]) -> list[dict[str, Any]]:
        return [{"label": "doc", "confidence": 1.0, "probabilities": {"doc": 1.0}} for _ in items]


def measured(here: Path, champion: Champion, source: Path, out: Path, at: Path) -> None:
    """Be a run that writes down how much memory it had at most."""
    enter(here, champion)
    checkpoints.load_predictor = lambda bundle: Same()  # type: ignore[assignment,return-value]
    predict(source, out)
    at.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))


@pytest.mark.slow
@pytest.mark.parametrize("end", [".jsonl", ".parquet"])
def test_a_million_rows_take_no_more_memory_than_few(project, champion, end):
    megabytes = {}
    for count in (20_000, 1_000_000):
        source = project / f"{count}.jsonl"
        with source.open("w") as stream:
            stream.writelines(
                f'{{"id": {n}, "text": "fixed a crash in {n}"}}\n' for n in range(count)
            )
        paths = source, project / f"{count}{end}.out{end}", project / f"{count}.mb"
        run = SERVER.Process(target=measured, args=(champion, known(), *paths))
        run.start()
        run.join(600)
        assert run.exitcode == 0
        megabytes[count] = int(paths[2].read_text())
    assert megabytes[1_000_000] < megabytes[20_000] + 100


ON_RAY = """
import sys
from pathlib import Path
from pipelines import batch, batch_input
batch_input.ROWS = 8
batch.predict("changes", sys.argv[1], sys.argv[2], "champion")
"""


@pytest.mark.slow
def test_a_ray_cluster_writes_the_same_rows(project, champion):
    pytest.importorskip("ray", reason="ray is not installed; it is in the `test` extra")
    source = write_jsonl(project / "in.jsonl", rows(40))
    found = []
    for cluster in ({}, {"DAFT_RUNNER": "ray", "RAY_ADDRESS": "local"}):
        out = project / f"out{len(cluster)}.jsonl"
        command = [sys.executable, "-c", ON_RAY, str(source), str(out)]
        done = subprocess.run(
            command, env=os.environ | cluster, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(out.read_bytes())
    assert found[0] == found[1]
