"""What a record can be, a document or an example of a task type, and which fields say what is
annotated: with the text they make an exact duplicate.
"""

KINDS: dict[str, tuple[str, ...]] = {
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
