"""Perturbations that are drawn again instead of stored: z(seed) for one parameter group."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from learners.learner import ParameterGroup
from learners.streams import Streams


@final
class SeededGroup:
    """A group and its standard normal directions z(seed), z(seed + 1) ... Only one parameter's z exists at a time."""

    def __init__(self, group: ParameterGroup, streams: Streams, seed: int) -> None:
        self.group = group
        self._streams = streams.child("seeded")
        self._seed = seed

    def add(self, scale: float) -> None:
        """``theta += scale * z`` in place."""
        generator = self._generator(0)
        with torch.no_grad():
            for parameter in self.group.parameters:
                parameter.add_(_draw(parameter, generator), alpha=scale)

    def draw(self, into: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        """z(seed) for every parameter, all at once; ``into`` tensors that are there, or new ones."""
        generator = self._generator(0)
        if into is None:
            return [_draw(parameter, generator) for parameter in self.group.parameters]
        for tensor in into:
            tensor.normal_(generator=generator)
        return into

    def gradients(self, scalar: Tensor) -> list[Tensor]:
        """``scalar * z`` for every parameter, all at once; a vector of scalars sums over as many directions."""
        scalars = scalar.reshape(-1).unbind()
        generators = [self._generator(index) for index in range(len(scalars))]
        return [self._gradient(p, list(zip(scalars, generators, strict=True))) for p in self.group.parameters]

    def squared_norm(self, scalar: Tensor, clip_value: float | None) -> Tensor:
        """The squared L2 norm of the group's gradient, clipped by value if asked."""
        total = scalar.new_zeros((), dtype=torch.float64)
        for _, gradient in self._one_by_one(scalar, clip_value):
            total = total + gradient.double().square().sum()
        return total

    def descend(
        self, scalar: Tensor, rate: float, decay: float, clip_value: float | None, coefficient: Tensor | None
    ) -> None:
        """One step of plain SGD along the gradient, clipped, with L2 decay, in place."""
        with torch.no_grad():
            for parameter, gradient in self._one_by_one(scalar, clip_value):
                if coefficient is not None:
                    gradient = gradient * coefficient.to(gradient.dtype)
                if decay:
                    gradient = gradient.add(parameter, alpha=decay)
                parameter.sub_(gradient, alpha=rate)

    def _one_by_one(self, scalar: Tensor, clip_value: float | None):  # type: ignore[no-untyped-def]
        scalars = scalar.reshape(-1).unbind()
        pairs = [(one, self._generator(index)) for index, one in enumerate(scalars)]
        for parameter in self.group.parameters:
            gradient = self._gradient(parameter, pairs)
            yield parameter, gradient if clip_value is None else gradient.clamp_(-clip_value, clip_value)

    def _gradient(self, parameter: Tensor, pairs: list[tuple[Tensor, torch.Generator]]) -> Tensor:
        total: Tensor | None = None
        for scalar, generator in pairs:
            term = _draw(parameter, generator).mul_(scalar.to(parameter.dtype))
            total = term if total is None else total.add_(term)
        assert total is not None
        return total

    def _generator(self, direction: int) -> torch.Generator:
        device = self.group.parameters[0].device
        return self._streams.generator(self.group.name, self._seed + direction, device=device)


def _draw(parameter: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype, device=parameter.device)
