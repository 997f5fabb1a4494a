"""Sentences that are made from figures, and say *not shown* where the figures do not show it."""

from collections.abc import Mapping
from typing import Any

SHOWN = {"promote": "shown better", "refuse": "shown worse", "inconclusive": "not shown"}


def signed(value: float) -> str:
    """Three decimals with a sign, and a real minus."""
    text = f"{value:+.3f}"
    return ("0.000" if float(text) == 0 else text).replace("-", "−")


def plain(value: float | None, decimals: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{decimals}f}".replace("-", "−")


def size(count: float | None) -> str:
    """A number of parameters: 950, 12.3 k, 22.7 M."""
    if count is None or count < 1000:
        return plain(count, 0)
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.1f} k"


def chance(p: float | None, equals: str = "") -> str:
    """A p-value: three decimals, or that it is less than they can tell."""
    return "< 0.001" if p is not None and p < 0.0005 else equals + plain(p)


def megabytes(count: float | None) -> str:
    """A number of bytes in megabytes, or a dash where there is none."""
    return "–" if count is None else f"{plain(count / 1e6, 1 if count >= 1e5 else 3)} MB"


def span(found: Mapping[str, float], confidence: float) -> str:
    """The interval of a difference in words."""
    return f"{confidence:.0%} interval {signed(found['low'])} to {signed(found['high'])}"


def turned(unit: str, lower_is_better: bool) -> str:
    """What a difference is in, so that nobody takes a gain in a metric of losses for a loss."""
    return f"{unit} (lower is better; + is a gain)".strip() if lower_is_better else unit


def headline(comparison: Mapping[str, Any]) -> str:
    """Who won, whether that holds against the baseline, and on clean test items alone."""
    return f"{_won(comparison)} {_halves(comparison)}".strip()


def _won(comparison: Mapping[str, Any]) -> str:
    winner, title = comparison["winner"], comparison["metric_title"]
    score = comparison["candidates"][winner]["test"]
    won = (
        f"{winner} wins with {title} {plain(score['mean'])} on test "
        f"({'lower is better; ' if comparison['lower_is_better'] else ''}"
        f"{comparison['confidence']:.0%} interval {plain(score['low'])} to {plain(score['high'])})"
    )
    if winner == comparison["baseline"]:
        return f"The baseline wins: {won}. {_rest(comparison)}"
    found = comparison["verdict"]
    said = _gain(found, comparison)
    if found["verdict"] == "promote":
        return f"{won}; it is shown better than the baseline ({said})."
    if found["verdict"] == "refuse":
        return f"{won} by validation, and yet on test it is shown worse than the baseline ({said})."
    return (
        f"{won}; that it is better than the baseline is not shown ({said}; "
        f"a test set of this size finds {plain(found['detectable'])} or more 8 times in 10;"
        f" {settled(found)})."
    )


def settled(found: Mapping[str, Any]) -> str:
    """What would settle a difference that is not shown, `items_needed` of it known."""
    if found["items_needed"]:
        return f"some {found['items_needed']:,} items would settle a difference like this"
    if found["difference"] == 0:
        return "no number of items would settle a difference of nothing"
    return "items alone would not settle it, for seeds differ too much: it takes more of them"


def _halves(comparison: Mapping[str, Any]) -> str:
    """Say what holds on the clean test items, where training has some of them."""
    found = comparison.get("contamination")
    if not found:
        return ""
    many = found["contaminated"]["items"]
    began = f"Training has {many} of the {comparison['test_items']} test items"
    clean = found["clean"]
    if clean is None:
        return f"{began}: nothing is shown on items that are new to it."
    if comparison["winner"] == comparison["baseline"]:
        scored = f"{comparison['metric_title']} {plain(clean['winner'])}"
        return f"{began}; on the {clean['items']} clean ones it has {scored}."
    shown = SHOWN[clean["verdict"]] + (" better" if clean["verdict"] == "inconclusive" else "")
    said = _gain(clean, comparison)
    return f"{began}; on the {clean['items']} clean ones alone it is {shown} ({said})."


def _gain(found: Mapping[str, float], comparison: Mapping[str, Any]) -> str:
    return f"{_change(found, comparison)}, {span(found, comparison['confidence'])}"


def _change(found: Mapping[str, float], comparison: Mapping[str, Any]) -> str:
    """A difference, with a word for its direction where a lower score is the better one."""
    return ("a gain of " if comparison["lower_is_better"] else "") + signed(found["difference"])


