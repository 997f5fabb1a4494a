import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.files import digest
from steps.corpora import dedup, engine
from steps.corpora.keys import keyed
from steps.corpora.similarity import components
from tests.bench.planted import similarity
from tests.projects import ROOT

WORDS = [*"abcdefghijklmnopqr"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("DAFT_PROGRESS_BAR", "0")


def write(folder: Path, *texts: str) -> Path:
    rows = [keyed({"text": text}, "documents", at) for at, text in enumerate(texts)]
    schema = pa.schema(
        [
            *(("at", pa.int64()), ("high", pa.uint64()), ("low", pa.uint64())),
            *(("text", pa.string()), ("spaced", pa.string())),
        ]
    )
    for part in range(0, len(rows), 7):
        table = pa.Table.from_pylist(rows[part : part + 7], schema=schema)
        (folder / "cleaned").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "cleaned" / f"{part:05}.parquet")
    return folder / "cleaned"


def find(folder: Path, threshold: float, *texts: str) -> tuple[dict[int, int], list[bool]]:
    copies = dedup.find(write(folder, *texts), len(texts), threshold, folder / "near")
    pairs = zip(copies.at.tolist(), copies.first.tolist(), strict=True)
    return dict(pairs), copies.near.tolist()


def variant(at: int) -> str:
    return " ".join([*WORDS * 4, str(at)])


def test_the_first_of_exact_copies_is_kept(tmp_path):
    copies, near = find(tmp_path, 1, "a b", "b a", "A  b", "c", "b a", "a\nb")
    assert copies == {2: 0, 4: 1, 5: 0}
    assert not any(near)


def test_near_copies_are_found_and_others_are_not(tmp_path):
    other = " ".join(reversed(WORDS * 4))
    copies, near = find(tmp_path, 0.8, variant(1), other, variant(2), variant(3), other)
    assert copies == {2: 0, 3: 0, 4: 1}
    assert near == [True, True, False]


def test_a_copy_of_a_near_copy_points_at_what_stays(tmp_path):
    copies, near = find(tmp_path, 0.8, variant(1), variant(2), variant(2))
    assert copies == {1: 0, 2: 0}
    assert near == [True, False]


def test_markers_make_texts_differ(tmp_path):
    texts = [" ".join([*WORDS[:at], f"<<{WORDS[at]}>>", *WORDS[at + 1 :]]) for at in (2, 8)]
    assert find(tmp_path, 0.8, *texts) == ({}, [])


def test_scripts_without_blanks_are_compared_sign_by_sign(tmp_path):
    text = "今天天气很好我们一起去公园散步然后回家吃饭看书睡觉明天再来玩"
    copies, _ = find(tmp_path, 0.8, text, "这是另外一个完全不同的句子" * 2, text + "吧")
    assert copies == {2: 0}


def test_nothing_and_one_record_go_through(tmp_path):
    assert find(tmp_path / "one", 0.8, "a single sentence") == ({}, [])


def test_parts_of_the_keys_give_the_same_as_all_at_once(tmp_path, monkeypatch):
    draw = random.Random(3)
    texts = [variant(draw.randrange(6)) + " " + str(draw.randrange(3)) for _ in range(40)]
    whole = find(tmp_path / "whole", 0.8, *texts)
    monkeypatch.setattr(dedup, "ROWS", 7)
    assert find(tmp_path / "parts", 0.8, *texts) == whole


def test_planted_near_copies_are_found_and_half_alike_texts_are_not(tmp_path):
    draw = random.Random(5)
    vocabulary = [f"w{n}" for n in range(2000)]
    texts = [" ".join(draw.choices(vocabulary, k=draw.randint(80, 200))) for _ in range(300)]
    planted = {}
    for first, text in enumerate(texts[:200]):
        words = text.split()
        wanted = 1 if first < 100 else len(words) // 15
        for place in draw.sample(range(len(words)), wanted):
            words[place] = "changed"
        planted[len(texts)] = first
        texts.append(" ".join(words))
    similar = {at: similarity(texts[at], texts[first]) for at, first in planted.items()}
    copies, _ = find(tmp_path, 0.8, *texts)
    alike = {at: planted[at] for at, found in similar.items() if found >= 0.8}
    assert 100 <= len(alike) < 200
    assert copies == {at: first for at, first in copies.items() if alike.get(at) == first}
    assert len(copies) >= 0.97 * len(alike)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99])
def test_bands_find_pairs_at_the_threshold(threshold):
    count = dedup.bands(threshold)
    assert dedup.HASHES % count == 0
    found = 1 - (1 - threshold ** (dedup.HASHES // count)) ** count
    assert found >= dedup.RECALL or count == dedup.HASHES


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=30))
def test_what_is_connected_has_one_first(pairs):
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    at, first = components(np.array(pairs, np.int64).reshape(-1, 2))
    root = dict(zip(at.tolist(), first.tolist(), strict=True))
    groups = {root.get(one, one) for pair in pairs for one in pair}
    assert all(root.get(a, a) == root.get(b, b) for a, b in pairs)
    assert not groups & set(root)
    assert all(low < high for high, low in root.items())


class Twice:
    def __call__(self, piece: int) -> tuple[int, int]:
        return 2 * piece, os.getpid()


def test_work_is_done_in_other_processes_and_comes_back_in_order():
    done = list(engine.in_processes(Twice(), range(12)))
    assert [value for value, _ in done] == [*range(0, 24, 2)]
    assert os.getpid() not in {process for _, process in done}


STAGE = """
import sys
from pathlib import Path
from steps import ingest
from steps.corpora import similarity
if __name__ == "__main__":
    ingest.PORTION, similarity.PAIRS = 1, 2  # so that there is work for several processes
    raw, out = map(Path, sys.argv[1:])
    ingest.main("corpus", "pydocs", raw, out, out.with_suffix(".json"))
"""


def ingest(folder: Path, out: Path, **environment: str) -> str:
    """Run the demo's corpus in a process of its own; return the digest of what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", STAGE, str(folder), str(out)],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return digest(out)


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_rows_as_one_machine(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed; it is in the `test` extra")
    draw = random.Random(1)
    text = "the and of to a in that with configuration database request response template this"
    (tmp_path / "raw").mkdir()
    for number in range(4):
        sections = [" ".join(draw.choices(text.split(), k=40)) for _ in range(300)]
        sections += [sections[1], sections[2] + " more", sections[3][:-20]]
        parts = [f"Part {n}\n======\n\n{one}." for n, one in enumerate(sections)]
        (tmp_path / "raw" / f"{number}.rst").write_text("\n\n".join(parts))
    native = ingest(tmp_path / "raw", tmp_path / "native")
    cluster = {"DAFT_RUNNER": "ray", "RAY_ADDRESS": "local"}
    assert ingest(tmp_path / "raw", tmp_path / "ray", **cluster) == native
