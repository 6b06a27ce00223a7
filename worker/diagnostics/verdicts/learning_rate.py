"""Steps that are too large or too small for the weights that they move."""

from collections.abc import Iterator
from statistics import median
from typing import ClassVar, Final

from specs.optimizers import ConstantSchedule
from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import WINDOW, History, Track
from worker.diagnostics.verdicts.measures import CONFIRMED, SHAKEN, recent, share_fallen, starts_at_zero
from worker.diagnostics.verdicts.remedies import clipping, other_rate, rate_for, usual_scale
from worker.diagnostics.verdicts.verdict import VerdictRule

REPLACED: Final = 0.8
"""A single step that is as large as the weights: what training began with is gone."""
FIRST_POINTS: Final = 5
UNMOVED: Final = 2e-5
"""A fiftieth of the same 1e-3."""
HARDLY_FALLEN: Final = 0.05


class LrTooHigh(VerdictRule):
    """In the first logged points a step of some layer is as large as its weights, or the median step a good part."""

    code: ClassVar[VerdictCode] = "lr_too_high"
    needs: ClassVar[frozenset[str]] = frozenset({"update_ratio", "weight_norm"})

    def judge(self, history: History) -> Finding | None:
        """The layer whose steps are the largest, against its weights. Of weights that start at zero any step is."""
        found = [
            (value, limit, track)
            for layer, track in history.by_layer("update_ratio").items()
            if track.count <= FIRST_POINTS and not starts_at_zero(history, layer)
            for value, limit in _excess(track)
        ]
        if not found:
            return None
        value, limit, worst = max(found, key=lambda each: each[0])
        lower = other_rate(
            history.case,
            "Lower the learning rate: first steps of a few hundredths of the weights.",
            rate_for(history.case, value),
        )
        return self.found(
            worst,
            value=value,
            threshold=limit,
            window=FIRST_POINTS,
            severity="error",
            remedies=(*usual_scale(history.case, above=True), lower),
        )


def _excess(track: Track) -> Iterator[tuple[float, float]]:
    values = track.values(FIRST_POINTS)
    if max(values) > REPLACED:
        yield max(values), REPLACED
    elif len(values) >= CONFIRMED and median(values) > SHAKEN:
        yield median(values), SHAKEN


class LrTooLow(VerdictRule):
    """Steps hardly move the weights, and never did or have left the loss where it was."""

    code: ClassVar[VerdictCode] = "lr_too_low"
    needs: ClassVar[frozenset[str]] = frozenset({"update_ratio", "loss", "clipped_share", "grad_norm"})

    def judge(self, history: History) -> Finding | None:
        """Judges the whole network: one slow layer may be meant to be slow."""
        ratio, loss = history.track("update_ratio"), history.track("loss")
        if ratio is None or loss is None or len(ratio) < WINDOW:
            return None
        never = ratio.highest is not None and ratio.highest[1] < UNMOVED
        if not recent(ratio) < UNMOVED or not (never or share_fallen(loss) <= HARDLY_FALLEN):
            return None
        return self.found(
            ratio,
            value=recent(ratio),
            threshold=UNMOVED,
            window=WINDOW,
            comparison="below",
            remedies=tuple(_larger_steps(history)),
            numbers={"loss_fallen_share": share_fallen(loss)},
        )


def _larger_steps(history: History) -> Iterator[Remedy]:
    """What holds the steps back comes before the rate itself."""
    case = history.case
    fastest = max((recent(track) for track in history.by_layer("update_ratio").values()), default=0.0)
    pointer, optimizer = case.optimizer_pointer, case.optimizer
    clipped = history.track("clipped_share")
    if optimizer.clip_grad_norm is not None and clipped is not None and recent(clipped) > 0.9:
        norm = history.track("grad_norm")
        yield from clipping(case, recent(norm) if norm is not None else 0.0)
    if not isinstance(optimizer.schedule, ConstantSchedule) or optimizer.schedule.warmup_steps > case_steps(history):
        yield replacing(
            "Keep the learning rate constant.", {f"{pointer}/schedule": {"kind": "constant", "warmup_steps": 0}}
        )
    if getattr(optimizer, "eps", 0.0) > 1e-3:
        yield replacing("Let epsilon only guard against zero.", {f"{pointer}/eps": 1e-8})
    yield other_rate(
        case, "Raise the learning rate: steps of a few hundredths of the weights.", rate_for(case, fastest)
    )


def case_steps(history: History) -> float:
    """Steps of the whole job, as far as its pace tells."""
    return history.step / history.share_done if history.share_done > 0 else float(history.step)
