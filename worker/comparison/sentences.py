"""The answer in words: whether a learner is worth it on this data, at what cost, or that it cannot be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from specs.comparison_plan import ALPHA

SAVES: Final = 0.9
"""A cost counts as saved from a tenth on: less is within what a loaded machine varies by."""

Worth = Literal["worth_it", "not_worth_it", "undecided"]


@dataclass(frozen=True)
class Said:
    """One arm's answer."""

    worth: Worth
    sentence: str


def of_arm(arm: Mapping[str, Any], *, data: str, unit: str, controls: Mapping[str, Mapping[str, Any]]) -> Said:
    """The sentence of an arm that was tested; ``controls`` are the memory controls by name."""
    found, verdict = arm["difference"], arm["decision"]
    if found is None:
        return Said("undecided", f"{arm['name']} on {data}: undecided, fewer than two seeds have a result.")
    low, high = found["interval"]
    cost = _costs(arm["ratios"])
    gap = f"{found['mean']:+.2f} {unit} ({low:+.2f} to {high:+.2f})".replace("-", "−")
    within = verdict == "worse" and arm["adjusted"]["p_not_worse"] < ALPHA
    worth = _worth("not_worse" if within else verdict, arm["ratios"], controls)
    words = {"worth_it": "is worth it", "not_worth_it": "is not worth it", "undecided": "undecided"}[worth]
    parts = [gap, *cost, *_rivals(arm["ratios"], controls)]
    notes = [f"{arm['diverged']} of {arm['runs']} runs diverged and count as the worst"] if arm["diverged"] else []
    if within:
        notes.append("the loss is real, and within the margin")
    if arm["above_floor"] is False:
        notes.append("it does not beat a frozen random trunk")
    told = ", ".join(parts) + "".join(f"; {note}" for note in notes)
    return Said(worth, f"On {data}, {arm['name']} {words}: {told}.")


def _worth(decision: str, ratios: Mapping[str, float | None], controls: Mapping[str, Mapping[str, Any]]) -> Worth:
    """Better is worth it, worse is not. In between it is worth it when it saves what no control saves for less."""
    if decision == "undecided":
        return "undecided"
    if decision in ("better", "worse"):
        return "worth_it" if decision == "better" else "not_worth_it"
    if any(_saves(ratios[name]) for name in ("seconds", "joules")):
        return "worth_it"
    cheaper = _saves(ratios["memory"]) and not any(_beats(control, ratios) for control in controls.values())
    return "worth_it" if cheaper else "not_worth_it"


def _saves(ratio: float | None) -> bool:
    return ratio is not None and ratio <= SAVES


def _beats(control: Mapping[str, Any], ratios: Mapping[str, float | None]) -> bool:
    """Whether backpropagation by this control reaches the memory in no more time."""
    memory, seconds = control["ratios"]["memory"], control["ratios"]["seconds"]
    if None in (memory, seconds, ratios["memory"], ratios["seconds"]):
        return False
    return bool(memory <= ratios["memory"] and seconds <= ratios["seconds"])


def _costs(ratios: Mapping[str, float | None]) -> list[str]:
    names = {"seconds": "seconds", "memory": "memory", "joules": "joules", "inference": "seconds a prediction"}
    return [f"{ratios[name]:.2g} × {word}" for name, word in names.items() if ratios.get(name) is not None]


def _rivals(ratios: Mapping[str, float | None], controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Controls that need no more memory than the arm, each with its time."""
    own = ratios["memory"]
    if not _saves(own):
        return []
    return [
        f"{name.replace('_', ' with ', 1)} reaches that memory at {control['ratios']['seconds']:.2g} × seconds"
        for name, control in controls.items()
        if control["ratios"]["memory"] is not None
        and own is not None
        and control["ratios"]["memory"] <= own
        and control["ratios"]["seconds"] is not None
    ]


def whole(arms: Sequence[Mapping[str, Any]], *, data: str, tuned: bool, power: Mapping[str, Any]) -> str:
    """The sentence of the comparison: its learner's own, or which of several are worth it."""
    learners = [arm for arm in arms if arm["role"] == "learner"]
    ending = "" if tuned else " Untuned."
    if len(learners) == 1:
        return f"{learners[0]['sentence']}{ending}"
    if not learners:
        return f"On {data} only the controls ran.{ending}"
    groups = {"worth it": "worth_it", "not worth it": "not_worth_it", "undecided": "undecided"}
    said = []
    for words, worth in groups.items():
        names = [arm["name"] for arm in learners if arm["worth"] == worth]
        if names:
            said.append(f"{words}: {', '.join(names)}")
    if all(arm["worth"] == "undecided" for arm in learners):
        needed = power.get("seeds_for_80_percent")
        advice = f"; {needed} seeds find a gap of two deviations four times in five" if needed else ""
        return f"On {data}: undecided{advice}.{ending}"
    return f"On {data}, against backpropagation: {'; '.join(said)}.{ending}"
