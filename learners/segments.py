"""A chain of segments: each range of blocks under a rule of its own."""

# B = rows, K = classes or targets

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, final

import torch
from torch import Tensor, nn

from learners.context import merged
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block import Block
from learners.networks.block_network import BlockNetwork
from learners.networks.dense import DenseBlock, LastStepReadout
from learners.networks.scope import Scoped
from learners.padded import padded
from learners.parts import Part, joined, load_states, own_tensors, quantities, states
from learners.streams import Streams
from learners.task import Handed, HandedError, HandedTarget, Task, at_least_float32
from specs.architecture import Layout
from specs.hybrid_phases import SegmentSpec


@final
class SegmentChain(Learner):
    """Errors or targets go down from segment to segment, or nothing does. The highest rule predicts."""

    def __init__(self, segments: Sequence[SegmentSpec]) -> None:
        self._segments = segments

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self._network = network
        self._depth = len(network.blocks)
        self._trunks: list[BlockNetwork] = []
        self._handed: list[Handed | None] = []
        self._shares: list[float] = []
        self._parts: list[Part] = []
        readouts: dict[str, nn.Module] = {}
        shapes = network.shapes()
        for index, segment in enumerate(self._segments):
            low, high = segment.first(self._depth), segment.last(self._depth) + 1
            top = index == len(self._segments) - 1
            handover = "none" if top else self._segments[index + 1].handover
            handed = None if handover == "none" else _task_of(handover, shapes[high - 1])
            readout = None
            if not top and handed is None:
                readout = partial(_readout, shapes[high - 1], network.stages[high - 1].layout, task)
            with streams.child(f"parts.{index}").initialising("readout"):
                view = network.segment(low, len(network.stages) if top else high, readout=readout)
            if readout is not None and view.readout is not None:
                _place(view.readout, network, f"parts.{index}.readout.")
                readouts[f"readout_{index}"] = view.readout
            self._trunks.append(view if readout is None else network.segment(low, high))
            self._handed.append(handed)
            self._shares.append(len(view.stages) / len(network.stages))
            made = Part.set_up(index, segment.learner, view, handed or task, streams)
            self._parts.append(replace(made, owns_readout=readout is not None))
        self._whole = any(part.rule.whole_batch for part in self._parts)
        own = own_tensors(self._parts)
        own.update(readouts)
        return own or None

    def groups(self) -> list[ParameterGroup]:
        return joined(self._parts)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        if self._whole:
            return self._update(batch, context)
        return merged([(part.weight, self._update(part, context)) for part in context.parts(batch)])

    def _update(self, batch: Batch, context: UpdateContext) -> StepReport:
        with torch.no_grad():
            inputs = self._inputs(batch.x, batch.dt)
        reports: list[StepReport] = []
        below: Tensor | None = None
        for index in reversed(range(len(self._parts))):
            handed = self._handed[index]
            y = batch.y
            if handed is not None:
                assert below is not None
                handed.rows = len(batch.x)
                y = below
            wanted = self._segments[index].handover
            own = replace(batch, x=inputs[index], y=y, needs_input_error=wanted != "none")
            report = self._parts[index].learner.update(own, context.scaled(1.0))
            below = report.input_error
            if below is not None:
                below = at_least_float32(below)
                if wanted == "target":
                    below = at_least_float32(inputs[index]) - len(batch.x) * below
            reports.append(report)
        return self._report(reports[::-1])

    def _report(self, reports: list[StepReport]) -> StepReport:
        each = list(zip(self._shares, reports, strict=True))
        forwards = sum(share * report.forwards for share, report in each) + sum(self._shares[:-1])
        backwards = sum(share * report.backwards for share, report in each)
        return StepReport(reports[-1].loss, forwards, backwards, quantities(self._parts, reports))

    def _inputs(self, x: Tensor, dt: Tensor | None) -> list[Tensor]:
        """What each segment reads: the rows, then the output of the segment below."""
        inputs = [x]
        for index, trunk in enumerate(self._trunks[:-1]):
            read = padded(x, trunk.extra_inputs, trunk.input_layout) if index == 0 else inputs[-1]
            inputs.append(trunk(read, dt))
        return inputs

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        return self._parts[-1].learner.predict(self._inputs(x, dt)[-1], dt)

    def reference(self, batch: Batch) -> Tensor | None:
        return self._parts[-1].learner.reference(replace(batch, x=self._inputs(batch.x, batch.dt)[-1]))

    def state_dict(self) -> dict[str, Any]:
        return states(self._parts)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts, state)


def _task_of(handover: str, shape: tuple[int, ...]) -> Handed:
    """What a segment is to do with what it is handed; its scores are its output."""
    return HandedError(prod(shape)) if handover == "error" else HandedTarget(prod(shape))


def _readout(shape: tuple[int, ...], layout: Layout, task: Task) -> Block:
    """A linear read-out of outputs of this shape; of a sequence, of its last step."""
    if layout == "sequence":
        return LastStepReadout(shape[-1], task.outputs)
    return DenseBlock(prod(shape), task.outputs, activation="identity")


def _place(readout: Block, network: BlockNetwork, path: str) -> None:
    """Puts a read-out where the network is, and into its scope."""
    first = next(network.parameters())
    readout.to(device=first.device, dtype=first.dtype)
    for name, module in readout.named_modules():
        if isinstance(module, Scoped):
            module.scope, module.path = network.scope, path + name
