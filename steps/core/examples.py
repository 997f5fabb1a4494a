"""What a record can be: a document, or an example of a task type."""

KINDS: dict[
    str, tuple[str, ...]
] = {  # -> which fields say what is annotated: with the text they make an exact duplicate
    "documents": (),
    "classification": ("label",),
    "sentiment": ("label",),
    "multilabel": ("labels",),
    "regression": ("score",),
    "pairs": ("pair", "label"),
    "tokens": ("spans",),
    "tags": ("spans",),
    "question_answering": ("question", "answers"),
    **dict.fromkeys(("translation", "summarisation", "generation", "retrieval"), ("target",)),
}
