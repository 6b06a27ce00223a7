"""The whole bill of an arm: training and inference as means over its seeds, tuning as the sum of its trials."""

import math
from collections.abc import Sequence
from typing import Any

from store.comparisons import Row

TRAINING = ("training_s", "wall_s", "cpu_s", "flops", "forwards", "backwards", "peak_bytes")
INFERENCE = ("seconds_per_row", "flops_per_row", "joules_per_row")


def of_arm(finals: Sequence[Row], trials: Sequence[Row]) -> dict[str, Any]:
    """Means of what is known; null where nothing was measured, with the reason where it is known."""
    costs = [run.result["cost"] for run in finals if run.result and run.result.get("cost")]
    inference = [cost["inference"] for cost in costs if cost.get("inference")]
    return {
        "training": {
            **{name: _mean([cost.get(name) for cost in costs]) for name in TRAINING},
            "activation_bytes": _mean([(cost.get("memory") or {}).get("activation_bytes") for cost in costs]),
            **_energy([cost.get("energy") or {} for cost in costs], _mean),
        },
        "tuning": _tuning(trials),
        "inference": {
            **{name: _mean([of.get(name) for of in inference]) for name in INFERENCE},
            "joules_reason": next((of["joules_reason"] for of in inference if of.get("joules_reason")), None),
        },
        "parameters": {
            "trained": _mean([cost.get("parameters") for cost in costs]),
            "frozen": _mean([cost.get("parameters_frozen") for cost in costs]),
            "deployed": _mean([cost.get("parameters_deployed") for cost in costs]),
            "training_only": _mean([cost.get("parameters_training_only") for cost in costs]),
        },
    }


def _tuning(trials: Sequence[Row]) -> dict[str, Any]:
    costs = [run.result["cost"] for run in trials if run.result and run.result.get("cost")]
    return {
        "runs": len(trials),
        **{name: _sum([cost.get(name) for cost in costs]) for name in ("training_s", "wall_s", "cpu_s", "flops")},
        **_energy([cost.get("energy") or {} for cost in costs], _sum),
    }


def _energy(read: Sequence[dict[str, Any]], together: Any) -> dict[str, Any]:
    """Joules where every run has them: a sum of some would look like a small bill."""
    joules = [energy.get("joules") for energy in read]
    if joules and None not in joules:
        return {"joules": together(joules), "joules_reason": None}
    return {"joules": None, "joules_reason": next((e["reason"] for e in read if e.get("reason")), None)}


def ratio(bill: dict[str, Any], reference: dict[str, Any], section: str, name: str) -> float | None:
    """An arm's figure by the reference's."""
    own, other = bill[section][name], reference[section][name]
    return own / other if own is not None and other else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None
