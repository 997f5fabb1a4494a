"""Made-up tasks and predictions in the stages' own files, for tests and benchmarks; seeded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from steps.core.files import write_json, write_rows
from steps.core.params import Judge
from tests.rival_values import COLUMNS, NAMES, columns, said

LABELS = ["breaking", "doc", "feature", "fix", "internal", "removal"]
WORDS = ("the", "path", "of", "QuerySet.filter()", "&", "<select>", "now", "Model.save", "runs")
SEEDS = (1, 2, 3)
JUDGE = Judge(resamples=2000, confidence=0.95, min_slice=20, seed=11)
SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("seed", pa.int64()),
        ("id", pa.string()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)
OWN = ("classification", "tokens")  # whose values are made here


class Rivals:
    """Writes one task's splits, predictions and metrics below `room`."""

    def __init__(self, room: Path, kind: str, items: int, seed: int = 0) -> None:
        self.room, self.kind = room, kind
        self.draw = np.random.default_rng(seed)
        self.rows = {
            part: [self._row(part, i) for i in range(items)] for part in ("validation", "test")
        }
        for part, rows in self.rows.items():
            write_rows(room / f"data/splits/toy/{part}.parquet", rows, self._schema())
        about = {
            "task": "toy",
            "type": kind,
            "labels": LABELS if kind in OWN else NAMES,
            "counts": {"train": 300, "validation": items, "test": items},
            "conflicts": [{"text": "Fixed <b>it</b>.", "labels": ["fix", "internal"]}],
        }
        write_json(room / "data/splits/toy/task.json", about)
        (room / "metrics/adapt").mkdir(parents=True)

    def add(self, name: str, skill: float, strategy: str = "full", start: str = "base") -> None:
        """Write a candidate that is right with probability `skill`, each seed a little other."""
        rows = [
            self._said(part, seed, row, skill + 0.01 * seed)
            for part in self.rows
            for seed in SEEDS
            for row in self.rows[part]
        ]
        folder = self.room / "predictions/toy" / name
        write_rows(folder / "predictions.parquet", rows, SCHEMA)
        about = {"recipe": name, "strategy": strategy, "start": start, "parameters": 22_700_000}
        write_json(folder / "candidate.json", about)
        write_json(
            self.room / f"metrics/evaluate/toy/{name}.json", {"ece": 0.05, "seconds_per_1000": 3.2}
        )
        write_json(self.room / f"metrics/finetune/toy/{name}.json", {"train_seconds": 4.5})

    def adapted(self, name: str, after: float) -> None:
        """Write the metrics of an adaptation."""
        losses = {"held_out_loss_before": 10.9, "held_out_loss_warm": 6.71}
        numbers = {"held_out_loss_after": after, "tokens": 800000, "seconds": 110.5}
        write_json(self.room / f"metrics/adapt/{name}.json", losses | numbers)

    def _row(self, part: str, place: int) -> dict[str, Any]:
        words = self.draw.choice(WORDS, size=int(self.draw.integers(5, 35))).tolist()
        source = f"Library-{int(self.draw.integers(1, 4))}.0"
        row = {"id": f"{part}-{place:05d}", "source": source, "group": "x", "text": " ".join(words)}
        if self.kind == "classification":
            return row | {"label": str(self.draw.choice(LABELS))}
        if self.kind not in OWN:
            return row | columns(self.kind, self.draw, words)
        names = ("start", "end", "label")
        return row | {"spans": [dict(zip(names, s, strict=True)) for s in self._spans(words)]}

    def _spans(self, words: list[str]) -> list[tuple[int, int, str]]:
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])
        chosen = sorted(self.draw.choice(len(words), size=2, replace=False).tolist())
        return [
            (int(starts[i]), int(starts[i]) + len(words[i]), str(self.draw.choice(LABELS)))
            for i in chosen
        ]

    def _said(self, part: str, seed: int, row: dict[str, Any], skill: float) -> dict[str, Any]:
        right = self.draw.random() < skill
        if self.kind == "classification":
            value: Any = row["label"] if right else str(self.draw.choice(LABELS))
        elif self.kind not in OWN:
            value = said(self.kind, self.draw, row, right)
        else:
            spans = [[s["start"], s["end"], s["label"]] for s in row["spans"]]
            wrong = [
                [*spans[0][:2], str(self.draw.choice(LABELS))],
                *self._spans(row["text"].split())[1:],
            ]
            value = spans if right else [w for w in wrong if w[0] >= wrong[0][1] or w is wrong[0]]
        sure = float(np.clip(self.draw.normal(0.8 if right else 0.6, 0.1), 0.2, 0.99))
        return {
            "split": part,
            "seed": seed,
            "id": row["id"],
            "prediction": json.dumps(value),
            "confidence": sure,
            "probabilities": [],
        }

    def _schema(self) -> pa.Schema:
        names = ("id", "source", "group", "text")
        return pa.schema([*((name, pa.string()) for name in names), *COLUMNS[self.kind].items()])
