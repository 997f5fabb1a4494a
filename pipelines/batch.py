"""`outplant predict TASK IN OUT`: files of any size, in bounded memory, resumed after a kill.

The rows are read in chunks. What a chunk becomes is a part, written whole into a folder that has
its name by the bytes of IN, the version and what else decides the bytes of OUT: a run that was
killed finds its parts there, and makes the rest. In the end all parts are joined. Inside a chunk
texts of like length are read together. Where DAFT_RUNNER is ray the chunks are predicted by the
cluster's nodes, which see this folder.
"""

import hashlib
import os
import pickle
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines import batch_input, batch_output, batch_places, registry
from pipelines.batch_input import Chunk
from pipelines.batch_output import Form, Parts
from pipelines.batch_places import Place
from pipelines.chosen import chosen
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import digest, read_json, write_json
from steps.core.params import load
from steps.core.progress import Bar

ROOM = Path(".outplant/batch")
RUN = "run.json"
FORMAT = 1  # of parts: another does not go on with these
REJECTED = ".rejected.jsonl"


@dataclass(frozen=True)
class Done:
    """What a run came to."""

    version: int
    rows: int
    rejected: int
    rejected_at: str


@dataclass
class Worker:
    """Makes parts of chunks, with a model that is loaded when the first one asks for it."""

    bundle: Path
    parts: Parts
    _predictor: Any = field(default=None, repr=False)

    def __call__(self, piece: tuple[int, str]) -> int:
        """Make the part of a chunk that lies in a file, on whatever machine; return its number."""
        number, file = piece
        with open(file, "rb") as stream:
            self.write(number, pickle.load(stream))
        Path(file).unlink()
        return number

    def write(self, number: int, chunk: Chunk) -> None:
        if self._predictor is None:
            from steps.transfer.checkpoints import load_predictor

            self._predictor = load_predictor(self.bundle)
        said = self._predictor.predict(chunk.items)
        self.parts.write(number, chunk, said, self._predictor.classes)

    def __getstate__(self) -> dict[str, Any]:
        return {"bundle": self.bundle.resolve(), "parts": self.parts, "_predictor": None}


def predict(task: str, source: str, out: str, which: str, prefix: str = "") -> Done:
    """Predict the rows of files or of an S3 prefix, and write them with their predictions.

    StepError where there is nothing to read or OUT is there already, unless this very run made it.
    """
    found = chosen(task, which)
    target = batch_places.target(out)
    _admit(target, list(ROOM.glob(f"*/{RUN}")))
    with batch_places.fetched(source, ROOM) as path:
        read = batch_input.source(path, load().tasks[task])
        how = batch_output.form(out, read.format)
        room = ROOM / _key(found, read, (how, prefix))
        with batch_places.alone(room, source):
            _admit(target, [room / RUN])
            worker = Worker(registry.files(found)[0], Parts(room.resolve(), how, prefix))
            count = _make(worker, read, task)
            done = _finish(worker.parts, count, target, room)
    return Done(found.number, done["rows"], done["rejected"], target.beside(REJECTED).name)


def _key(found: Version, read: batch_input.Source, more: tuple[Form, str]) -> str:
    """What decides the bytes of OUT, as a name: the files' names and bytes, the version, the rest.

    Parts of other limits are another's, too.
    """
    how, prefix = more
    disks = {file.disk: "" for file in read.files}  # of an archive one, however many it holds
    disks = {disk: digest(disk) for disk in disks}
    files = [(file.name, disks[file.disk]) for file in read.files]
    limits = batch_input.ROWS, batch_input.CHARACTERS, FORMAT
    fields, cells = dict(read.fields), read.table.model_dump()
    known = files, found.task, found.lineage, asdict(how), prefix, limits, fields, cells
    return hashlib.sha256(repr(known).encode()).hexdigest()[:32]


def _admit(target: Place, runs: list[Path]) -> None:
    """StepError where OUT is there and not by one of these runs, killed as it wrote it."""
    ours = any(run.exists() and read_json(run)["writes"] == target.name for run in runs)
    there = [place.name for place in (target, target.beside(REJECTED)) if place.exists()]
    if there and not ours:
        raise StepError(f"{there[0]} is there already; take another name, or remove it")


def _make(worker: Worker, read: batch_input.Source, task: str) -> int:
    """Make the parts that are not there yet; return how many there are in all."""
    parts, count = worker.parts, 0
    known = [read_json(path)["read"] for path in _abouts(parts)]
    pace = _Pace(sum(known))
    with Bar(f"predict {task}, rows", read.count(), sum(known)) as bar:
        if os.environ.get("DAFT_RUNNER", "").lower() == "ray":
            return _on_cluster(worker, read, (bar, pace))
        for number, chunk in enumerate(read.chunks()):
            count = number + 1
            if not parts.about(number).exists():
                worker.write(number, chunk)
                bar.advance(chunk.read, pace(bar))
    return count


def _on_cluster(worker: Worker, read: batch_input.Source, shown: tuple[Bar, "_Pace"]) -> int:
    """Lay the chunks that have no part into files, which the nodes take."""
    from steps.corpora.engine import in_processes

    count, pieces, (bar, pace) = 0, [], shown
    for number, chunk in enumerate(read.chunks()):
        count = number + 1
        if not worker.parts.about(number).exists():
            file = worker.parts.folder / f"{number:06}.chunk"
            file.write_bytes(pickle.dumps(chunk))
            pieces.append((number, str(file)))
    for number in in_processes(worker, pieces):
        bar.advance(read_json(worker.parts.about(number))["read"], pace(bar))
    return count


class _Pace:
    """Says how many rows a second are done since it was made, when `before` were."""

    def __init__(self, before: int) -> None:
        self._before, self._began = before, time.monotonic()

    def __call__(self, bar: Bar) -> str:
        rows = bar.done - self._before
        return f"{rows / max(1e-9, time.monotonic() - self._began):,.0f} rows/s"


def _abouts(parts: Parts) -> list[Path]:
    return [path for path in sorted(parts.folder.glob("*.json")) if path.name != RUN]


def _finish(parts: Parts, count: int, target: Place, room: Path) -> dict[str, int]:
    """Join the parts, put what they make where it belongs, and clear the run's folder."""
    write_json(room / RUN, {"writes": target.name})
    abouts = [read_json(parts.about(number)) for number in range(count)]
    total = {name: sum(about[name] for about in abouts) for name in ("rows", "rejected")}
    with target.written(parts.form.folder) as path:
        batch_output.join(parts, count, path)
    rejected = target.beside(REJECTED)
    if total["rejected"]:
        with rejected.written(False) as path, path.open("wb") as stream:
            for number in range(count):
                batch_output.copy(parts.rejected(number), stream)
    shutil.rmtree(room)
    return total
