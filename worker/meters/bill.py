"""The bill of a job: what training it has cost, over all its attempts."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import torch

from learners.build import Training
from worker.meters.energy import EnergyMeter
from worker.meters.flops import LABEL, FlopMeter
from worker.meters.holdings import GradientCount
from worker.meters.live import LiveBytes
from worker.meters.memory import ActivationCount, MemoryMeter
from worker.stopwatch import Stopwatch

EARLY_STEPS: Final = 20
"""After so many steps the bill is read, to be held against the whole one."""


@dataclass(frozen=True)
class Early:
    """The bill after the first steps; the very first one is counted, and therefore slow."""

    first_step_s: float
    training_s: float
    flops: float
    peak_bytes: int


@final
class Bill:
    """Seconds, FLOPs, bytes, joules, passes. Every meter says how it counts."""

    def __init__(self, device: torch.device, energy: EnergyMeter, memory: MemoryMeter) -> None:
        self.training = Stopwatch()
        self.flops = FlopMeter()
        self.energy = energy
        self.memory = memory
        self.activation_bytes: int | None = None
        self.live_bytes: int | None = None
        self.gradient_bytes: int | None = None
        self._activations_by_layer: dict[str, int] = {}
        self.forwards = 0.0
        self.backwards = 0.0
        self.early: Early | None = None
        self._steps = 0
        self._first_step_s = 0.0
        self._device = device
        self._wall = Stopwatch()
        self._wall.start()
        self._cpu_before = -time.process_time()

    @property
    def counted(self) -> bool:
        """Whether one step has been counted, so that all others are known."""
        return self.flops.per_step is not None

    def counting_step(self, training: Training, *, share: float) -> ExitStack:
        """A context for one step of ``share`` of a whole batch: counts FLOPs and bytes, changes no bit."""
        stack = ExitStack()
        network = training.network
        parameters = [parameter for group in training.groups for parameter in group.parameters]
        counted = ActivationCount(parameters, dict(zip(network.names, network.stages, strict=True)))
        live = LiveBytes()
        gradients = stack.enter_context(GradientCount(training))
        stack.callback(self._note_bytes, counted, live, gradients)
        stack.enter_context(counted)
        stack.enter_context(self.flops.counting_step(share=share))
        stack.enter_context(live)
        return stack

    def _note_bytes(self, counted: ActivationCount, live: LiveBytes, gradients: GradientCount) -> None:
        if counted.peak_bytes >= (self.activation_bytes or 0):
            self.activation_bytes, self._activations_by_layer = counted.peak_bytes, counted.peak_by_layer
        self.gradient_bytes = max(self.gradient_bytes or 0, gradients.peak_bytes)
        self.live_bytes = max(self.live_bytes or 0, live.peak)
        self.memory.peak()  # read while what was mapped for it is told apart from what will be

    def expect_other_steps(self) -> None:
        """From here on a step does other work than the one that was counted."""
        self.flops.per_step = None

    def add_step(self, *, share: float, forwards: float, backwards: float) -> None:
        """One step more."""
        self.flops.add_step(share)
        self.forwards += forwards
        self.backwards += backwards
        self._steps += 1
        if self._steps == 1:
            self._first_step_s = self.training.seconds
        elif self._steps == EARLY_STEPS:
            peak = int(self.memory.peak()["peak_bytes"])
            self.early = Early(self._first_step_s, self.training.seconds, self.flops.total, peak)

    def total(self, *, parameters: int, samples: int, held: Mapping[str, int]) -> dict[str, Any]:
        """What is served as ``cost``, after ``samples`` rows of training; ``held``: bytes beside activations."""
        memory, energy = self.memory.peak(), self.energy.reading()
        each = None if energy.joules is None or not samples else energy.joules / samples
        return {
            "wall_s": self._wall.seconds,
            "training_s": self.training.seconds,
            "cpu_s": self._cpu_before + time.process_time(),
            "flops": self.flops.total,
            "flops_kind": LABEL,
            "forwards": self.forwards,
            "backwards": self.backwards,
            "peak_bytes": memory["peak_bytes"],
            "memory": {
                **memory,
                "activation_bytes": self.activation_bytes,
                "step_bytes": self.live_bytes,
                "activation_bytes_by_layer": self._activations_by_layer,
                "components": {**held, "gradients": self.gradient_bytes, "activations": self.activation_bytes},
            },
            "energy": {**energy.as_json(), "joules_per_sample": each},
            "parameters": parameters,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "wall_s": self._wall.seconds,
            "training_s": self.training.seconds,
            "cpu_s": self._cpu_before + time.process_time(),
            "flops": self.flops.state_dict(),
            "energy": self.energy.state_dict(),
            "memory": self.memory.state_dict(),
            "activation_bytes": self.activation_bytes,
            "live_bytes": self.live_bytes,
            "activation_bytes_by_layer": self._activations_by_layer,
            "gradient_bytes": self.gradient_bytes,
            "forwards": self.forwards,
            "backwards": self.backwards,
            "steps": self._steps,
            "first_step_s": self._first_step_s,
            "early": None if self.early is None else asdict(self.early),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._wall.leave_out(-state["wall_s"])
        self.training.leave_out(-state["training_s"])
        self._cpu_before += state["cpu_s"]
        self.flops.load_state_dict(state["flops"])
        self.energy.load_state_dict(state["energy"])
        self.memory.load_state_dict(state["memory"])
        self.activation_bytes = state["activation_bytes"]
        self.live_bytes = state["live_bytes"]
        self._activations_by_layer = state["activation_bytes_by_layer"]
        self.gradient_bytes = state["gradient_bytes"]
        self.forwards, self.backwards = state["forwards"], state["backwards"]
        self._steps, self._first_step_s = state["steps"], state["first_step_s"]
        self.early = None if state["early"] is None else Early(**state["early"])
