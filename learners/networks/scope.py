"""The scope of a pass: what makes every forward of one step see the same masks and move statistics once."""

# B = rows of a pass, N = rows of the step's batch

from types import TracebackType
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor, nn

from learners.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from learners.networks.synapses import Synapse

Statistics = Literal["update", "batch"]


@final
class Scope:
    """Shared by all modules of a network, its segments and its copies."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.step = -1
        self.part = 0
        self.rows: tuple[int, int, int] | None = None
        self.statistics: Statistics = "batch"
        self.moved: set[tuple[str, int]] = set()
        self.rule: Callable[[Synapse, Tensor], Tensor] | None = None
        self.outlives_nan = False
        """Whether training goes on after a step that is not finite: statistics then must not follow it."""


@final
class Passing:
    """Sets the scope to one part of one step; leaving restores what was before."""

    def __init__(
        self, scope: Scope, step: int, part: int, rows: tuple[int, int, int] | None, statistics: Statistics
    ) -> None:
        self._scope = scope
        self._inside = (step, part, rows, statistics)

    def __enter__(self) -> None:
        scope = self._scope
        self._before = (scope.step, scope.part, scope.rows, scope.statistics)
        if self._inside[0] != scope.step:
            scope.moved.clear()
        scope.step, scope.part, scope.rows, scope.statistics = self._inside

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The step stays: a second pass of the same part must still know which statistics have moved.
        _, self._scope.part, self._scope.rows, self._scope.statistics = self._before


class Scoped(nn.Module):
    """A module that reads the scope. ``path`` is its name in the whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.scope = Scope(Streams(0))
        self.path = ""


@final
class Dropout(Scoped):
    """Dropout by replayable masks: one per row of the step's batch, one over time, the same in every pass of a step."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        if self.scope.rows is None:
            raise RuntimeError("dropout masks belong to a pass: train inside network.passing(...)")
        start, stop, total = self.scope.rows
        one_row = x.shape[2:] if x.dim() == 3 else x.shape[1:]
        generator = self.scope.streams.generator(self.path, self.scope.step, device=x.device)
        drawn = torch.rand((total, *one_row), generator=generator, device=x.device)[start:stop]
        mask = (drawn >= self.probability).to(x.dtype) / (1 - self.probability)
        if x.dim() == 3:
            mask = mask.unsqueeze(1)
        copies = x.shape[0] // (stop - start)
        return (x.reshape(copies, stop - start, *x.shape[1:]) * mask).reshape(x.shape)


@final
class BatchNorm(Scoped):
    """Batch normalisation over rows and places, per channel. Running statistics move at the first pass of a part."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        moves = self.training and self._moves(x)
        if self.training and (not moves or self.scope.outlives_nan):
            # Copies, not None: a recomputed pass must save the same tensors as the first.
            mean, var = mean.clone(), var.clone()
        y = torch.batch_norm(
            x, self.weight, self.bias, mean, var, self.training, self.momentum, self.eps, torch.backends.cudnn.enabled
        )
        if moves and self.scope.outlives_nan:
            self._follow(mean, var)
        return y

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Takes statistics over unless a number of them is not finite, without waiting for the device."""
        finite = torch.isfinite(mean).all() & torch.isfinite(var).all()
        self.running_mean.copy_(torch.where(finite, mean, self.running_mean))
        self.running_var.copy_(torch.where(finite, var, self.running_var))

    def _moves(self, x: Tensor) -> bool:
        """Whether this pass is the one that moves the running statistics; a single value has no variance."""
        scope = self.scope
        if scope.rows is None:
            raise RuntimeError("batch statistics belong to a pass: train inside network.passing(...)")
        key = (self.path, scope.part)
        if scope.statistics != "update" or key in scope.moved:
            return False
        scope.moved.add(key)
        return x.numel() > x.shape[1]
