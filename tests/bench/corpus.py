"""The corpus engine: whole stage and deduplication alone, at three sizes, with planted copies.

    python -m tests.bench.corpus [--sizes 1,10,40] [--datatrove] [--folder DIR] [--short N]

The prose is the demo's (sdists of Python libraries). x1 is about 52 MB: the prose itself and copies
of it whose rarer words have changed places, so that no two copies are alike; x40 is 2 GB. Each
size is a process of its own. `--datatrove` makes a side environment and runs datatrove's MinHash
pipeline on x1, by as many workers. `--short N` instead takes N records of a few words through.
One JSON line a size, a summary last.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from steps.core.files import read_batches, read_json
from tests.bench import planted, rival_dedup

SAMPLE_SECONDS = 0.05
CPUS = len(os.sched_getaffinity(0))


class Peak:
    """The most memory that this process and its children held, sampled, in MB."""

    def __enter__(self) -> "Peak":
        self.most, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        own = psutil.Process()
        while not self._over.wait(SAMPLE_SECONDS):
            total = 0
            for one in (own, *own.children(recursive=True)):
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.most = max(self.most, total / 1e6)


def run_size(folder: Path) -> dict[str, Any]:
    """Take the files in `folder` through the stage, in this process and its workers."""
    from steps import ingest as stage
    from steps.core.params import Corpus

    settings = Corpus(
        source="bench", reader="jsonl", options={}, strip_html=False, languages=["en"],
        min_words=5, max_words=100_000, min_letters=0.5, mask_pii=True, near_duplicates=0.8,
        filters=["gopher_quality", "gopher_repetition"], expect=[],
    )  # fmt: skip
    raw, out = folder / "raw", folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    plan = stage.plan_of(settings, "bench")
    with Peak() as peak:
        started = time.perf_counter()
        tallies = stage.take_in(plan, raw, out / "work")
        taken = time.perf_counter()
        rows = sum(tally.cleaned.total() for tally in tallies)
        with Peak() as dedup_peak:
            ends = stage.deduplicate(plan, rows, out / "work", out)
        done = time.perf_counter()
    megabytes = read_json(folder / "sizes.json")["text_bytes"] / 1e6
    cleaned = cleaned_bytes(out / "work" / "cleaned") / 1e6
    found = {
        "megabytes": round(megabytes), "records": sum(t.read.total() for t in tallies),
        "kept": ends.kept.total(), "duplicates": ends.duplicates.total(),
        "stage_mb_per_second": round(megabytes / (done - started), 2),
        "clean_mb_per_second": round(megabytes / (taken - started), 2),
        "dedup_mb_per_second": round(cleaned / (done - taken), 2),
        "stage_peak_mb": round(peak.most), "dedup_peak_mb": round(dedup_peak.most),
    }  # fmt: skip
    return found | (
        planted.judge(folder, out) if read_json(folder / "sizes.json")["planted"] else {}
    )


def cleaned_bytes(cleaned: Path) -> int:
    import pyarrow.compute as pc

    return sum(
        pc.sum(pc.binary_length(batch["text"])).as_py() or 0
        for shard in sorted(cleaned.rglob("*.parquet"))
        for batch in read_batches(shard, columns=["text"])
    )


def apart(folder: Path) -> dict[str, Any]:
    """Run one size in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "tests.bench.corpus", "--one", str(folder)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def summary(found: dict[int, dict[str, Any]], rival: float | None) -> dict[str, Any]:
    """Bring the figures of the sizes together; the largest says how fast it is."""
    sizes = sorted(found)
    last, before = found[sizes[-1]], found[sizes[-2] if len(sizes) > 1 else sizes[-1]]
    counts: Counter[str] = Counter()
    for one in found.values():
        counts.update({name: one[name] for name in ("planted", "found", "apart", "wrong")})
    ratio = round(found[sizes[0]]["dedup_mb_per_second"] / rival, 1) if rival else None
    return {
        "stage_mb_per_second": last["stage_mb_per_second"],
        "dedup_mb_per_second": last["dedup_mb_per_second"],
        "datatrove_ratio": ratio,
        "recall": round(counts["found"] / counts["planted"], 4),
        "precision": round(counts["found"] / (counts["found"] + counts["wrong"]), 4),
        "memory_growth": round(last["stage_peak_mb"] / before["stage_peak_mb"], 2),
        "peak_mb": last["stage_peak_mb"],
        "linearity": round(before["stage_mb_per_second"] / last["stage_mb_per_second"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1,10,40")
    parser.add_argument("--datatrove", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("bench-corpus"))
    parser.add_argument("--short", type=int)
    parser.add_argument("--one", type=Path)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(run_size(asked.one)))
        return
    if asked.short:
        planted.short(asked.folder / "short", asked.short)
        print(json.dumps({"short": asked.short} | apart(asked.folder / "short")))
        return
    found = {}
    for size in sorted(int(one) for one in asked.sizes.split(",")):
        folder = asked.folder / f"x{size}"
        if not (folder / "sizes.json").exists():
            planted.make(folder, size)
        found[size] = apart(folder)
        print(json.dumps({"size": size} | found[size]), flush=True)
    rival = None
    if asked.datatrove:
        smallest = asked.folder / f"x{min(found)}"
        rival = rival_dedup.megabytes_per_second(smallest, asked.folder / "datatrove", CPUS)
        print(json.dumps({"datatrove_mb_per_second": round(rival, 3)}), flush=True)
    print(json.dumps(summary(found, rival)))


if __name__ == "__main__":
    main()
