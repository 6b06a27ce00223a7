"""The update context that the loop hands to a learner, and the one place where gradients become changes of weights.

The seam to the loop. ``TrainingContext`` owns the writer, micro-batches, commits, clipping, learning rates and the
optimizers' steps; the loop owns data, autocast, probes, meters and checkpoints. One step is::

    context.read = probe_or_None            # only on logged steps: without it nothing is collected
    context.begin(step)                     # learning rates; gradients freed
    reports = [(part.weight, learner.update(part, context)) for part in context.passes(batch)]
    context.finish()                        # steps every group that was not committed
    report = merged(reports)

``passes`` opens ``network.passing(...)`` around each part. ``read(groups, gradients)`` is called once for all groups
that step together, on raw gradients (micro-batches summed, reduced over devices, not clipped); it returns whether to
step. With ``apply_seeded`` it is called group by group. It may raise. ``reduce(tensors)`` sums gradients over devices
in place. ``withheld`` says that a seeded step was not finite and not taken. ``clippings`` holds the step's (groups,
coefficient) pairs; a coefficient below 1 means clipped.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch, ParameterGroup, StepReport, UpdateContext
from learners.networks.block_network import BlockNetwork
from learners.optimizers import Optimizers, Unit
from learners.seeded import SeededGroup
from learners.streams import Streams

ReadPoint = Callable[[Sequence[ParameterGroup], Sequence[Sequence[Tensor]]], bool]


@final
class TrainingContext(UpdateContext):
    """The context of a whole learner. ``whole_batch`` and ``micro_batch_size`` say how a step's batch is split."""

    def __init__(
        self,
        network: BlockNetwork,
        optimizers: Optimizers,
        streams: Streams,
        *,
        whole_batch: bool,
        micro_batch_size: int | None = None,
    ) -> None:
        self.step = 0
        self.part = 0
        self.streams = streams
        self.read: ReadPoint | None = None
        self.reduce: Callable[[Sequence[Tensor]], None] | None = None
        self.clippings: list[tuple[Sequence[ParameterGroup], Tensor]] = []
        self.withheld = False
        self._network = network
        self._optimizers = optimizers
        self._whole_batch = whole_batch
        self._micro_batch_size = micro_batch_size
        first = next(network.parameters())
        self._dtype, self._device = first.dtype, first.device
        self._weight = 1.0
        self._rows = (0, 0, 0)
        self._last = True
        self._open = list(optimizers.units)

    def begin(self, step: int) -> None:
        """Starts step ``step`` (counted from 0)."""
        self.step = step
        self._open = list(self._optimizers.units)
        self.withheld = False
        if self.clippings:
            self.clippings = []
        self._optimizers.prepare(step)
        for unit in self._open:
            unit.clear()

    def passes(self, batch: Batch) -> Iterator[Batch]:
        """The parts that the learner is to update on, each inside its pass."""
        parts = [batch] if self._whole_batch else batch.split(self._micro_batch_size)
        for index, part in enumerate(parts):
            self.part = index
            self._weight, self._rows, self._last = part.weight, part.rows, index == len(parts) - 1
            with self._network.passing(self.step, index, part.rows, "update"):
                yield part

    def finish(self) -> None:
        """Steps everything that was not committed."""
        for unit in self._open:
            self._apply(unit)
        self._open = []

    def write(self, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        write_gradients(parameters, gradients, self._weight)

    def backward(
        self, objective: Tensor, parameters: Sequence[Parameter], *inputs: Tensor, seed: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(objective, (*parameters, *inputs), seed)
        write_gradients(parameters, gradients[: len(parameters)], self._weight)
        return gradients[len(parameters) :]

    def per_row(self, name: str, shape: Sequence[int], kind: Literal["randn", "rand"], *counters: int) -> Tensor:
        start, stop, total = self._rows
        generator = self.streams.generator(name, self.step, *counters, device=self._device)
        draw = torch.randn if kind == "randn" else torch.rand
        return draw((total, *shape), generator=generator, device=self._device, dtype=self._dtype)[start:stop]

    def parts(self, batch: Batch) -> Iterator[Batch]:
        before = self.part, self._weight, self._rows
        for index, part in enumerate(batch.split(self._micro_batch_size)):
            self.part, self._weight, self._rows = index, part.weight, part.rows
            with self._network.passing(self.step, index, part.rows, "update"):
                yield part
        self.part, self._weight, self._rows = before

    def commit(self, *groups: str) -> None:
        if not self._last:
            return
        for unit in self._optimizers.units_of(groups):
            self._close(unit)
            self._apply(unit)

    def add_seeded(self, groups: Sequence[str], seed: int, scale: float) -> None:
        for name in groups:
            self._seeded(name, seed).add(scale)
        # Autocast keeps casts of weights; it does not see that they changed in place.
        torch.clear_autocast_cache()

    def apply_seeded(self, groups: Sequence[str], seed: int, scalar: Tensor) -> None:
        # One number spoils every weight at once, and nobody can withhold the step afterwards.
        self.withheld = not bool(torch.isfinite(scalar).all().item())
        seeded = [] if self.withheld else [self._seeded(name, seed) for name in groups]
        if self.read is not None:
            seeded = [one for one in seeded if self.read([one.group], [one.gradients(scalar)])]
        spec = self._optimizers.spec
        clip_norm, clip_value = spec.clip_grad_norm, spec.clip_grad_value
        coefficient = None
        if clip_norm is not None and seeded:
            norm = torch.stack([one.squared_norm(scalar, clip_value) for one in seeded]).sum().sqrt()
            coefficient = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
            self.clippings.append(([one.group for one in seeded], coefficient))
        decay: float = getattr(spec, "weight_decay", 0.0)
        for one in seeded:
            one.descend(scalar, self._optimizers.rate(one.group.name), decay, clip_value, coefficient)
        for unit in self._optimizers.units_of(groups):
            self._close(unit)
        torch.clear_autocast_cache()

    def scaled(self, factor: float) -> UpdateContext:
        return ScaledContext(self, factor)

    def _seeded(self, name: str, seed: int) -> SeededGroup:
        return SeededGroup(self._optimizers.groups[name], self.streams, seed)

    def _close(self, unit: Unit) -> None:
        if unit not in self._open:
            raise RuntimeError(f"groups {sorted(unit.names)} were finished twice in step {self.step}")
        self._open.remove(unit)

    def _apply(self, unit: Unit) -> None:
        if self.reduce is not None:
            self.reduce([parameter.grad for parameter in unit.parameters if parameter.grad is not None])
        if self.read is None or self._admitted(unit, self.read):
            coefficient = unit.clip()
            if coefficient is not None:
                self.clippings.append((unit.groups, coefficient))
            unit.optimizer.step()
        unit.clear()
        torch.clear_autocast_cache()

    def _admitted(self, unit: Unit, read: ReadPoint) -> bool:
        groups = [group for group in unit.groups if any(p.grad is not None for p in group.parameters)]
        if not groups:
            return True
        gradients = [[torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters] for group in groups]
        return read(groups, gradients)


@final
class ScaledContext(UpdateContext):
    """Writes ``factor`` times what it is given, for mixtures; nothing is finished through it."""

    def __init__(self, inner: UpdateContext, factor: float) -> None:
        self._inner = inner
        self._factor = factor
        self.step = inner.step
        self.part = inner.part
        self.streams = inner.streams

    def write(self, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        self._inner.write(parameters, [gradient * self._factor for gradient in gradients])

    def backward(
        self, objective: Tensor, parameters: Sequence[Parameter], *inputs: Tensor, seed: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(objective, (*parameters, *inputs), seed)
        self.write(parameters, gradients[: len(parameters)])
        return gradients[len(parameters) :]

    def per_row(self, name: str, shape: Sequence[int], kind: Literal["randn", "rand"], *counters: int) -> Tensor:
        return self._inner.per_row(name, shape, kind, *counters)

    def parts(self, batch: Batch) -> Iterator[Batch]:
        return self._inner.parts(batch)

    def commit(self, *groups: str) -> None:
        """Does nothing: the groups belong to the mixture."""

    def add_seeded(self, groups: Sequence[str], seed: int, scale: float) -> None:
        self._inner.add_seeded(groups, seed, scale)

    def apply_seeded(self, groups: Sequence[str], seed: int, scalar: Tensor) -> None:  # noqa: ARG002
        raise RuntimeError("a rule that changes weights in place cannot be part of a mixture")

    def scaled(self, factor: float) -> UpdateContext:
        return ScaledContext(self, factor)


def write_gradients(parameters: Sequence[Parameter], gradients: Sequence[Tensor], weight: float) -> None:
    """``p.grad += weight * gradient``, never in place: a gradient tensor may be shared by two parameters."""
    places = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if weight != 1.0:
            gradient = gradient * weight
        if gradient.dtype != parameter.dtype:
            gradient = gradient.to(parameter.dtype)
        if parameter.grad is not None:
            parameter.grad = parameter.grad + gradient
            continue
        place = gradient.data_ptr()
        # Fused kernels walk memory in order, and clipping writes in place: each gradient needs its own, laid out alike.
        if place in places or gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        places.add(place)
        parameter.grad = gradient


def merged(reports: Sequence[tuple[float, StepReport]]) -> StepReport:
    """One report of a step's parts: everything weighted by the parts' share of the rows."""
    if len(reports) == 1:
        return reports[0][1]
    first = reports[0][1]
    return StepReport(
        loss=torch.stack([report.loss * weight for weight, report in reports]).sum(),
        forwards=sum(report.forwards * weight for weight, report in reports),
        backwards=sum(report.backwards * weight for weight, report in reports),
        quantities={
            name: torch.stack([report.quantities[name] * weight for weight, report in reports]).sum(dim=0)
            for name in first.quantities
        },
        input_error=None if first.input_error is None else _joined(reports),
    )


def _joined(reports: Sequence[tuple[float, StepReport]]) -> Tensor:
    errors = [report.input_error * weight for weight, report in reports if report.input_error is not None]
    return torch.cat(errors)
