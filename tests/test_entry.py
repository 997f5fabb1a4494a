"""How a stage ends: its exit status says whether it may be tried again."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGE = """
from pathlib import Path
from steps.core.entry import StepError, TryAgain, run

def main(kind: str, number: int) -> None:
    raise {"again": TryAgain, "mend": StepError, "bug": ValueError}[kind](f"no\\n  field {number}")

run(main)
"""


@pytest.mark.parametrize(("kind", "code"), [("again", 75), ("mend", 1)])
def test_a_users_error_is_one_line_and_its_status_says_whether_it_may_pass(
    kind: str, code: int
) -> None:
    done = ended(kind, "3")
    assert (done.returncode, done.stderr, done.stdout) == (code, "error: no field 3\n", "")


def test_our_bugs_have_their_traceback() -> None:
    done = ended("bug", "3")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STAGE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
