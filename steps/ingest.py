"""Stage `ingest`: raw files -> documents of a corpus, or examples of a task; each is accounted for.

    python -m steps.ingest corpus|task NAME RAW OUT METRICS

Read, cleaned and filtered in processes, a portion of the files each; then duplicates are taken out.
Memory does not grow with the corpus; DAFT_RUNNER=ray and RAY_ADDRESS put the work on a cluster.
"""

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from steps import readers
from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import whole, write_json
from steps.core.params import Corpus, Section, Task
from steps.core.progress import track
from steps.corpora import dedup
from steps.corpora.cleaning import Rules
from steps.corpora.engine import in_processes
from steps.corpora.filters import FILTERS
from steps.corpora.intake import Intake, Portion, Tally
from steps.corpora.schemas import SCHEMAS, schema_of
from steps.corpora.settle import Settlement, gather, ledger
from steps.readers.files import File, files

PORTION = 16 << 20  # bytes of files, as stored, that one process reads at a time


class Plan(NamedTuple):
    """How records are read and cleaned; `given`: whether examples keep the split that their source
    gives; `near_duplicates`: two so similar are one, 1 turns it off."""

    kind: str
    reader: str
    options: Section
    given: bool
    rules: Rules
    near_duplicates: float

    @property
    def schema(self) -> pa.Schema:
        """What the Parquet files of what is kept hold."""
        return schema_of(self.kind, readers.kept_columns(self.options))


def ingest(plan: Plan, raw: Path, out: Path) -> dict[str, Any]:
    """Write the documents or examples under `raw`, what was rejected, and copies; their ledger."""
    work = out / "work"
    tallies = take_in(plan, raw, work)
    rows = sum(tally.cleaned.total() for tally in tallies)
    ends = deduplicate(plan, rows, work, out)
    gather(work / "rejected", out / "rejected")
    shutil.rmtree(work)
    counts = ledger(tallies, ends)
    write_json(out / "ledger.json", counts)
    return counts


def take_in(plan: Plan, raw: Path, work: Path) -> list[Tally]:
    """Read and clean all files under `raw` into shards below `work`, a tally for each portion."""
    read = partial(readers.read, plan.reader, plan.options, plan.given)
    ends = (work / "cleaned", work / "rejected")
    intake = Intake(read, plan.kind, plan.schema, plan.rules, *ends)
    portions = [Portion(*one) for one in enumerate(portions_of(_files(plan.reader, raw)))]
    return list(track(in_processes(intake, portions), "read and clean", len(portions)))


def deduplicate(plan: Plan, rows: int, work: Path, out: Path) -> Settlement:
    """Write the cleaned records below `work` to where they end: kept, or listed as a copy."""
    copies = dedup.find(work / "cleaned", rows, plan.near_duplicates, work / "near")
    ends = Settlement(work / "cleaned", plan.kind, plan.schema, copies)
    ends.write(out / folder(plan.kind), out / "duplicates")
    return ends


def folder(kind: str) -> str:
    return "documents" if kind == "documents" else "examples"


def portions_of(found: list[File]) -> list[list[File]]:
    """Group files that follow one another: a portion is so large that a process is worth while."""
    portions: list[list[File]] = []
    size = PORTION
    for file in found:
        if size >= PORTION:
            portions.append([])
            size = 0
        portions[-1].append(file)
        size += file.size
    return portions


def _files(name: str, raw: Path) -> list[File]:
    """List the files that the reader reads; StepError where there are none."""
    if not raw.exists():
        raise StepError(f"no folder {raw}; run `dvc repro` to fetch it")
    found = files(raw, readers.load(name).SUFFIXES)
    if not found:
        ends = Counter(path.suffix or path.name for path in raw.rglob("*") if path.is_file())
        held = ", ".join(f"{count} {end}" for end, count in ends.most_common(4)) or "no files"
        raise StepError(f"reader {name!r} found nothing to read in {raw} ({held}); choose another"
                        " reader, or mend the source's `include`")  # fmt: skip
    return found


def plan_of(entry: Corpus | Task, where: str) -> Plan:
    """Read the plan off a section: examples are neither filtered, masked nor matched nearly."""
    kind = "documents" if isinstance(entry, Corpus) else entry.type
    params.choose(kind, SCHEMAS, "kind of records for the task type")
    able = readers.load(entry.reader).KIND
    if kind not in able:
        raise StepError(f"reader {entry.reader!r} gives {'/'.join(sorted(able))}, not {kind};"
                        " choose another reader in params.yaml")  # fmt: skip
    options = readers.options(entry.reader, entry.options, f"{where}.options", kind)
    limits = (entry.min_words, entry.max_words)
    if isinstance(entry, Task):
        rules = Rules(False, (), *limits, 0.0, (), False)
        return Plan(kind, entry.reader, options, entry.split.given, rules, 1.0)
    for name in entry.filters:
        params.choose(name, FILTERS, f"filter (in {where}.filters)")
    languages, chosen = tuple(entry.languages), tuple(entry.filters)
    rules = Rules(entry.strip_html, languages, *limits, entry.min_letters, chosen, entry.mask_pii)
    return Plan(kind, entry.reader, options, False, rules, entry.near_duplicates)


def main(what: str, name: str, raw: Path, out: Path, metrics: Path) -> None:
    """Ingest the corpus or task NAME from the folder RAW into OUT; METRICS gets the ledger."""
    sections: dict[str, Any] = {"corpus": params.load().corpora, "task": params.load().tasks}
    entry = params.choose(name, params.choose(what, sections, "kind of data"), what)
    with whole(out) as made:
        counts = ingest(plan_of(entry, f"{what} {name}"), raw, made)
        if not counts["read"]:
            raise StepError(f"the files in {raw} hold no records; put some there, or mend the"
                            f" reader of {what} {name}")  # fmt: skip
        if not counts["kept"]:
            raise StepError(f"nothing of {raw} is kept: {counts['reasons']}; widen the limits of"
                            f" {what} {name}")  # fmt: skip
    write_json(metrics, counts)


if __name__ == "__main__":
    run(main)