def _rest(comparison: Mapping[str, Any]) -> str:
    """Say what came next, where the baseline won."""
    ranking = comparison["ranking"]
    if len(ranking) < 2:
        return "It has no rival."
    found = comparison["candidates"][ranking[1]]["vs_baseline"]
    return (
        f"Next by validation is {ranking[1]}, {_change(found, comparison)} "
        f"against it on test ({span(found, comparison['confidence'])})."
    )


def worth(entry: Mapping[str, Any], unit: str, confidence: float) -> str:
    """Was adaptation worth it, for one strategy; `entry` is adaptation.compare's."""
    said = f"{signed(entry['difference'])} {unit}, {span(entry, confidence)}{_cost(entry)}"
    of = f"{entry['to']} (start: {entry['adaptation']}) against {entry['from']}"
    if not entry["seeds_match"]:
        of += " (other seeds)"
    if entry["verdict"] == "promote":
        first = f"Adaptation is shown better: {of}: {said}."
    elif entry["verdict"] == "refuse":
        first = f"Adaptation is shown worse: {of}: {said}."
    else:
        first = (
            f"A gain by adaptation is not shown: {of}: {said}; this test set finds "
            f"{plain(entry['detectable'])} or more 8 times in 10."
        )
    return " ".join(
        [first, *filter(None, (_on_top(entry, confidence), *_evidence(entry, confidence)))]
    )


def _cost(entry: Mapping[str, Any]) -> str:
    """Device time, and the gain an hour where there is a gain that is shown."""
    rate = entry["gain_per_hour"]
    if rate is None:
        return ""
    said = f", for {plain(entry['device_minutes'], 1)} device minutes"
    if entry["verdict"] != "promote":
        return said
    ends = f"{signed(rate['low'])} to {signed(rate['high'])}"
    return f"{said} ({signed(rate['value'])} an hour, {ends})"


def _on_top(entry: Mapping[str, Any], confidence: float) -> str:
    """What this adaptation gave to the one that it goes on from."""
    found = entry["versus_start"]
    if found is None:
        return ""
    return (
        f"Of that, {signed(found['difference'])} came on top of {found['adaptation']} "
        f"({span(found, confidence)}: {SHOWN[found['verdict']]})."
    )


def _evidence(entry: Mapping[str, Any], confidence: float) -> list[str]:
    """Losses and the split; the field's own losses beside a control's say more than alone."""
    split = entry["split"]
    by_control = _on_domain(entry["adaptation"], split["held_out"]) if split else ""
    losses = [] if by_control else [_losses(entry)]
    return [*losses, _split(entry, confidence), by_control]


def _losses(entry: Mapping[str, Any]) -> str:
    losses = entry["losses"]
    if losses.get("held_out_loss_after") is None:
        return ""
    warm = losses.get("held_out_loss_warm")
    before = losses["held_out_loss_before"] if warm is None else warm
    when = "" if warm is None else " (its head warmed up)"
    after = losses["held_out_loss_after"]
    verb = "fell" if after < before else "did not fall"
    general = [
        f"on {part.partition('/')[2]} it changed by {signed(change)}"
        for part, change in (entry["forgetting"] or {}).items()
    ]
    said = f"Held-out loss on the corpus {verb}: {plain(before, 2)}{when} → {plain(after, 2)}"
    return "; ".join([said, *general]) + "."


def _split(entry: Mapping[str, Any], confidence: float) -> str:
    parts = entry["split"]
    if entry["is_control"]:
        return "This is the control: what it gives comes from the objective, not from the domain."
    if parts is None:
        return (
            "Without a twin from a control adaptation (the same steps on other text) nobody can "
            "tell what the domain gave from what the objective gave."
        )
    said = [
        f"{signed(parts[name]['difference'])} from the {name} "
        f"({span(parts[name], confidence)}: {SHOWN[parts[name]['verdict']]})"
        for name in ("objective", "domain")
    ]
    return f"Split by the control {parts['control']}: {said[0]}, {said[1]}."


def _on_domain(adaptation: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """What the control learnt of the field's text, beside what adaptation to it did."""
    said = [
        f"{name + ' ' if len(found) > 1 else ''}{plain(part['adapted'], 2)} after {adaptation}, "
        f"{plain(part['control'], 2)} after its control"
        for name, part in found.items()
    ]
    return f"Held-out loss on the field's text: {'; '.join(said)}." if said else ""
