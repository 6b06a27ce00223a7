"""The network interface: a chain of blocks and a read-out, seen by learners as functions."""

# B = rows, T = time, K = classes or targets

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod

import torch
from torch import Tensor, nn

from learners.networks.block import Block
from learners.networks.checkpointing import (
    Checkpointing,
    Stored,
    held,
    lightest,
    measured,
    per_row,
    plan,
    run_checkpointed,
)
from learners.networks.scope import BatchNorm, Dropout, Passing, Scope, Scoped, Statistics
from learners.networks.synapses import Synapse
from learners.streams import Streams
from specs.architecture import Layout

NOTHING_TO_FIX = nullcontext()


class DoesNotFit(ValueError):
    """The network cannot read data of this shape."""


class BlockNetwork(nn.Module):
    """Blocks in order, then a read-out (None only in a lower segment).

    ``forward`` is deterministic in weights, buffers, inputs and scope. No parameter is in two blocks; every matrix
    weight is a ``Synapse``. ``input_layout`` says how a learner may widen inputs: features, channels, or features of
    every time step.
    """

    def __init__(
        self, blocks: Sequence[Block], readout: Block | None, *, input_shape: tuple[int, ...], input_layout: Layout
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.readout = readout
        self.input_shape = input_shape
        self.input_layout = input_layout
        self.stages: list[Block] = [*blocks, *([] if readout is None else [readout])]
        self.names = [f"blocks.{index}" for index in range(len(blocks))] + ([] if readout is None else ["readout"])
        self.scope = Scope(Streams(0))
        self._checkpointing: tuple[Checkpointing, int] = ("none", 1)
        self._checkpointed: list[range] | None = None
        self.extra_inputs = 0
        """Features or channels by which the first block was widened for what a learner appends."""
        self._rebuild: Callable[[], BlockNetwork] | None = None

    def forward(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        """Scores [B,K] of the last stage."""
        stages = self.stages
        if self._checkpointed is not None and self.training and torch.is_grad_enabled():
            blocks = len(self.blocks)
            x = run_checkpointed(stages[:blocks], self._checkpointed, x, dt)
            stages = stages[blocks:]
        for stage in stages:
            x, _ = stage(x, None, dt)
        return x

    def activities(self, x: Tensor, dt: Tensor | None = None, *, detach: bool) -> list[Tensor]:
        """The output of every stage. With ``detach`` each stage's graph ends at its input."""
        outputs = []
        for stage in self.stages:
            y, _ = stage(x, None, dt)
            outputs.append(y)
            x = y.detach() if detach else y
        return outputs

    def shapes(self) -> list[tuple[int, ...]]:
        """Output shapes of all stages without the batch. Draws nothing and moves no statistics."""
        first = next(self.parameters())
        training = self.training
        self.eval()
        with torch.no_grad():
            x = torch.zeros((1, *self.input_shape), dtype=first.dtype, device=first.device)
            shapes = [tuple(y.shape[1:]) for y in self.activities(x, detach=True)]
        self.train(training)
        return shapes

    def attach(self, scope: Scope, prefix: str = "") -> None:
        """Makes all modules read ``scope``; their masks are named by ``prefix`` and their place in the network."""
        self.scope = scope
        for name, module in self.named_modules():
            if isinstance(module, Scoped):
                module.scope = scope
                module.path = prefix + name

    def build_with(self, rebuild: "Callable[[], BlockNetwork]") -> None:
        """Says how a fresh network of this shape is made; ``copies`` needs it."""
        self._rebuild = rebuild

    def checkpoint_activations(self, mode: Checkpointing, *, every_k: int = 1) -> None:
        """Chooses which blocks ``forward`` recomputes; gradients stay equal bit for bit."""
        self._checkpointing = (mode, every_k)
        self._checkpointed = plan(mode, len(self.blocks), every_k, measure=self._measured)

    def activation_bytes(self, rows: int) -> tuple[int, int]:
        """Bytes that the blocks hold at once for a training pass of ``rows`` rows: none and the lightest groups of them
        recomputed."""
        stored = self._measured()
        groups = lightest(stored)
        whole = sum(block.all for block in stored)
        return round(rows * whole), round(rows * (whole if groups is None else held(stored, groups)))

    def _measured(self) -> list[Stored]:
        """Bytes per row that every block stores. Draws nothing and moves no statistics."""
        training = self.training
        self.train()
        few, many = (self._measured_with(rows) for rows in (2, 4))
        self.train(training)
        return per_row(few, many, 2)

    def _measured_with(self, rows: int) -> list[Stored]:
        first = next(self.parameters())
        x = torch.zeros((rows, *self.input_shape), dtype=first.dtype, device=first.device)
        with self.passing(self.scope.step, 0, (0, rows, rows), "batch"):
            return measured(self.stages[: len(self.blocks)], x)

    def segment(self, low: int, high: int, *, readout: Callable[[], Block] | None = None) -> "BlockNetwork":
        """A view of stages ``low`` to ``high - 1``: the same modules, the same scope, their names in the whole.

        A segment that ends below the network's read-out may make a ``readout`` of its own.
        """
        with_readout = self.readout is not None and high == len(self.stages)
        blocks = self.stages[low : high - 1 if with_readout else high]
        input_shape = self.input_shape if low == 0 else self.shapes()[low - 1]
        layout = self.input_layout if low == 0 else self.stages[low - 1].layout
        made = None if readout is None else readout()
        ends_with = self.readout if with_readout else made
        view = BlockNetwork(blocks, ends_with, input_shape=input_shape, input_layout=layout)
        view.names = self.names[low : low + len(blocks)] + ([] if ends_with is None else ["readout"])
        view.scope = self.scope
        view.extra_inputs = self.extra_inputs if low == 0 else 0
        mode, every_k = self._checkpointing
        view.checkpoint_activations(mode, every_k=every_k)
        if self._rebuild is not None:
            whole = self._rebuild
            view.build_with(lambda: whole().segment(low, high, readout=readout))
        return view

    def copies(self, number: int, streams: Streams) -> "list[BlockNetwork]":
        """Networks of the same shape with weights of their own, in the same scope."""
        if self._rebuild is None:
            raise RuntimeError("this network does not say how it is built, so it cannot be copied")
        first = next(self.parameters())
        made = []
        for index in range(number):
            with streams.initialising(f"copies.{index}"):
                network = self._rebuild()
            network.to(device=first.device, dtype=first.dtype)
            network.attach(self.scope, prefix=f"copies.{index}.")
            network._checkpointed = self._checkpointed
            made.append(network)
        return made

    def passing(
        self, step: int, part: int, rows: tuple[int, int, int], statistics: Statistics
    ) -> AbstractContextManager[None]:
        """The loop's: inside, all forwards belong to this part of this step; masks and statistics follow."""
        if not self.reads_scope:
            return NOTHING_TO_FIX
        return Passing(self.scope, step, part, rows, statistics)

    @property
    def reads_scope(self) -> bool:
        """Whether any module draws masks or keeps statistics."""
        found = self.__dict__.get("_reads_scope")
        if found is None:
            found = any(isinstance(module, Dropout | BatchNorm) for module in self.modules())
            self.__dict__["_reads_scope"] = found
        return bool(found)

    @property
    def mixes_rows(self) -> bool:
        """Whether a row's output depends on the other rows of its pass (batch normalisation)."""
        return any(isinstance(module, BatchNorm) for module in self.modules())

    @contextmanager
    def synapses(self, rule: Callable[[Synapse, Tensor], Tensor]) -> Iterator[None]:
        """Inside, ``rule`` replaces every synapse's forward. It must enclose the backward pass too."""
        before = self.scope.rule
        self.scope.rule = rule
        try:
            yield
        finally:
            self.scope.rule = before


def widened(input_shape: tuple[int, ...], extra: int, *, flat: bool) -> tuple[int, ...]:
    """The shape of inputs with ``extra`` features or channels appended: [D+E], [C+E,H,W] or [T,I+E]."""
    if flat or len(input_shape) == 1:
        return (prod(input_shape) + extra,)
    if len(input_shape) == 3:
        return (input_shape[0] + extra, *input_shape[1:])
    return (input_shape[0], input_shape[1] + extra)
