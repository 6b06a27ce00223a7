"""Evaluation at the end of an epoch: what it found, the best weights so far, and whether training should end."""

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from learners.build import Training
from specs.reports import Event
from specs.training import EarlyStoppingSpec
from worker import checkpoint
from worker.diagnostics.diagnostic import WHOLE, Point
from worker.diagnostics.series import SeriesBuffer, Split
from worker.early_stopping import BestEvaluation


@final
class Selection:
    """Takes evaluations of the validation split in order."""

    def __init__(self, spec: EarlyStoppingSpec | None, training: Training) -> None:
        self._training = training
        self.best = BestEvaluation(spec)
        self.latest: dict[str, float] = {}
        self.latest_step = -1
        self.stopped = False
        self._kept: dict[str, Tensor] = {}

    def take(self, metrics: dict[str, float], step: int) -> None:
        """Notes an evaluation of the weights after ``step`` steps; keeps them if they are the best and wanted."""
        self.latest, self.latest_step = metrics, step
        if self.best.take(metrics, step) and self.best.keeps_weights:
            model = checkpoint.model_tensors(self._training.network, self._training.own)
            self._kept = {name: tensor.detach().clone() for name, tensor in model.items()}
        self.stopped = self.best.should_stop

    def restore_best(self) -> bool:
        """Puts the best weights back, where they are kept; True if they were not the last ones."""
        if not self._kept or self.best.step == self.latest_step:
            return False
        checkpoint.restore_model(self._training.network, self._training.own, self._kept)
        return True

    def summary(self) -> dict[str, Any] | None:
        """The job's ``best``."""
        if self.best.value is None:
            return None
        return {
            "metric": self.best.metric,
            "split": "validation",
            "value": self.best.value,
            "step": self.best.step,
            "restored": bool(self._kept),
        }

    def tensors(self) -> dict[str, Tensor]:
        return {f"best.{name}": tensor for name, tensor in self._kept.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best.state_dict(),
            "latest": self.latest,
            "latest_step": self.latest_step,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.best.load_state_dict(state["best"])
        self.latest, self.latest_step = state["latest"], state["latest_step"]
        self.stopped = state["stopped"]
        device = next(self._training.network.parameters()).device
        self._kept = {name: tensor.to(device) for name, tensor in checkpoint.below("best.", tensors).items()}


def evaluation_event(split: Split, metrics: dict[str, float], *, step: int, epoch: int | None) -> Event:
    """The event that a person watches for."""
    return Event(event="evaluation", detail={"split": split, "step": step, "epoch": epoch, "metrics": metrics})


def add_to_series(series: SeriesBuffer, split: Split, metrics: dict[str, float], *, step: int) -> None:
    """Each metric as a point of its split's series."""
    for name, value in metrics.items():
        series.add(step, Point(name, "share" if name == "accuracy" else "", WHOLE, value), split)
