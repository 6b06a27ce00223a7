"""The true gradient of a batch, and how much of it is rounding."""

from collections.abc import Sequence
from typing import Final, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch
from worker.diagnostics.diagnostic import StepView, Subject

RESCALED: Final = 0.7
"""Backpropagation is linear in its seed: one that is no power of two changes a gradient by its rounding alone."""
LARGEST_SHARE: Final = 0.1
"""Of rounding in a gradient that may be a reference; healthy ones have about 1e-6 in float32 and 0.004 in bfloat16."""
DOUBTFUL_SHARE: Final = 0.02
LOOKS_APART: Final = 8


class Reference(NamedTuple):
    """The true gradient by parameter, and the difference that rounding makes, where it was looked at."""

    gradient: dict[Parameter, Tensor]
    rounding: dict[Parameter, Tensor]


def true_gradient(subject: Subject, view: StepView, parts: Sequence[Batch], *, rounding: bool) -> Reference | None:
    """The gradient of ``learner.reference``, of all parts; None where there is none. Before anything moves.

    It touches no ``.grad``, no statistics and no generator. With ``rounding`` it is taken twice on one graph, with
    seeds of two sizes.
    """
    parameters, found = subject.parameters, Reference({}, {})
    for index, part in enumerate(parts):
        with torch.enable_grad(), subject.network.passing(view.step - 1, index, part.rows, "batch"):
            with view.autocast():
                loss = subject.learner.reference(part)
            if loss is None:
                return None
            weighted = loss * part.weight
            once = torch.autograd.grad(weighted, parameters, allow_unused=True, retain_graph=rounding)
            again = torch.autograd.grad(weighted * RESCALED, parameters, allow_unused=True) if rounding else once
        for parameter, gradient, other in zip(parameters, once, again, strict=True):
            if gradient is not None:
                _add(found.gradient, parameter, gradient)
                if rounding and other is not None:
                    _add(found.rounding, parameter, other / RESCALED - gradient)
    # Autocast keeps casts of weights; the learner must not find the probe's.
    torch.clear_autocast_cache()
    return found


def _add(sums: dict[Parameter, Tensor], parameter: Parameter, gradient: Tensor) -> None:
    earlier = sums.get(parameter)
    sums[parameter] = gradient if earlier is None else earlier + gradient


@final
class RoundingFloor:
    """The squared norm, by parameter, of what rounding makes of the true gradient: the floor of its dtype and of every
    sum on its way, as it was when it was last looked at.

    A look costs a second backward pass. It is taken at the first probe, at every eighth, and as long as a layer is in
    doubt. Where a gradient is nothing but rounding (arXiv 2606.21126: below a layer norm that the loss cannot
    see through), no cosine with it means anything.
    """

    def __init__(self) -> None:
        self._squares: dict[Parameter, float] = {}
        self._probes = 0
        self._in_doubt = True

    @property
    def wants_a_look(self) -> bool:
        """Whether the coming probe should measure the rounding."""
        return self._in_doubt or self._probes % LOOKS_APART == 0

    def looked(self, squares: dict[Parameter, float]) -> None:
        """Takes squared norms of the rounding by parameter; nothing where there was no look."""
        self._squares |= squares
        self._in_doubt = False
        self._probes += 1

    def admits(self, parameters: Sequence[Parameter], reference_square: float) -> bool:
        """Whether a reference of this squared norm, of these parameters, stands out of its rounding."""
        rounding = sum(self._squares.get(parameter, 0.0) for parameter in parameters)
        self._in_doubt = self._in_doubt or not rounding <= DOUBTFUL_SHARE**2 * reference_square
        return rounding <= LARGEST_SHARE**2 * reference_square


def underflow(reference: Tensor) -> float:
    """The root mean square below which entries lose bits to underflow."""
    limits = torch.finfo(reference.dtype)
    return limits.tiny / limits.eps
