"""What a rule may look at: the last points of each series, and what the job is."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from specs.job import JobSpec
from specs.optimizers import Update
from specs.rule import Rule
from specs.signature import DataSignature

WINDOW: Final = 10
"""Logged points that most rules look at."""
KEPT: Final = 128
"""Logged points that are kept of each series."""
TRAIL: Final = 64
"""At most twice as many points stand for the whole life of a series."""


@dataclass(frozen=True)
class Case:
    """The job that is judged. ``rule`` and ``optimizer`` are those of the running phase, and ``optimizer_pointer`` is
    where that one stands in ``spec``; a rule that is not at ``/learner`` belongs to a hybrid.

    ``layers`` are the trained ones in network order, the learner's own last; ``parameters`` counts each layer's.
    """

    spec: JobSpec
    rule: Rule
    optimizer: Update
    optimizer_pointer: str
    signature: DataSignature
    layers: tuple[str, ...]
    parameters: Mapping[str, int]

    @property
    def learning_rate(self) -> float:
        """As set, before the schedule and the groups' own factors."""
        rate: float = self.optimizer.lr  # type: ignore[attr-defined]  # each optimizer has its own default and limits
        return rate

    @property
    def classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return None if self.signature.task == "regression" else self.signature.outputs


@final
class Track:
    """One series up to the step that is judged. Values may be NaN or infinite."""

    def __init__(self, quantity: str, layer: str | None) -> None:
        self.quantity = quantity
        self.layer = layer
        self.count = 0
        """Points so far, kept or not."""
        self.first: tuple[int, float] | None = None
        self.lowest: tuple[int, float] | None = None
        """Step and value; the earliest of several, never a NaN."""
        self.highest: tuple[int, float] | None = None
        self._steps: list[int] = []
        self._values: list[float] = []
        self._seen = 0
        self._trail: list[tuple[int, float]] = []
        self._stride = 1

    def __len__(self) -> int:
        """Points that are kept."""
        return self._seen

    @property
    def latest(self) -> float:
        """The value at the step that is judged, or the last one before it."""
        return self._values[self._seen - 1]

    def values(self, window: int = WINDOW) -> list[float]:
        """The last ``window`` values, oldest first; fewer where there are fewer."""
        return self._values[max(0, self._seen - window) : self._seen]

    def steps(self, window: int = WINDOW) -> list[int]:
        """Their steps."""
        return self._steps[max(0, self._seen - window) : self._seen]

    def trail(self) -> list[tuple[int, float]]:
        """At most 128 points, evenly chosen from the first to about the latest."""
        return list(self._trail)

    def extend(self, steps: Iterable[int], values: Iterable[float]) -> None:
        """Takes points in that are not judged yet."""
        self._steps.extend(steps)
        self._values.extend(values)

    def advance(self, step: int) -> None:
        """Shows the points up to ``step``."""
        seen = bisect_right(self._steps, step, self._seen)
        if seen == self._seen:
            return
        new = list(zip(self._steps[self._seen : seen], self._values[self._seen : seen], strict=True))
        if self.first is None:
            self.first = new[0]
        ordered = [point for point in new if point[1] == point[1]]
        if ordered:
            self.lowest = min([*filter(None, [self.lowest]), *ordered], key=_value)
            self.highest = max([*filter(None, [self.highest]), *ordered], key=_value)
        self._trail += new[-self.count % self._stride :: self._stride]
        while len(self._trail) > 2 * TRAIL:
            self._trail, self._stride = self._trail[::2], 2 * self._stride
        self.count += len(new)
        self._seen = seen

    def state(self) -> list[Any]:
        """What a checkpoint keeps: the extremes, and one window of the points that were judged."""
        ends = [None if end is None else [end[0], _storable(end[1])] for end in (self.first, self.lowest, self.highest)]
        return [self.count, *ends, self.steps(), [_storable(value) for value in self.values()]]

    def restore(self, state: list[Any]) -> None:
        """Takes back what ``state`` gave. The trail begins again with the window."""
        count, first, lowest, highest, steps, values = state
        self.count = count - len(steps)
        self.extend(steps, [float(value) for value in values])
        if steps:
            self.advance(steps[-1])
        self.first, self.lowest, self.highest = (
            None if end is None else (end[0], float(end[1])) for end in (first, lowest, highest)
        )

    def forget(self) -> None:
        """Lets go of points that no window reaches."""
        surplus = self._seen - KEPT
        if surplus > 0:
            del self._steps[:surplus], self._values[:surplus]
            self._seen = KEPT


@final
class History:
    """The tracks of a job, as they stood at ``step``."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.step = 0
        self.share_done = 0.0
        """Share of the job's budget that was done when the points were sent."""
        self._tracks: dict[tuple[str, str | None, str], Track] = {}

    def track(self, quantity: str, layer: str | None = None, *, split: str = "train") -> Track | None:
        """A series that has a point by now."""
        found = self._tracks.get((quantity, layer, split))
        return found if found is not None and len(found) else None

    def by_layer(self, quantity: str) -> dict[str, Track]:
        """The series of all layers that have a point by now, in network order, the learner's own layers last."""
        tracks = ((layer, self.track(quantity, layer)) for layer in self.case.layers)
        return {layer: track for layer, track in tracks if track is not None}

    def extend(
        self, quantity: str, layer: str | None, split: str, steps: Iterable[int], values: Iterable[float]
    ) -> int:
        """Takes points in that are not judged yet; how many the series had before."""
        key = quantity, layer, split
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = Track(quantity, layer)
        before = track.count
        track.extend(steps, values)
        return before

    def state(self) -> list[Any]:
        """What a checkpoint keeps of every track."""
        return [[*key, track.state()] for key, track in self._tracks.items() if track.count]

    def restore(self, state: list[Any]) -> None:
        """Takes back what ``state`` gave."""
        for quantity, layer, split, kept in state:
            track = self._tracks[quantity, layer, split] = Track(quantity, layer)
            track.restore(kept)

    def advance(self, step: int) -> None:
        """Shows all points up to ``step``."""
        self.step = step
        for track in self._tracks.values():
            track.advance(step)

    def forget(self) -> None:
        """Lets go of points that no window reaches."""
        for track in self._tracks.values():
            track.forget()


def _value(point: tuple[int, float]) -> float:
    return point[1]


def _storable(value: float) -> float | str:
    """As JSON knows it; which of the numbers that are not finite it is, rules must know again."""
    return value if math.isfinite(value) else str(value)
