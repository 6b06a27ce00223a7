"""Perturbations that are drawn again instead of stored: z(seed) for one parameter group."""

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import ParameterGroup
from learners.noise import Noise
from learners.streams import Streams


@final
class SeededGroup:
    """A group and its standard normal directions z(seed), z(seed + 1) ... One parameter's noise exists at a time."""

    def __init__(self, group: ParameterGroup, streams: Streams, seed: int) -> None:
        self.group = group
        self._streams = streams.child("seeded")
        self._seed = seed

    def noise(self) -> Iterator[Noise]:
        """z(seed) of every parameter in turn."""
        generator = self._generator(0)
        return (Noise(parameter, generator) for parameter in self.group.parameters)

    def add(self, scale: float) -> None:
        """``theta += scale * z`` in place."""
        with torch.no_grad():
            for parameter, noise in zip(self.group.parameters, self.noise(), strict=True):
                noise.add(parameter, scale)

    def draw(self) -> list[Tensor]:
        """z(seed) for every parameter, all at once."""
        return [noise.times(1.0) for noise in self.noise()]

    def gradients(self, scalar: Tensor) -> list[Tensor]:
        """``scalar * z`` for every parameter, all at once; a vector of scalars sums over as many directions."""
        return [_gradient(pairs) for _, pairs in self._one_by_one(scalar)]

    def squared_norm(self, scalar: Tensor, clip_value: float | None) -> Tensor:
        """The squared L2 norm of the group's gradient, clipped by value if asked."""
        total = scalar.new_zeros((), dtype=torch.float64)
        for _, pairs in self._one_by_one(scalar):
            total = total + _gradient(pairs, clip_value).double().square().sum()
        return total

    def descend(
        self, scalar: Tensor, rate: float, decay: float, clip_value: float | None, coefficient: Tensor | None
    ) -> None:
        """One step of plain SGD along the gradient, clipped, with L2 decay, in place."""
        factor = -rate if coefficient is None else -rate * coefficient
        with torch.no_grad():
            for parameter, pairs in self._one_by_one(scalar):
                if decay:
                    parameter.mul_(1 - rate * decay)
                if clip_value is not None:
                    parameter.add_(_gradient(pairs, clip_value).mul_(factor))
                    continue
                for one, noise in pairs:
                    noise.add(parameter, one * factor)

    def _one_by_one(self, scalar: Tensor) -> Iterator[tuple[Parameter, Iterator[tuple[Tensor, Noise]]]]:
        """Every parameter with the directions' scalars and noise, of which one exists at a time."""
        scalars = scalar.reshape(-1).unbind()
        generators = [self._generator(index) for index in range(len(scalars))]
        for parameter in self.group.parameters:
            noise = (Noise(parameter, generator) for generator in generators)
            yield parameter, zip(scalars, noise, strict=True)

    def _generator(self, direction: int) -> torch.Generator:
        device = self.group.parameters[0].device
        return self._streams.generator(self.group.name, self._seed + direction, device=device)


def _gradient(pairs: Iterator[tuple[Tensor, Noise]], clip_value: float | None = None) -> Tensor:
    scalar, noise = next(pairs)
    total = noise.times(scalar)
    for scalar, noise in pairs:
        noise.add(total, scalar)
    return total if clip_value is None else total.clamp_(-clip_value, clip_value)
