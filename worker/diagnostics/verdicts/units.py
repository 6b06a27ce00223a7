"""Units that do not answer any more, or answer the same to everything."""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import History, Track
from worker.diagnostics.verdicts.measures import CONFIRMED
from worker.diagnostics.verdicts.remedies import slower
from worker.diagnostics.verdicts.verdict import VerdictRule

DEAD: Final = 0.8
"""Amazon SageMaker Debugger's DeadRelu warns at half; narrow layers of the suite's healthy runs lose two fifths of
their units, and Forward-Forward's, which wants few to answer, more than half."""
ALL: Final = 1.0
"""A layer that is wholly dead needs no second probe, and in a short job there may be none."""
SATURATED: Final = 0.5
"""Amazon SageMaker Debugger's SaturatedActivation."""


class DeadUnits(VerdictRule):
    """Most units of a layer are zero on every row of the probe batch."""

    code: ClassVar[VerdictCode] = "dead_units"
    needs: ClassVar[frozenset[str]] = frozenset({"dead_share", "update_ratio", "weight_norm"})

    def judge(self, history: History) -> Finding | None:
        """Names the lowest such layer: those above it follow."""
        return _lowest_above(self, history, "dead_share", DEAD, _awake, at_once=ALL)


class Saturated(VerdictRule):
    """Most answers of a layer are where its nonlinearity is flat."""

    code: ClassVar[VerdictCode] = "saturated"
    needs: ClassVar[frozenset[str]] = frozenset({"saturated_share"})

    def judge(self, history: History) -> Finding | None:
        """Names the lowest such layer."""
        return _lowest_above(self, history, "saturated_share", SATURATED, _unsaturated)


def _lowest_above(
    rule: VerdictRule,
    history: History,
    quantity: str,
    limit: float,
    remedies: Callable[[History, Track], Iterator[Remedy]],
    *,
    at_once: float = math.inf,
) -> Finding | None:
    for track in history.by_layer(quantity).values():
        values = track.values(CONFIRMED)
        confirmed = len(values) == CONFIRMED and min(values) > limit
        if confirmed or track.latest >= at_once:
            window = CONFIRMED if confirmed else 1
            offered = tuple(remedies(history, track))
            return rule.found(track, value=values[-1], threshold=limit, window=window, remedies=offered)
    return None


def _awake(history: History, dead_share: Track) -> Iterator[Remedy]:
    """Units that died while weights moved were pushed there; those that never lived start elsewhere first."""
    network = history.case.spec.network
    leaky = replacing("Use leaky ReLU, which is nowhere flat.", {"/network/activation": "leaky_relu"})
    if getattr(network, "init", None) == "zeros":
        yield replacing(
            "Draw the first weights at random: units that start at zero stay there.", {"/network/init": "default"}
        )
    if getattr(network, "threshold", 0.0) > 1:
        yield replacing("Lower the threshold above which a unit spikes.", {"/network/threshold": 1.0})
    born_dead = dead_share.first is not None and dead_share.first[1] > DEAD
    yield from (leaky, slower(history)) if born_dead else (slower(history), leaky)


def _unsaturated(_history: History, _saturated_share: Track) -> Iterator[Remedy]:
    yield replacing("Normalise every layer.", {"/network/norm": "layer"})
    yield replacing("Use ReLU, which is flat on one side alone.", {"/network/activation": "relu"})
    yield replacing("Draw the first weights smaller.", {"/network/init": "xavier"})
