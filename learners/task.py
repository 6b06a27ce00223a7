"""The task: the only owner of the loss."""

# B = rows, K = classes or targets

from abc import ABC, abstractmethod
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


class Task(ABC):
    """What the scores are for. ``loss`` is a mean over rows; ``metrics`` are means over rows too."""

    name: str
    classes: bool

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    @abstractmethod
    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        """Mean loss over rows, 0-dim, in at least float32."""

    @abstractmethod
    def error(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        """d loss / d scores [B,K]; it carries the 1/B of the mean."""

    @abstractmethod
    def metrics(self, scores_BK: Tensor, y: Tensor) -> dict[str, Tensor]:
        """What a person reads beside the loss, by name: 0-dim means over rows."""


@final
class Classification(Task):
    """Cross-entropy over K classes; y [B] holds class numbers."""

    name = "classification"
    classes = True

    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(at_least_float32(scores_BK), y)

    def error(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        probabilities_BK = torch.softmax(at_least_float32(scores_BK), dim=1)
        return (probabilities_BK - F.one_hot(y, self.outputs)) / len(y)

    def metrics(self, scores_BK: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (scores_BK.argmax(dim=1) == y).to(torch.float64).mean()}


@final
class Regression(Task):
    """Mean squared error over rows and targets; y [B,K], or [B] for one target."""

    name = "regression"
    classes = False

    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        scores_BK = at_least_float32(scores_BK)
        return F.mse_loss(scores_BK, y.reshape(scores_BK.shape).to(scores_BK.dtype))

    def error(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        scores_BK = at_least_float32(scores_BK)
        return 2 * (scores_BK - y.reshape(scores_BK.shape)) / scores_BK.numel()

    def metrics(self, scores_BK: Tensor, y: Tensor) -> dict[str, Tensor]:
        difference_BK = scores_BK.to(torch.float64) - y.reshape(scores_BK.shape)
        return {"mse": (difference_BK**2).mean()}


class Handed(Task):
    """The task of a lower segment: what the segment above hands down as y [like scores].

    ``rows`` are those whose mean the handed error is of: a rule that splits them later must get its share of it.
    """

    classes = False
    rows: int | None = None

    def metrics(self, scores_BK: Tensor, y: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        return {}


@final
class HandedError(Handed):
    """Follow an error: the loss <scores, y> has y as its gradient everywhere, and no minimum."""

    name = "handed_error"

    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return (at_least_float32(scores_BK) * y).sum() * self._share(y)

    def error(self, scores_BK: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return y * self._share(y)

    def _share(self, y: Tensor) -> float:
        """Makes of a sum over these rows, which carry 1/rows, a mean over them alone."""
        return 1.0 if self.rows is None else self.rows / len(y)


@final
class HandedTarget(Handed):
    """Come near a target: the loss is half the squared distance, meaned over rows."""

    name = "handed_target"

    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return (at_least_float32(scores_BK) - y).square().sum() / (2 * len(y))

    def error(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return (at_least_float32(scores_BK) - y) / len(y)


def at_least_float32(x: Tensor) -> Tensor:
    """x itself, or x in float32 where autocast left it in half precision: sums and losses need the digits."""
    return x.float() if x.dtype in HALF else x
