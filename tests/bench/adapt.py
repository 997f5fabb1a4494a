"""Continued pretraining against the example script's recipe: same base, same text, same tokens.

    python -m tests.bench.adapt [--start DIR] [--pairs N] [--tokens N] [--batch N] [--folder DIR]

Theirs: Hugging Face's Trainer and DataCollatorForLanguageModeling with their defaults, over texts
joined and cut into 128 tokens. Ours: the stages `pack` and `adapt`. Both hide 15% of the tokens.
Each side of each pair is a process of its own; the sides take turns at going first. Speed is that
of steps in which every weight moves, the optimiser's part with it; loss is on the same held-out
documents with the same masks. With a CUDA device: a model of BERT-base's size, blocks of 512 and
the share of the card's bfloat16 peak that is used. One JSON line a side, a summary last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RATE = 0.15
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "A10": 125e12}
SIDES = ("theirs", "ours")


def prepare(folder: Path, start: Path | None, tokens: int, cuda: bool) -> None:
    """Fetch base and text as the demo does, and pack them; what is there already is kept."""
    from steps import fetch, ingest, pack
    from steps.core import params as parameters

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pack"] |= {"block_tokens": 512 if cuda else 128, "held_out_tokens": 8192}
    params["corpora"]["pydocs"]["near_duplicates"] = 1.0
    # The first quarter warms the head up, which the example's recipe has no word for
    params["adaptations"]["dapt"] |= {
        "mask_rate": RATE,
        "warmup_tokens": tokens // 4,
        "tokens": tokens - tokens // 4,
        "batch_tokens": 65536 if cuda else 4096,
        "checkpoint_steps": 10**9,
        "checkpoint_minutes": 10**6,
    }
    for name, file in (("minilm", "infra/demo/minilm.txt"), ("pydocs", "tests/small.txt")):
        params["sources"][name]["path"] = str(ROOT / file)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    os.chdir(folder)
    parameters.load.cache_clear()
    base = Path("base")
    if not base.exists():
        if start:
            base.symlink_to(start.resolve())
        else:
            fetch.main("minilm", base)
    if not Path("documents").exists():
        fetch.main("pydocs", Path("raw"))
        ingest.main("corpus", "pydocs", Path("raw"), Path("documents"), Path("ingest.json"))
    texts = Path("texts/corpora/pydocs")
    if not texts.exists():
        texts.parent.mkdir(parents=True)
        texts.symlink_to(Path("documents/documents").resolve())
        part = {"part": "corpora/pydocs", "share": 1.0}
        Path("texts/text.json").write_text(json.dumps({"parts": [part]}))
    if cuda:
        base = large(base)
    pack.main("dapt", Path("texts"), base, Path("blocks"))


def large(base: Path) -> Path:
    """A random model of BERT-base's size that shares the tokenizer."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from steps.transfer.checkpoints import copy_tokenizer

    torch.manual_seed(0)
    out = Path("large")
    BertForMaskedLM(BertConfig()).save_pretrained(out)
    copy_tokenizer(base, out)
    return out


def ours(base: Path) -> tuple[Any, dict[str, Any]]:
    """Adapt as the stage does."""
    from steps.adapt import adapt
    from steps.adapt import prepare as ready
    from steps.core.params import load

    run = ready(load().adaptations["dapt"], base, Path("blocks"), Path(f"room-{os.getpid()}"))
    adapt(run, held())
    whole = [row for row in run.history if row["phase"] == "adapting"]
    first = len(run.history) - len(whole)
    before = run.history[first - 1] if first else {"tokens": 0, "seconds": 0.0}
    # the first steps of a process find the memory that the others then use again
    skip = whole[1] if len(whole) > 4 else before
    tokens, seconds = (run.history[-1][key] - skip[key] for key in ("tokens", "seconds"))
    return run.weights, {"tokens": run.history[-1]["tokens"], "tokens_per_second": tokens / seconds}


