"""Every reader on bytes that nobody meant: records, reasons or one line, and nothing else."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steps import readers
from steps.core.entry import StepError
from steps.corpora.annotations import against
from steps.corpora.schemas import SCHEMAS
from steps.readers.files import files

PROSE = (
    "Guide\n=====\n\nA :class:`Thing` *runs*.\n\n* One\n* Two, the last one.\n\n.. note:: Mind.\n"
)
CHANGES = "1.0\n---\n\nBug fixes\n~~~~~~~~~\n\n- Fixed a crash in ``run()``.\n- Fixed the other.\n"
UD = "# newdoc\n# text = Hi Bo.\n1\tHi\thi\tINTJ\t_\t_\t0\troot\t_\t_\n"
UD += "2-3\tBo.\t_\t_\t_\t_\t_\t_\t_\t_\n2\tBo\tBo\tPROPN\t_\t_\t1\tvocative\t_\tNE=B-PER\n"
UD += "3\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\tNE=O\n"
PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
PO += '#, fuzzy\nmsgctxt "x"\nmsgid "One\\t"\nmsgstr "Eins"\n\n'
PO += 'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d Datei"\nmsgstr[1] "%d Dateien"\n'
CONLL = b"-DOCSTART- O\n\nAda B-PER\nmet O\n\nBo B-PER\nX I-PER\n"
ASKED = {"id": "q", "question": "Who?", "answers": [{"text": "Bo", "answer_start": 0}]}
SQUAD = {"data": [{"title": "T", "paragraphs": [{"context": "Bo é.", "qas": [ASKED]}]}]}
TITLES = f"Page\n====\n\nA long title\n------------\n\n{'Some words of a `body`. ' * 6}\n"
ROWS = [
    {"text": "a b", "label": "x", "spans": [[0, 1, "X"]], "source": "s", "group": "g"},
    {"text": "é", "label": 1, "spans": [{"start": 0, "end": 1, "label": "Y"}]},
    {"text": "c", "labels": ["x", 1], "score": 1.5, "pair": "d", "target": "é", "language": "de"},
    {"text": "c", "labels": '["x"]', "score": "-2", "pair": "d", "question": "?", "answers": []},
]


class Sample(NamedTuple):
    """A small file that a reader reads well."""

    name: str
    data: bytes
    options: dict[str, Any]


def parquet() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": ["one", "two é"], "label": ["a", "b"]})
    pq.write_table(table, sink, compression="none")
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": ["one", "two é"], "label": ["a", "b"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.txt", data)
    return sink.getvalue()


def tarred(data: bytes, mode: Any) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        item = tarfile.TarInfo("a.txt")
        item.size = len(data)
        archive.addfile(item, io.BytesIO(data))
    return sink.getvalue()


SAMPLES = {
    "conll": Sample("a.conll", CONLL, {"columns": ["word", "tag"]}),
    "conll_u": Sample("a.conllu", UD.encode(), {"tag": "NE"}),
    "table": Sample("a.csv", b'text,label\n"one, two",a\n"with ""quotes""\nand a line",b\n', {}),
    "dataset": Sample("a.arrow", arrow(), {}),
    "jsonl": Sample("a.jsonl", "\n".join(map(json.dumps, ROWS)).encode(), {}),
    "lines": Sample("a.txt", "one\ntwo é\r\n\n".encode(), {}),
    "parquet": Sample("a.parquet", parquet(), {}),
    "po": Sample("a.po", PO.encode(), {}),
    "rst": Sample("lib/a.rst", PROSE.encode(), {}),
    "rst_changes": Sample("lib/CHANGES.rst", CHANGES.encode(), {}),
    "rst_components": Sample("django-5/docs/topics/db/q.txt", PROSE.encode(), {}),
    "rst_entities": Sample("lib/a.rst", PROSE.encode(), {}),
    "rst_titles": Sample("lib/a.rst", TITLES.encode(), {}),
    "squad": Sample("a.json", json.dumps(SQUAD).encode(), {}),
    "text": Sample("a.txt", "One.\n\nTwo é.\n".encode(), {}),
}
PIECES = [
    *(
        b'"',
        b"\\",
        b"\0",
        b"\n",
        b"\r",
        b"\t",
        b",",
        b"[",
        b"]",
        b"{",
        b"}",
        b" ",
        b"`",
        b"=",
        b"-",
    ),
    *(b"null", b"-1", b"1e999", b"NaN", b"true", b'""', b"[]", b"{}", b"9" * 30, b"9" * 5000),
    *(b'"\\ud800"', b"\\u0000", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 3000),
    *(
        text.encode()
        for text in ("\u2028", "\x85", "\x1c", "\u00a0", "é", "😀", "e\u0301", "\ufeff")
    ),
]
FUZZED = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def edited(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut, flip, double, drop and put in bytes of a good file, at up to four places."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 20)))
        how = draw(st.sampled_from(["cut", "drop", "double", "flip", "put", "put", "put"]))
        if how == "cut":
            data = data[:at]
        elif how == "put":
            data = data[:at] + draw(st.sampled_from(PIECES) | st.binary(max_size=4)) + data[end:]
        elif how == "flip":
            data = data[:at] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at:end])
        else:
            data = data[:at] + (data[at:end] * 2 if how == "double" else b"") + data[end:]
    return data


def hold(root: Path, reader: str, name: str, data: bytes) -> int:
    """Read one file; what comes out is what every reader promises. Returns how many records."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    module = readers.load(reader)
    options = readers.options(reader, SAMPLES[reader].options, "params.yaml: corpora.x.options")
    count, said = 0, "one line"
    try:
        for file in files(root, module.SUFFIXES):
            for record in module.read(file, options):
                count += 1
                keeps_promise(record, module.KIND)
    except StepError as error:
        said = str(error)
    assert "\n" not in said
    return count


