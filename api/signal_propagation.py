"""How far the training signal reaches: over the layers of a network, and back through the steps of a sequence.

Nothing of it is stored: it follows from norms, and from what they are norms of.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, Field

from api.answers import Number
from store.summaries import Summary

AT_STEP: Final = "time_signal_"
SUMMED_UP: Final = frozenset({"time_signal_ratio", "time_signal_slope"})


class LayerSignal(BaseModel):
    """The signal that reaches one layer."""

    layer: str
    grad_rms: Number = Field(description="root mean square of the entries of its pseudo-gradient; the latest value")


class OverDepth(BaseModel):
    """Latest sizes of the training signal, from the input up; comparable between layers of any size."""

    layers: list[LayerSignal]
    ratio: Number = Field(description="the first layer's over the largest")
    slope: Number = Field(
        description="of log10 over depth, in decades a layer; above 0 the signal fades on its way down"
    )
    reason: str | None = Field(description="why there is none")


class OverTime(BaseModel):
    """Latest norms of d loss / d state along the sequence."""

    steps: list[int] = Field(description="inputs that the state has seen")
    norms: list[Number]
    ratio: Number = Field(description="the earliest over the largest")
    slope: Number = Field(description="of log10 over steps; above 0 the signal fades on its way back")


def over_depth(found: Sequence[Summary], parameters: Mapping[str, int] | None) -> OverDepth:
    """From the latest gradient norms of the network's layers; a learner's own tensors are on nobody's way."""
    if parameters is None:
        return OverDepth(layers=[], ratio=None, slope=None, reason="sizes_not_known")
    sizes = [
        (summary.layer, summary.last / math.sqrt(parameters[summary.layer]))
        for summary in found
        if summary.name == "grad_norm"
        and summary.parameter is None
        and summary.layer is not None
        and not summary.layer.startswith("own.")
        and parameters.get(summary.layer)
    ]
    layers = [LayerSignal(layer=layer, grad_rms=_finite(size)) for layer, size in sizes]
    values = [size for _, size in sizes]
    if len(values) < 2 or not all(math.isfinite(value) for value in values) or max(values) == 0:
        reason = "not_measured" if not values else "one_layer" if len(values) < 2 else "no_finite_signal"
        return OverDepth(layers=layers, ratio=None, slope=None, reason=reason)
    slope = _slope([(float(depth), value) for depth, value in enumerate(values)])
    return OverDepth(layers=layers, ratio=values[0] / max(values), slope=slope, reason=None)


def over_time(found: Sequence[Summary], layer: str) -> OverTime | None:
    """From the latest norms at the steps of this layer; None where it has none."""
    own = {summary.name: summary.last for summary in found if summary.layer == layer and is_over_time(summary.name)}
    curve = sorted((int(name.removeprefix(AT_STEP)), own[name]) for name in own if name not in SUMMED_UP)
    if not curve:
        return None
    return OverTime(
        steps=[step for step, _ in curve],
        norms=[_finite(norm) for _, norm in curve],
        ratio=_finite(own.get("time_signal_ratio", math.nan)),
        slope=_finite(own.get("time_signal_slope", math.nan)),
    )


def is_over_time(name: str) -> bool:
    """Whether a series is a point of the curve over time, or a sum of it."""
    return name.startswith(AT_STEP)


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of the straight line through the logarithms; a layer that nothing reaches has none."""
    heard = [(x, math.log10(y)) for x, y in points if y > 0]
    if len(heard) < 2:
        return None
    return float(np.polyfit([x for x, _ in heard], [y for _, y in heard], 1)[0])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