def theirs(base: Path, tokens: int, batch: int | None) -> tuple[Any, dict[str, Any]]:
    """Adapt as the example script does: its defaults, whatever they are on this machine."""
    import torch
    import transformers

    from steps.transfer.step import Weights

    torch.manual_seed(0)
    block = 512 if torch.cuda.is_available() else 128
    model = transformers.AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)
    batch = batch or transformers.TrainingArguments("unused").per_device_train_batch_size
    settings = transformers.TrainingArguments(
        output_dir=f"trainer-{os.getpid()}",
        per_device_train_batch_size=batch,
        max_steps=max(4, tokens // (block * batch)),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATE)
    clock = Clock()
    trainer = transformers.Trainer(
        model, settings, collate, grouped(tokenizer, block), callbacks=[clock.callback()]
    )
    trainer.train()
    # as with ours, the first two steps are left out
    speed = batch * block * (settings.max_steps - 2) / (clock.last - clock.started)
    weights = Weights(model, None)
    return weights, {"tokens": settings.max_steps * batch * block, "tokens_per_second": speed}


class Clock:
    """When the third step began and the last one ended."""

    started = last = 0.0

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                _finish()
                clock.last = time.perf_counter()
                if state.global_step == 2:
                    clock.started = clock.last

        return Callback()


def _finish() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def grouped(tokenizer: Any, block: int) -> list[dict[str, list[int]]]:
    """Training texts joined and cut into blocks, the remainder dropped."""
    from steps.core.params import load
    from steps.pack import split_texts

    ids: list[int] = []
    for split, texts in split_texts(Path("texts/corpora/pydocs"), load().pack, read=True):
        if split == "train":
            for one in tokenizer(texts, return_special_tokens_mask=False)["input_ids"]:
                ids += one
    return [{"input_ids": ids[at : at + block]} for at in range(0, len(ids) - block + 1, block)]


def held() -> tuple[Any, Any]:
    from steps.adapt import read_parts
    from steps.transfer.packing import Blocks

    return Blocks.load(Path("blocks"), "held_out"), read_parts(Path("blocks"), "held_out")


def side(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one side in this process; return its figures."""
    import torch

    from steps.core.params import load
    from steps.transfer.families import read_family
    from steps.transfer.measure import held_out, mean
    from steps.transfer.objectives import objective

    base = arguments.base
    if name == "ours":
        weights, figures = ours(base)
    else:
        weights, figures = theirs(base, arguments.tokens, arguments.batch)
    peak = memory()
    family = read_family(base, weights.model, base)
    _, made = objective(family, load().adaptations["dapt"])
    sums = held_out(weights, *held(), made, 16)
    figures |= {"side": name, "held_out_loss": mean(list(sums.values())), "peak_mb": peak}
    if torch.cuda.is_available():
        figures["mfu"] = figures["tokens_per_second"] * flops(weights.model) / peak_flops()
    return figures


def memory() -> float:
    """The most that this process has held, of the card's memory or else of its own, in MB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def flops(model: Any) -> float:
    """Arithmetic a token, forward and backward, as the model is defined: 6 a weight of a matrix
    product, the head at predicted positions, and attention (Chowdhery et al. 2022, appendix B).
    """
    config = model.config
    head = config.vocab_size * config.hidden_size
    dense = sum(w.numel() for w in model.base_model.encoder.parameters() if w.ndim == 2)
    attention = 12 * config.num_hidden_layers * config.hidden_size * 512
    return 6 * (dense + RATE * head) + attention


def peak_flops() -> float:
    import torch

    name = torch.cuda.get_device_name()
    found = [peak for card, peak in PEAKS.items() if card in name]
    if not found:
        raise SystemExit(f"the bfloat16 peak of {name!r} is not known; add it to PEAKS")
    return found[0]


def child(name: str, arguments: argparse.Namespace, base: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.adapt", "--side", name, "--base", base]
    command += ["--tokens", str(arguments.tokens)]
    command += ["--batch", str(arguments.batch)] if arguments.batch else []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    print(line := done.stdout.strip().splitlines()[-1], flush=True)
    found: dict[str, Any] = json.loads(line)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--batch", type=int, help="theirs; the Trainer's default otherwise")
    parser.add_argument("--folder", type=Path, default=Path("bench-adapt"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(side(arguments.side, arguments)))
        return
    import torch

    cuda = torch.cuda.is_available()
    arguments.tokens = arguments.tokens or (4 << 20 if cuda else 32 << 10)
    prepare(arguments.folder, arguments.start, arguments.tokens, cuda)
    base = "large" if cuda else "base"
    pairs = []
    for number in range(arguments.pairs):
        turns = SIDES if number % 2 else SIDES[::-1]
        pairs.append({name: child(name, arguments, base) for name in turns})
    print(json.dumps(summary(pairs), sort_keys=True))


def summary(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    def median(key: str, side: str) -> float:
        return statistics.median(pair[side][key] for pair in pairs)

    speed = "tokens_per_second"
    found = {
        "pairs": len(pairs),
        "ratio": round(statistics.median(p["ours"][speed] / p["theirs"][speed] for p in pairs), 3),
        "loss_gap": round(median("held_out_loss", "ours") - median("held_out_loss", "theirs"), 4),
        "memory_ratio": round(median("peak_mb", "ours") / median("peak_mb", "theirs"), 3),
        **{f"{speed}_{side}": round(median(speed, side)) for side in SIDES},
    }
    if "mfu" in pairs[0]["ours"]:
        found["mfu"] = round(median("mfu", "ours"), 4)
    return found


if __name__ == "__main__":
    main()
