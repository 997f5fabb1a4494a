"""What a text is written by, for transformers' own `generate`: an encoder-decoder's settings."""

from pathlib import Path

from steps.core.files import read_json
from steps.transfer.exported import tell_tokenizer

CLASS = "AutoModelForSeq2SeqLM"


def lacks(bundle: Path) -> str:
    """What is in the way of an export of a bundle that writes texts; "" where nothing is."""
    if not read_json(bundle / "config.json").get("is_encoder_decoder"):
        return (
            "a causal model goes on after a prompt, which none of its pipelines makes as we do;"
            " start at an encoder-decoder, such as T5 or BART"
        )
    if read_json(bundle / "network.json")["shape"]["frozen"]:
        return "its weights are those of its start alone; take a recipe of strategy full"
    return ""


def settle(bundle: Path, folder: Path) -> None:
    """Write generation_config.json, and let the tokenizer cut texts where ours does."""
    from steps.transfer import networks

    made = networks.network("text").load(bundle, bundle)
    writer, reads = made.encoder, made.reads
    _, *forced = writer.lead  # what every text is made to begin with
    how = writer.settings(reads.longest + len(forced), reads.shape.beams)
    how.return_dict_in_generate = how.output_scores = False
    if forced:
        how.forced_bos_token_id = forced[0]
    how.save_pretrained(folder)
    limit = min(reads.max_tokens, writer.limit or reads.max_tokens)
    tell_tokenizer(folder, read_json(folder / "config.json"), limit)
