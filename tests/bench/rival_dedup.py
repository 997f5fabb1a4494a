"""datatrove's MinHash pipeline on the same records, in an environment of its own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from steps.core.files import read_json

VERSION = "0.10.1"
SCRIPT = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter,
    MinhashDedupSignature)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
raw, work, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = MinhashConfig()
def run(steps, tasks):
    LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=workers, skip_completed=False).run()
if __name__ == "__main__":
    run([JsonlReader(raw), MinhashDedupSignature(f"{work}/signatures", config=config)], workers)
    run([MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)],
        config.num_buckets)
    run([MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1)
    run([JsonlReader(raw), MinhashDedupFilter(f"{work}/remove"), JsonlWriter(f"{work}/out")],
        workers)
"""


def megabytes_per_second(folder: Path, side: Path, workers: int) -> float:
    """Time it on the records of a size of the bench, by so many workers."""
    python = side / "env" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(side / "env")], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        wanted = [f"datatrove[io,processing]=={VERSION}", "spacy"]  # which parts its words
        subprocess.run([*install, *wanted], check=True, stdout=sys.stderr)
    side = side.resolve()  # it writes logs to where it is run
    script = side / "minhash.py"
    script.write_text(SCRIPT)
    shutil.rmtree(side / "work", ignore_errors=True)
    raw = str(folder.resolve() / "raw")
    command = [str(side / "env/bin/python"), str(script), raw, str(side / "work"), str(workers)]
    started = time.perf_counter()
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, stdout=sys.stderr, env=offline, cwd=side)
    taken = time.perf_counter() - started
    megabytes: float = read_json(folder / "sizes.json")["text_bytes"] / 1e6
    return megabytes / taken
