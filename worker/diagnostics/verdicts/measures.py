"""What several rules read from a history."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median, variance
from typing import Final

from specs.rule import Rule
from worker.diagnostics.verdicts.history import Case, History, Track

CONFIRMED: Final = 3
"""Logged points in a row that a fault is seen at: found within two intervals, and no single batch decides."""
RECENT: Final = 5
SHAKEN: Final = 0.25
"""Update ratio: 250 times the 1e-3 of the CS231n notes; momentum may reach 0.16 in runs that end well."""
TWO_SIGMA: Final = 2.0
HALF: Final = 0.5


def is_mostly_noise(case: Case) -> bool:
    """Whether gradients are estimated along random directions, and more than half of the square of even a correct
    estimate is the directions' own in every layer: its size then tells of them, not of the gradient."""
    rules = [rule for rule in (case.rule, *(held.rule for held in case.rule.held())) if _draws_directions(rule)]
    cosines = [rule.expected_alignment(size=size, noise=1.0) for rule in rules for size in case.parameters.values()]
    return bool(rules) and all(cosine is None or cosine**2 < HALF for cosine in cosines)


def _draws_directions(rule: Rule) -> bool:
    return hasattr(rule, "num_directions") or hasattr(rule, "population_size")


def root_mean_squares(history: History, *, points: int = CONFIRMED) -> dict[str, list[float]]:
    """The gradient's root mean square per weight at the last ``points`` points, of each layer of the network that has
    as many. Layers of different sizes are comparable by it, norms are not."""
    return {
        layer: [norm / math.sqrt(history.case.parameters[layer]) for norm in track.values(points)]
        for layer, track in history.by_layer("grad_norm").items()
        if len(track) >= points and not layer.startswith("own.")
    }


def largest(sizes: Mapping[str, Sequence[float]]) -> list[float]:
    """The largest layer's value at each point."""
    return [max(values) for values in zip(*sizes.values(), strict=True)]


def starts_at_zero(history: History, layer: str) -> bool:
    """Whether all weights of the layer were zero at its first point: any step is large against them."""
    weights = history.track("weight_norm", layer)
    return weights is not None and weights.first is not None and weights.first[1] == 0


def largest_ratio(history: History) -> float:
    """The largest step that any layer took, against weights that did not start at zero; NaN where none was measured."""
    tracks = history.by_layer("update_ratio").items()
    highest = [track.highest for layer, track in tracks if not starts_at_zero(history, layer)]
    return max((point[1] for point in highest if point is not None), default=math.nan)


def recent(track: Track, points: int = RECENT) -> float:
    """The median of the last points: no single batch moves it."""
    return median(track.values(points))


def share_fallen(loss: Track) -> float:
    """How far the loss came down from where it began, as a share of that: 0 or less where it did not."""
    assert loss.first is not None
    start = loss.first[1]
    return (start - recent(loss)) / abs(start) if start else 0.0


def is_falling(loss: Track) -> bool:
    """Whether the later half of all points lies below the earlier one by more than their scatter explains."""
    values = [value for _, value in loss.trail()]
    half = len(values) // 2
    early, late = values[:half], values[half:]
    if half < CONFIRMED or not all(map(math.isfinite, values)):
        return False
    scatter = math.sqrt(variance(early) / len(early) + variance(late) / len(late))
    return mean(early) - mean(late) > TWO_SIGMA * scatter


def chance_loss(classes: int | None) -> float | None:
    """The cross-entropy of a guess that knows nothing; None for a regression."""
    return None if classes is None else math.log(max(2, classes))
