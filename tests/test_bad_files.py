"""Bad files, over all readers: a counted reason or one line that says what to do; no silence."""

import gzip
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from steps import readers
from steps.core.entry import StepError
from steps.corpora.annotations import against
from steps.readers import archives
from steps.readers import files as reading
from steps.readers.files import files
from tests.bad_files import CASES, Bad

KINDS = {"conll": "tokens", "conll_u": "tokens", "squad": "question_answering", "po": "translation"}


def read(root: Path, bad: Bad) -> list[dict[str, Any]]:
    """Read all files as a stage does, its checks of examples among it."""
    module = readers.load(bad.reader)
    options = readers.options(bad.reader, bad.options or {}, "params.yaml: corpora.x.options")
    found = [r for file in files(root, module.SUFFIXES) for r in module.read(file, options)]
    kind = KINDS.get(bad.reader, bad.kind)
    return [r | {"reason": r.get("reason") or against(r, kind)} for r in found]


@pytest.mark.parametrize("bad", CASES, ids=[case.name for case in CASES])
def test_a_bad_file_is_counted_with_a_reason_or_said_in_one_line(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(archives, "GIANT", 1 << 20)
    monkeypatch.setattr(reading, "MAX_LINE", 1 << 16)
    for name, data in bad.files.items():
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    root = tmp_path / ("raw" if bad.content != {} else "gone")
    if bad.error:
        with pytest.raises(StepError, match=bad.error) as error:
            read(root, bad)
        assert len(str(error.value).splitlines()) == 1
        return
    found = read(root, bad)
    reasons = Counter(record["reason"] for record in found if record["reason"])
    assert (len(found), reasons) == (bad.read, Counter(bad.reasons.split()))
    names = tuple(re.sub(r"\.(gz|zst)$", "", name) for name in bad.files)
    assert all(record["place"].startswith(names) for record in found)
    assert re.search(bad.said, capsys.readouterr().err)


def test_there_are_bad_files_for_every_reader() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
    assert {case.reader for case in CASES} >= set(readers.READERS)


PEAKS = """
import resource, sys
from pathlib import Path
from steps import readers
from steps.readers.files import files

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

pair = {"columns": ["word", "tag"]}
table = {"header": False, "text": "1"}
for name, raw in {"jsonl": {}, "conll": pair, "table": table, "po": {}}.items():
    module, options = readers.load(name), readers.options(name, raw, "options")
    for folder in ("small", "large"):
        before = peak()
        (file,) = files(Path(sys.argv[1], folder), ())
        reasons = [record.get("reason", "") for record in module.read(file, options)]
    print(name, peak() - before, *filter(None, reasons))
"""


def test_a_line_of_200_megabytes_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """In a process of its own, for the peak of this one may be high already."""
    for folder, thousands in (("small", 1), ("large", 200_000)):
        (tmp_path / folder).mkdir()
        with gzip.open(tmp_path / folder / "a.txt.gz", "wb", compresslevel=1) as out:
            out.write(b"# a\n")
            out.writelines(b"a" * 1000 for _ in range(thousands))
            out.write(b"\n# a\n")
    command = [sys.executable, "-c", PEAKS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in said] == ["jsonl", "conll", "table", "po"]
    for name, megabytes, *reasons in said:
        assert "line_too_long" in reasons, name
        assert int(megabytes) < 150, name
