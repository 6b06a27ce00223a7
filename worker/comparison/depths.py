"""The answer of the template memory_by_depth: what a step stores for the backward pass, over the network's depth."""

from collections.abc import Sequence
from typing import Any, Final

from store.comparisons import Row

FLAT: Final = 1.1
PROTOCOL: Final = (
    "One step of each learner at each depth, all hidden layers equally wide, the same batch.",
    "Activation bytes are what is stored for a backward pass at its peak, weights left out.",
    "Growth is the bytes at the greatest depth over those at the least one.",
)


def of(plan: dict[str, Any], final: Sequence[Row], *, data: str) -> dict[str, Any]:
    """Points by depth of each learner, and how far its memory grows."""
    found: dict[str, dict[str, Any]] = {}
    runs = {run.arm: run for run in final}
    for arm in plan["arms"]:
        name = arm["name"].rpartition(" ")[0]
        curve = found.setdefault(name, {"name": name, "role": arm["role"], "points": []})
        curve["points"].append(_point(runs[arm["name"]], depth=len(arm["job"]["network"]["hidden"])))
    for curve in found.values():
        curve["points"].sort(key=lambda point: point["depth"])
        known = [point["activation_bytes"] for point in curve["points"] if point["activation_bytes"]]
        curve["growth"] = known[-1] / known[0] if len(known) == len(curve["points"]) else None
    return {
        "metric": "activation_bytes",
        "unit": "bytes",
        "reference": plan["arms"][0]["name"],
        "tuned": False,
        "sentence": _sentence(list(found.values()), data),
        "protocol": list(PROTOCOL),
        "warnings": [f"Left out: {left['name']}. {left['reason']}" for left in plan["left_out"]],
        "arms": [],
        "memory": list(found.values()),
    }


def _point(run: Row, *, depth: int) -> dict[str, Any]:
    cost = (run.result or {}).get("cost") or {}
    return {
        "depth": depth,
        "status": run.status,
        "error": run.error,
        "activation_bytes": (cost.get("memory") or {}).get("activation_bytes"),
        "peak_bytes": cost.get("peak_bytes"),
    }


def _sentence(curves: Sequence[dict[str, Any]], data: str) -> str:
    least, greatest = (curves[0]["points"][place]["depth"] for place in (0, -1))
    said = [f"{curve['name']} {_grows(curve)}" for curve in curves]
    return f"On {data}, activation bytes from {least} to {greatest} blocks: {', '.join(said)}."


def _grows(curve: dict[str, Any]) -> str:
    """How far a learner's memory grows, or why that is not known."""
    without = [point for point in curve["points"] if point["status"] != "succeeded"]
    if without:
        depths = " and ".join(str(point["depth"]) for point in without)
        causes = dict.fromkeys((point["error"] or {}).get("kind") or point["status"] for point in without)
        return f"without a result at {depths} blocks ({', '.join(causes)})"
    growth = curve["growth"]
    if growth is None:
        return "not measured, as a depth has no reading"
    return "flat" if growth <= FLAT else f"{growth:.2g} ×"
