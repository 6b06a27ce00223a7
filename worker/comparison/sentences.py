"""The answer in words: whether a learner is worth it on this data, at what cost, or that it cannot be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from specs.comparison_plan import ALPHA
from worker.comparison.costs import SAVES

Worth = Literal["worth_it", "not_worth_it", "neither", "undecided", "no_result"]

WORDS: Final[Mapping[str, str]] = {
    "worth_it": "is worth it",
    "not_worth_it": "is not worth it",
    "neither": "is no win and no loss",
    "undecided": "undecided",
}
GROUPS: Final[Mapping[str, str]] = {
    "worth_it": "worth it",
    "not_worth_it": "not worth it",
    "neither": "no win and no loss",
    "undecided": "undecided",
    "no_result": "no result, its jobs failed",
}
COSTS: Final = {"seconds": "seconds", "joules": "joules", "inference": "seconds a prediction"}


@dataclass(frozen=True)
class Said:
    """One arm's answer."""

    worth: Worth
    sentence: str


def of_arm(
    arm: Mapping[str, Any],
    *,
    data: str,
    unit: str,
    controls: Mapping[str, Mapping[str, Any]],
    learned: bool | None = True,
) -> Said:
    """The sentence of an arm that was tested; ``controls`` are the memory controls by name.

    ``learned`` says whether the reference is above the frozen trunk; None: not known.
    """
    name, found, verdict = arm["name"], arm["difference"], arm["decision"]
    if arm["error"] is not None:
        told = f"{arm['error'].get('kind')}: {arm['error'].get('message')}"
        return Said("no_result", f"On {data}, {name} has no result: its jobs failed ({told}).")
    ending = f"; it {_divergence(arm)}, which count as the worst" if arm["diverged"] else ""
    if found is None:
        return Said("undecided", f"{name} on {data}: undecided, fewer than two seeds have a result{ending}.")
    if arm["same_arithmetic"]:
        same = "the same results to the bit and the same FLOPs on every seed"
        return Said("neither", f"On {data}, {name} is the same arithmetic as backpropagation: {same}.")
    if learned is False:
        return Said(
            "undecided",
            f"On {data}, {name} undecided: the reference did not learn (it is not above a frozen random trunk), so "
            f"nothing is decided; {_gap(found, unit)}{ending}.",
        )
    within = verdict == "worse" and not arm["diverged"] and arm["adjusted"]["p_not_worse"] < ALPHA
    worth = _worth("not_worse" if within else verdict, arm, controls)
    if within:
        ending += "; the loss is real, and within the margin"
    if arm["above_floor"] is False and verdict != "undecided":
        ending += "; it does not beat a frozen random trunk"
    told = ", ".join([_gap(found, unit), *_costs(arm), *_rivals(arm, controls)])
    return Said(worth, f"On {data}, {name} {WORDS[worth]}: {told}{ending}.")


def _divergence(arm: Mapping[str, Any]) -> str:
    return f"diverged on {arm['diverged']} of {arm['runs']} seeds"


def _gap(found: Mapping[str, Any], unit: str) -> str:
    low, high = found["interval"]
    if found["without_spread"]:
        told = f"{found['mean']:+.2f} {unit} on every seed"
    else:
        told = f"{found['mean']:+.2f} {unit} ({low:+.2f} to {high:+.2f} uncorrected)"
    return told.replace("-", "−")


def _worth(decision: str, arm: Mapping[str, Any], controls: Mapping[str, Mapping[str, Any]]) -> Worth:
    """Better is worth it, worse is not. In between it is worth it when it saves what no control saves for less.

    What a clock cannot tell is no win and no loss.
    """
    if decision == "undecided":
        return "undecided"
    if decision in ("better", "worse"):
        return "worth_it" if decision == "better" else "not_worth_it"
    verdicts = [arm["timed"][name]["verdict"] for name in ("seconds", "joules")]
    memory = arm["ratios"]["memory"]
    rivals = [arm["against"][name]["verdict"] for name in _reaching(arm, controls)]
    if "saves" in verdicts or (_saves(memory) and all(rival == "saves" for rival in rivals)):
        return "worth_it"
    loses = "costs" in verdicts or "costs" in rivals or (memory is not None and memory >= 1 / SAVES)
    return "not_worth_it" if loses else "neither"


def _saves(ratio: float | None) -> bool:
    return ratio is not None and ratio <= SAVES


def _reaching(arm: Mapping[str, Any], controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Controls that need no more memory than an arm that saves some."""
    own = arm["ratios"]["memory"]
    if own is None or not _saves(own):
        return []
    known = {name: control["ratios"]["memory"] for name, control in controls.items()}
    return [name for name, memory in known.items() if memory is not None and memory <= own]


def _costs(arm: Mapping[str, Any]) -> list[str]:
    """Each cost beside the reference's; a time with its interval, and with why it decides nothing where it does not."""
    said = []
    for name, word in COSTS.items():
        timed = arm["timed"][name]
        if timed["ratio"] is None:
            continue
        brackets = []
        if timed["interval"] is not None:
            brackets.append("{:.2g} to {:.2g}".format(*timed["interval"]))
        if name != "inference" and timed["reason"] is not None:
            brackets.append(f"no win and no loss: {timed['reason']}")
        said.append(f"{timed['ratio']:.2g} × {word}" + (f" ({', '.join(brackets)})" if brackets else ""))
    if arm["ratios"]["memory"] is not None:
        said.append(f"{arm['ratios']['memory']:.2g} × {arm['memory_of']}")
    return said


def _rivals(arm: Mapping[str, Any], controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Controls that reach the arm's memory, each with its time."""
    return [
        f"{name.replace('_', ' with ', 1)} reaches that memory at {controls[name]['ratios']['seconds']:.2g} × seconds"
        for name in _reaching(arm, controls)
        if controls[name]["ratios"]["seconds"] is not None
    ]


def whole(
    arms: Sequence[Mapping[str, Any]],
    *,
    data: str,
    tuned: bool,
    power: Mapping[str, Any],
    learned: bool | None = True,
    left_out: Sequence[str] = (),
) -> str:
    """The sentence of the comparison: its learner's own, or which of several are worth it, and who was left out."""
    learners = [arm for arm in arms if arm["role"] == "learner"]
    ending = "" if tuned else " Untuned."
    if left_out:
        ending += f" Left out, as they do not fit: {', '.join(left_out)}."
    if len(learners) == 1:
        return f"{learners[0]['sentence']}{ending}"
    if not learners:
        return f"On {data} only the controls ran.{ending}"
    said = []
    for worth, words in GROUPS.items():
        of_group = [arm for arm in learners if arm["worth"] == worth]
        names = [f"{arm['name']} ({_divergence(arm)})" if arm["diverged"] else arm["name"] for arm in of_group]
        if names:
            said.append(f"{words}: {', '.join(names)}")
    groups = "; ".join(said)
    if learned is False:
        why = "the reference did not learn (it is not above a frozen random trunk), so nothing is decided"
        return f"On {data}, {why}; {groups}.{ending}"
    needed = power.get("seeds_for_80_percent")
    if needed and all(arm["worth"] == "undecided" for arm in learners):
        groups += f"; {needed} seeds find a gap of two deviations four times in five"
    return f"On {data}, against backpropagation: {groups}.{ending}"
