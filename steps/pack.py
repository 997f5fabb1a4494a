"""Stage `pack`: documents -> token blocks, boundaries kept, no token lost.

python -m steps.pack ADAPTATION DOCUMENTS START OUT
"""

import hashlib
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from steps.core.entry import StepError, run
from steps.core.files import digest, read_json, read_rows, whole, write_json
from steps.core.params import Pack, load
from steps.transfer.packing import Piece, best_fit, cut, fill, frame, read_tokenizer


def pack(documents: list[dict[str, Any]], tokenizer: Tokenizer, params: Pack, out: Path) -> None:
    """Write training and held-out blocks, and a ledger: tokens in = tokens out."""
    before, after = frame(tokenizer)
    padding = tokenizer.token_to_id("[PAD]") or 0
    room = params.block_tokens - len(before) - len(after)
    held = held_out(documents, params)
    ledger = {}
    for name, chosen in (
        ("train", [d for d in documents if d["id"] not in held]),
        ("held_out", [d for d in documents if d["id"] in held]),
    ):
        texts = [document["text"] for document in chosen]
        ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        bare = [piece for one in ids for piece in cut(one, room)]
        pieces: list[Piece] = [(*before, *piece, *after) for piece in bare]
        groups = best_fit([len(piece) for piece in pieces], params.block_tokens)
        blocks = fill(pieces, groups, params.block_tokens, padding)
        blocks.save(out, name)
        ledger[name] = {
            "documents": len(chosen),
            "tokens_in": sum(map(len, ids)),
            "tokens_out": blocks.size - len(pieces) * (len(before) + len(after)),
            "pieces": len(pieces),
            "blocks": len(blocks),
            "fill": round(blocks.size / blocks.tokens.size, 4) if len(blocks) else 0.0,
        }
    check(ledger)
    write_json(out / "ledger.json", ledger)


def check(ledger: dict[str, dict[str, Any]]) -> None:
    """A lost token is our bug; no blocks at all is a matter of the corpus."""
    for name, part in ledger.items():
        if part["tokens_in"] != part["tokens_out"]:
            raise RuntimeError(f"{name}: {part['tokens_in']} tokens in, {part['tokens_out']} out")
        if not part["blocks"]:
            raise StepError(
                f"no {name} document is left to pack; add text to the corpus, or change"
                " pack.held_out in params.yaml"
            )


def held_out(documents: list[dict[str, Any]], params: Pack) -> set[str]:
    """Choose documents by a seeded hash of their id, until the share or the tokens are reached."""
    ranked = sorted(documents, key=lambda d: _rank(d["id"], params.seed))
    found: set[str] = set()
    words = 0
    for document in ranked[: max(1, round(params.held_out * len(ranked)))]:
        found.add(document["id"])
        words += len(document["text"].split())
        if words * 1.5 > params.held_out_tokens:  # a word is about 1.5 tokens
            break
    return found


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def main(adaptation: str, documents: Path, start: Path, out: Path) -> None:
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing is forked here
    params = load()
    rows = read_rows(documents / "documents")
    with whole(out) as made:
        pack(rows, read_tokenizer(start), params.pack, made)
        ledger = read_json(made / "ledger.json")
        ledger["tokenizer"] = digest(start / "tokenizer.json")
        write_json(made / "ledger.json", ledger)
    said = ledger["train"]
    print(f"{adaptation}: {said['documents']} documents, {said['tokens_in']} tokens, ", end="")
    print(f"{said['blocks']} blocks, {said['fill']:.1%} full")


if __name__ == "__main__":
    run(main)
