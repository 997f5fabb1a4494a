"""Release a corpus: write down what the next versions of it are compared with.

The file goes to git beside params.yaml; the stage `validate` measures drift from it.
"""

from pathlib import Path

from pipelines import lineage
from steps.checks.drift import RELEASED, released
from steps.checks.measures import Dataset
from steps.core.files import write_json
from steps.core.params import choose, load

DOCUMENTS = Path("data/documents")


def release(corpus: str) -> Path:
    """Describe the corpus as it is here and now; StepError where it is not as dvc.lock has it."""
    mask_pii = choose(corpus, load().corpora, "corpus").mask_pii
    folder = DOCUMENTS / corpus
    data = Dataset(folder, "documents", corpus, mask_pii)
    path = RELEASED / f"{corpus}.json"
    write_json(path, released(data, _md5(folder)))
    return path


def _md5(folder: Path) -> str:
    """What dvc.lock calls the bytes; "" where it has none yet."""
    if not lineage.LOCK.exists():
        return ""
    entries = lineage.read_lock()
    found = [
        str(out.get("md5", ""))
        for entry in entries.values()
        for out in entry.get("outs", [])
        if out["path"] == folder.as_posix()
    ]
    if found:
        lineage.verify(entries, folder)
    return found[0] if found else ""