def keeps_promise(record: dict[str, Any], kinds: set[str]) -> None:
    """A record says where it is from; a good one of a kind can be written as that kind."""
    for key in ("source", "group", "text", "place"):
        assert isinstance(record[key], str), key
        record[key].encode()
    if "reason" in record:
        assert record["reason"].isidentifier()
        return
    assert record.get("split", "") in ("", "train", "validation", "test")
    for kind in kinds:
        if not against(record, kind):
            row = {"id": "", "language": "", "split": "", **record}
            pa.Table.from_pylist([row], schema=SCHEMAS[kind])


@pytest.mark.parametrize("reader", sorted(readers.READERS))
def test_a_reader_reads_its_sample(tmp_path: Path, reader: str) -> None:
    assert hold(tmp_path, reader, *SAMPLES[reader][:2]) >= 1


@pytest.mark.parametrize("reader", sorted(readers.READERS))
def test_a_reader_answers_any_bytes_by_records_or_one_line(tmp_path: Path, reader: str) -> None:
    @FUZZED
    @given(st.binary(max_size=300))
    def fuzz(data: bytes) -> None:
        hold(tmp_path, reader, SAMPLES[reader].name, data)

    fuzz()


@pytest.mark.parametrize("reader", sorted(readers.READERS))
def test_a_reader_answers_a_damaged_file_by_records_or_one_line(
    tmp_path: Path, reader: str
) -> None:
    @FUZZED
    @given(edited(SAMPLES[reader].data))
    def fuzz(data: bytes) -> None:
        hold(tmp_path, reader, SAMPLES[reader].name, data)

    fuzz()


@pytest.mark.parametrize("end", [".gz", ".zst", ".zip", ".tar", ".tar.gz"])
def test_a_damaged_archive_gives_records_or_one_line(tmp_path: Path, end: str) -> None:
    text = SAMPLES["lines"].data * 20
    packed = {
        ".gz": gzip.compress(text, mtime=0),
        ".zst": pa.compress(text, "zstd", asbytes=True),
        ".zip": zipped(text),
        ".tar": tarred(text, "w:"),
        ".tar.gz": gzip.compress(tarred(text, "w:"), mtime=0),
    }

    @FUZZED
    @given(edited(packed[end]))
    def fuzz(data: bytes) -> None:
        hold(tmp_path, "lines", f"a.txt{end}" if end in (".gz", ".zst") else f"a{end}", data)

    fuzz()
