"""The size of the training signal over the layers of a network, and over the steps."""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import KEPT, WINDOW, Case, History
from worker.diagnostics.verdicts.measures import CONFIRMED, is_mostly_noise, largest, root_mean_squares
from worker.diagnostics.verdicts.remedies import better_signal, clipping, usual_scale
from worker.diagnostics.verdicts.verdict import VerdictRule

VANISHED: Final = 1e-4
"""Of the largest layer's root mean square, in each of the confirming points."""
DECAYED: Final = 1e-6
"""The same where inference carries the signal: it decays from block to block in runs that go well too (Goemaere et al.
2025, arXiv 2505.20137)."""
NOTHING: Final = 1e-10
"""The same for rules whose layers have losses of their own, or whose estimates are mostly noise: only a signal that is
gone is a fault there."""
NOTHING_LEFT: Final = 1e-7
"""Amazon SageMaker Debugger's limit on the mean absolute gradient."""
EXPLODED: Final = 100.0
"""Root mean square of a gradient of cross-entropy; healthy ones begin below one."""
OUTGROWN: Final = 100.0
"""How much larger the first layer's may be than the last one's."""
REPLACED: Final = 0.8
"""An update ratio at which what training began with is gone."""
EVENLY: Final = 12
"""Logged points that say what is usual."""
SPIKE: Final = 8.0
AGAIN: Final = 2
"""A single spike is met by runs that end well."""
RAISED: Final = 3.0
"""Times the usual loss."""
MATTERS: Final = 0.5
"""Of the first loss: next to nothing may triple."""


class Vanishing(VerdictRule):
    """The gradient per weight of a layer is a ten-thousandth of the largest layer's, or nothing at all."""

    code: ClassVar[VerdictCode] = "vanishing"
    needs: ClassVar[frozenset[str]] = frozenset({"grad_norm"})

    def unfit(self, case: Case) -> str | None:
        """Blocks that learn in turn are still while others learn."""
        return None if getattr(case.rule, "schedule", "simultaneous") == "simultaneous" else "blocks_learn_in_turn"

    def judge(self, history: History) -> Finding | None:
        """Names the lowest layer that gets no signal."""
        sizes = root_mean_squares(history)
        if len(sizes) < 2:
            return None
        limit = _limit(history.case)
        highest = largest(sizes)
        for layer, values in sizes.items():
            ratios = [low / high if high > 0 else math.nan for low, high in zip(values, highest, strict=True)]
            if all(ratio < limit for ratio in ratios):
                return self._of(history, layer, ratio=ratios[-1], limit=limit, rms=values[-1])
        return None

    def _of(self, history: History, layer: str, *, ratio: float, limit: float, rms: float) -> Finding:
        track = history.track("grad_norm", layer)
        assert track is not None
        return self.found(
            track,
            value=ratio,
            threshold=limit,
            window=CONFIRMED,
            comparison="below",
            severity="error" if rms < NOTHING_LEFT else "warning",
            remedies=tuple(_louder(history.case)),
            numbers={"rms": rms},
        )


def _limit(case: Case) -> float:
    if case.rule.exactness == "own_objective" or is_mostly_noise(case):
        return NOTHING
    return DECAYED if hasattr(case.rule, "inference_steps") else VANISHED


def _louder(case: Case) -> Iterator[Remedy]:
    """The rule's own way to carry a signal down first, where it has one."""
    rule, blocks = case.rule, case.spec.network.depth
    yield from usual_scale(case, above=False)
    if rule.kind == "predictive_coding" and getattr(rule, "inference_steps", None) is not None:  # type: ignore[attr-defined]
        yield replacing("Let inference reach every block.", {"/learner/inference_steps": None})
    if (steps := getattr(rule, "num_nudged_steps", None)) is not None and steps <= blocks:
        yield replacing("Let the nudge reach every block.", {"/learner/num_nudged_steps": 2 * (blocks + 1)})
    yield from better_signal(case)


class Exploding(VerdictRule):
    """Gradients are hundreds of times larger than in training that goes well, or grow that much towards the input."""

    code: ClassVar[VerdictCode] = "exploding"
    needs: ClassVar[frozenset[str]] = frozenset({"grad_norm", "update_ratio"})

    def unfit(self, case: Case) -> str | None:
        """The size of an estimate along random directions is the directions' own."""
        return "estimate_is_mostly_noise" if is_mostly_noise(case) else None

    def judge(self, history: History) -> Finding | None:
        """Gradients that grew after a step replaced the weights are not judged: that step is the fault."""
        found = self._excess(history)
        if found is None or _was_shaken(history):
            return None
        layer, value, limit, window = found
        track = history.track("grad_norm", layer)
        assert track is not None
        return self.found(
            track,
            value=value,
            threshold=limit,
            window=window,
            severity="error",
            remedies=tuple(_quieter(history)),
        )

    def _excess(self, history: History) -> tuple[str, float, float, int] | None:
        """Layer, value, limit, and the points that were judged."""
        now = root_mean_squares(history, points=1)
        if not now:
            return None
        worst = max(now, key=lambda layer: now[layer][0])
        if history.case.classes is not None and now[worst][0] > EXPLODED:
            return worst, now[worst][0], EXPLODED, 1
        sizes = root_mean_squares(history)
        if len(sizes) < 2:
            return None
        first, *_, last = sizes
        ratios = [low / high if high > 0 else math.nan for low, high in zip(sizes[first], sizes[last], strict=True)]
        if all(ratio > OUTGROWN for ratio in ratios):
            return first, ratios[-1], OUTGROWN, CONFIRMED
        return None


def _was_shaken(history: History) -> bool:
    """Whether an earlier step of some layer was as large as its weights."""
    tracks = history.by_layer("update_ratio").values()
    return any(ratio > REPLACED for track in tracks for ratio in track.values(KEPT)[:-1])


def _quieter(history: History) -> Iterator[Remedy]:
    case = history.case
    yield from usual_scale(case, above=True)
    norms = history.track("grad_norm")
    if norms is not None and len(norms) > WINDOW:
        yield from clipping(case, _p90(norms.values(WINDOW)))
    yield replacing("Normalise every layer.", {"/network/norm": "layer"})
    yield replacing("Draw the first weights smaller.", {"/network/init": "default"})
    yield from clipping(case, 1.0)


class GradSpike(VerdictRule):
    """Again and again a batch has a gradient many times the usual one, and a loss to match."""

    code: ClassVar[VerdictCode] = "grad_spike"
    needs: ClassVar[frozenset[str]] = frozenset({"grad_norm", "loss"})

    def judge(self, history: History) -> Finding | None:
        norms, loss = history.track("grad_norm"), history.track("loss")
        if norms is None or loss is None or loss.first is None or min(len(norms), len(loss)) < EVENLY:
            return None
        usual, losses = norms.values(EVENLY), loss.values(EVENLY)
        limit, high = SPIKE * median(usual), max(RAISED * median(losses), MATTERS * loss.first[1])
        spikes = [value for value, level in zip(usual, losses, strict=False) if value > limit and level > high]
        if len(spikes) < AGAIN:
            return None
        return self.found(
            norms,
            value=max(spikes),
            threshold=limit,
            window=EVENLY,
            remedies=tuple(clipping(history.case, 2 * median(usual))),
            numbers={"usual": median(usual), "spikes": float(len(spikes))},
        )


def _p90(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]
