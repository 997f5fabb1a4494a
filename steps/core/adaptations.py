"""What adaptations say of each other, of corpora and of tasks, checked; StepError in one line."""

from steps.core.entry import StepError
from steps.core.params import Adaptation, Params, Text, choose

MODELS = "models/"  # where adapted checkpoints lie


def check(params: Params, name: str, where: str) -> None:
    """Check an adaptation's text, where it starts, and what it is the control of."""
    _check_text(params, params.adaptations[name].text, f"{where}.text")
    _check_chain(params, name, f"{where}.start")
    if params.adaptations[name].control_of is not None:
        _check_control(params, name, where)


def _check_text(params: Params, text: Text, where: str) -> None:
    for key in ("corpora", "replay"):
        for one in getattr(text, key):
            choose(one, params.corpora, f"corpus (in {where}.{key})")
    for one in text.tasks:
        choose(one, params.tasks, f"task (in {where}.tasks)")
    if not (text.corpora or text.tasks or any(text.replay.values())):
        raise StepError(f"{where}: no part has a share above 0; add a corpus or a task")
    if both := sorted(text.corpora.keys() & text.replay.keys()):
        raise StepError(f"{where}: {both[0]} is in corpora and in replay; take it out of one")
    if text.nearest and not (text.tasks and text.corpora):
        raise StepError(
            f"{where}.nearest is {text.nearest}: documents of corpora that are nearest to the texts"
            " of tasks; add both, or set it to 0"
        )


def _check_chain(params: Params, name: str, where: str) -> None:
    """What starts at models/NAME goes on from the adaptation NAME, and so on down to a base."""
    chain = [name]
    while (start := params.adaptations[chain[-1]].start).startswith(MODELS):
        below = start.removeprefix(MODELS).rstrip("/")
        choose(below, params.adaptations, f"adaptation (in {where})")
        if below in chain:
            circle = " <- ".join([*chain, below])
            raise StepError(f"{where} makes a circle: {circle}; one of them must start at a base")
        chain.append(below)


def _check_control(params: Params, name: str, where: str) -> None:
    """A control differs from its original in its text alone: else it would show something else."""
    control = params.adaptations[name]
    of = str(control.control_of)
    original = choose(of, params.adaptations, f"adaptation (in {where}.control_of)")
    if original is control or original.control_of is not None:
        raise StepError(f"{where}.control_of is {of!r}, a control itself; name an original")
    for key, ours in control.model_dump(exclude={"text", "control_of"}).items():
        if ours != (theirs := getattr(original, key)):
            raise StepError(
                f"{where}.{key} is {ours!r}, but {theirs!r} in {of}, whose control it is; make them"
                " the same: only their text may differ"
            )
    _check_texts(control, original, where)


def _check_texts(control: Adaptation, original: Adaptation, where: str) -> None:
    ours, theirs = (any(one.text.replay.values()) for one in (control, original))
    if ours != theirs:
        reader = "it" if ours else "its original"
        raise StepError(f"{where}.text.replay: only {reader} trains on replay; give both a share")
    if both := sorted(original.text.corpora.keys() & original.text.tasks.keys()):
        raise StepError(
            f"{where}: its original reads a corpus and a task which are both named {both[0]};"
            " rename one, for the control is measured on domain/NAME of both"
        )
