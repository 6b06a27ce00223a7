"""Loss and metrics of a split, by the learner's own prediction in evaluation mode."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from learners.build import Training
from worker.batches import Rows

CHUNK_ROWS = 1024
MAX_TRAIN_ROWS = 10_000
"""Of the training split, for the final metrics: the first ones."""


@torch.no_grad()
def evaluate(
    training: Training,
    rows: Rows,
    *,
    autocast: Callable[[], AbstractContextManager[None]],
    between_chunks: Callable[[], None],
    chunk_rows: int = CHUNK_ROWS,
) -> dict[str, float]:
    """Means over all rows. Waits for the device once. The mode of training is put back."""
    training.eval()
    totals: dict[str, Tensor] = {}
    for start in range(0, len(rows), chunk_rows):
        between_chunks()
        part = rows.slice(start, start + chunk_rows)
        with autocast():
            scores = training.learner.predict(part.x, part.dt)
            measured = {"loss": training.task.loss(scores, part.y), **training.task.metrics(scores, part.y)}
        for name, value in measured.items():
            weighted = value.double() * len(part)
            totals[name] = totals[name] + weighted if name in totals else weighted
    training.train()
    if not totals:
        return {}
    values = torch.stack(list(totals.values())).tolist()
    return {name: value / len(rows) for name, value in zip(totals, values, strict=True)}
