"""The process that replays a job that has ended, and compares what comes out with what the job left.

It trains from a kept checkpoint, or from the start, to the job's last step, by the code that trained: at every later
checkpoint that is kept, and at the end, tensor by tensor and bit by bit; losses at every logged step.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from safetensors.torch import load_file

from specs.reports import Checkpoint, Report, Series
from worker import bounded, checkpoint, resumption
from worker.attempt import Attempt, WorkOrder
from worker.finite import Diverged
from worker.likeness import Likeness, Losses
from worker.link import Link
from worker.storable import storable

_STATE: Final = ("step", "learner", "selection", "skipped_steps")
"""What a checkpoint holds beside tensors that no clock decides."""


@final
class Ears(Link):
    """The other end of a replay: keeps the losses that it hears of. Checkpoints are of no use, and are removed."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def send(self, report: Report) -> None:
        if isinstance(report, Series):
            self._take(report)
        elif isinstance(report, Checkpoint):
            Path(report.path).unlink(missing_ok=True)

    def poll(self) -> None:
        """Nothing comes."""

    def _take(self, report: Series) -> None:
        at = 0
        for block in report.blocks:
            steps = np.frombuffer(report.payload, "<i4", count=block.count, offset=at)
            at += steps.nbytes
            for quantity in block.quantities:
                values = np.frombuffer(report.payload, "<f4", count=block.count, offset=at)
                at += values.nbytes
                if (quantity, block.layer, block.split) == ("loss", None, "train"):
                    self.losses.update(zip(steps.tolist(), values.tolist(), strict=True))


def run(order: Mapping[str, Any], *, folder: Path) -> None:
    """Replay what the order says within its limits, and write the answer whole or not at all."""
    bounded.answer(order, _replayed, folder=folder)


def _replayed(order: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    ears = Ears()
    attempt = Attempt(WorkOrder.parse(order["job"]), ears, folder=folder)
    begun_at, likeness = attempt.loop.step, Likeness()
    state_differs: list[str] = []
    length = attempt.loop.course.length
    metrics: dict[str, Any] | None = None
    diverged = None
    try:
        for kept in order["checkpoints"]:
            length.replay(steps=order["last_step"], pause=kept["step"])
            attempt.loop.run()
            _compare(attempt, kept, likeness, state_differs)
        length.replay(steps=order["last_step"], pause=order["last_step"])
        result = attempt.run()
        metrics = storable({"metrics": result.metrics})["metrics"]
        likeness.compare(load_file(order["weights"]), load_file(result.artifacts["weights.safetensors"]), result.step)
        if result.step != order["last_step"]:
            state_differs.append(f"ended at step {result.step}")
    except Diverged as error:
        diverged = str(error)
    losses = Losses.between(np.load(order["losses"]), ears.losses, after=begun_at)
    metrics_equal = metrics == order["metrics"]
    exact = likeness.exact and losses.exact and metrics_equal and not state_differs and diverged is None
    largest = max(likeness.largest, losses.largest)
    close = not exact and diverged is None and not state_differs and largest <= order["tolerance"]
    return {
        "verdict": "bitwise" if exact else "tolerance" if close else "different",
        "result": storable(
            {
                "from_step": begun_at,
                "to_step": attempt.loop.step,
                "compared_at": likeness.steps,
                "tensors": likeness.tensors,
                "values": likeness.values,
                "losses": losses.count,
                "largest_relative_difference": largest,
                "first_difference": likeness.first,
                "first_loss_difference": losses.first,
                "metrics_equal": metrics_equal,
                "state_differs": state_differs,
                "diverged": diverged,
                "circumstances": _circumstances(order["receipt"], attempt.receipt),
            }
        ),
    }


def _compare(attempt: Attempt, kept: Mapping[str, Any], likeness: Likeness, state_differs: list[str]) -> None:
    stored = checkpoint.load(Path(kept["path"]), sha256=kept["sha256"])
    replayed = resumption.snapshot(attempt.loop)
    likeness.compare(stored.tensors, replayed.tensors, kept["step"])
    again = checkpoint.plain(replayed.state)
    state_differs += [f"{name} at step {kept['step']}" for name in _STATE if stored.state[name] != again[name]]


def _circumstances(stored: Mapping[str, Any], replayed: Mapping[str, Any]) -> dict[str, Any]:
    """Under what else than the job the replay ran: what may explain a difference."""
    return {
        name: {"job": stored.get(name), "replay": value}
        for name, value in replayed.items()
        if name in stored and stored[name] != value
    }
