"""How the magnitudes of a layer's gradients are spread: counts of log10 |g| in fixed bins, which can be added up."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from learners.context import merged
from learners.learner import ParameterGroup
from worker.probes.probe import Probe, Trained, missing

LOWEST: Final = -12.0
HIGHEST: Final = 4.0
BINS: Final = 64


class Histogram(Probe):
    """Of what the learner would write as ``p.grad`` for one batch, in training mode. No step is taken."""

    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        del other
        layers: dict[str, Any] = {}

        def read(groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
            for group, written in zip(groups, gradients, strict=True):
                layers[group.name] = counted(torch.cat([gradient.reshape(-1) for gradient in written]))
            return False

        training, context = trained.training, trained.training.context
        training.train()
        context.read = read
        context.begin(trained.step)
        batch = trained.batch(self.spec.rows)
        merged([(part.weight, training.learner.update(part, context)) for part in context.passes(batch)])
        context.finish()
        return {
            "log10_lowest": LOWEST,
            "log10_highest": HIGHEST,
            "bins": BINS,
            "rows": len(batch.y),
            "layers": missing(trained.names, layers, "not_updated"),
        }


def counted(gradient: Tensor) -> dict[str, Any]:
    """Numbers [n] by bin; zeros, what is not finite, and what is outside of the bins apart: together they are all."""
    numbers = gradient.detach().double().abs()
    finite = numbers[torch.isfinite(numbers)]
    place = torch.log10(finite[finite > 0])
    inside = place[(place >= LOWEST) & (place < HIGHEST)]
    bins = ((inside - LOWEST) * (BINS / (HIGHEST - LOWEST))).long().clamp(0, BINS - 1)
    return {
        "counts": torch.bincount(bins, minlength=BINS).tolist(),
        "below": int((place < LOWEST).sum()),
        "above": int((place >= HIGHEST).sum()),
        "zero": int((finite == 0).sum()),
        "nonfinite": len(numbers) - len(finite),
        "numbers": len(numbers),
    }
