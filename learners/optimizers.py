"""Optimizers: PyTorch's own, in units of parameters that step together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from learners.learner import ParameterGroup
from specs.optimizers import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    Schedule,
    StepSchedule,
    Update,
)

NOT_TORCHS = {"kind", "schedule", "clip_grad_norm", "clip_grad_value", "fused"}


def schedule_factor(schedule: Schedule, step: int, planned_steps: int | None) -> float:
    """Factor on the learning rate after ``step`` steps: a pure function, so there is no scheduler to checkpoint.

    ``planned_steps`` is the job's length, for schedules that name none of their own.
    """
    warmup = min(1.0, (step + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    if isinstance(schedule, ConstantSchedule):
        return warmup
    if isinstance(schedule, StepSchedule):
        return warmup * math.pow(schedule.factor, step // schedule.every_steps)
    if isinstance(schedule, ExponentialSchedule):
        return warmup * math.pow(schedule.factor, step / schedule.every_steps)
    assert isinstance(schedule, CosineSchedule | LinearSchedule)
    length = schedule.steps or planned_steps
    if length is None:
        raise ValueError("this schedule needs a number of steps, and the job's length is not one")
    done = min(1.0, step / length)
    left = 0.5 * (1 + math.cos(math.pi * done)) if isinstance(schedule, CosineSchedule) else 1 - done
    return warmup * (schedule.final_factor + (1 - schedule.final_factor) * left)


@final
class Unit:
    """Groups that step together, and the one PyTorch optimizer that steps them."""

    def __init__(self, spec: Update, groups: Sequence[ParameterGroup]) -> None:
        self.groups = tuple(groups)
        self.names = frozenset(group.name for group in groups)
        self.parameters = tuple(parameter for group in groups for parameter in group.parameters)
        self._clip_norm = spec.clip_grad_norm
        self._clip_value = spec.clip_grad_value
        self.optimizer = _torch_optimizer(spec, groups)
        self._base_rates = [entry["lr"] for entry in self.optimizer.param_groups]

    def scale_rates(self, factor: float) -> None:
        """Sets every learning rate to ``factor`` times its base."""
        for entry, base in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            entry["lr"] = base * factor

    def clip(self) -> Tensor | None:
        """Clips the gradients by value, then jointly by norm; returns the coefficient of the latter, 0-dim."""
        if self._clip_value is None and self._clip_norm is None:
            return None
        held = [parameter for parameter in self.parameters if parameter.grad is not None]
        if self._clip_value is not None:
            torch.nn.utils.clip_grad_value_(held, self._clip_value)
        if self._clip_norm is None:
            return None
        norm = get_total_norm([parameter.grad for parameter in held if parameter.grad is not None])
        clip_grads_with_norm_(held, self._clip_norm, norm)
        return (self._clip_norm / (norm + 1e-6)).clamp(max=1.0)

    def clear(self) -> None:
        """Frees all gradients."""
        for parameter in self.parameters:
            parameter.grad = None


@final
class Optimizers:
    """All optimizers of a job: one unit, or one per block for a learner that commits."""

    def __init__(
        self, spec: Update, groups: Sequence[ParameterGroup], *, commits: bool, planned_steps: int | None
    ) -> None:
        self.spec = spec
        self.planned_steps = planned_steps
        self.groups = {group.name: group for group in groups}
        if len(self.groups) != len(groups):
            raise ValueError("two parameter groups have one name")
        self.units = [Unit(spec, together) for together in (_by_block(groups) if commits else [list(groups)])]
        self._factor = 1.0

    def prepare(self, step: int) -> None:
        """Sets the learning rates of step ``step`` (counted from 0)."""
        factor = schedule_factor(self.spec.schedule, step, self.planned_steps)
        if factor != self._factor:
            for unit in self.units:
                unit.scale_rates(factor)
            self._factor = factor

    def rate(self, name: str) -> float:
        """The learning rate of group ``name`` at the prepared step."""
        base: float = getattr(self.spec, "lr")  # noqa: B009
        return base * self.groups[name].lr_factor * self._factor

    def units_of(self, names: Sequence[str]) -> list[Unit]:
        """The units that hold exactly the named groups."""
        wanted = frozenset(names)
        found = [unit for unit in self.units if unit.names & wanted]
        if frozenset().union(*(unit.names for unit in found)) != wanted:
            raise ValueError(f"groups {sorted(wanted)} do not step together: a commit names whole blocks")
        return found

    def state_tensors(self) -> dict[str, Tensor]:
        """All state as tensors named ``<group>.<index of the parameter>.<state>``: what a checkpoint holds."""
        tensors = {}
        for unit in self.units:
            for group in unit.groups:
                for index, parameter in enumerate(group.parameters):
                    for name, value in unit.optimizer.state[parameter].items():
                        if value is not None:
                            tensors[f"{group.name}.{index}.{name}"] = value
        return tensors

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back ``state_tensors``; groups that are not in it start fresh."""
        found: dict[tuple[str, int], dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, place, name = key.rsplit(".", 2)
            found.setdefault((owner, int(place)), {})[name] = value
        for unit in self.units:
            for group in unit.groups:
                for index, parameter in enumerate(group.parameters):
                    state = found.get((group.name, index))
                    if state is not None:
                        unit.optimizer.state[parameter] = _placed(state, parameter, unit.optimizer)


def _placed(state: Mapping[str, Tensor], parameter: Parameter, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of the state where the optimizer keeps it: counters stay on the CPU unless its kernel is fused."""
    fused = bool(optimizer.defaults.get("fused"))
    return {
        name: value.clone() if value.dim() == 0 and not fused else value.to(parameter.device, copy=True)
        for name, value in state.items()
    }


def _by_block(groups: Sequence[ParameterGroup]) -> list[list[ParameterGroup]]:
    together: dict[int | None, list[ParameterGroup]] = {}
    for group in groups:
        together.setdefault(group.block, []).append(group)
    return list(together.values())


def _torch_optimizer(spec: Update, groups: Sequence[ParameterGroup]) -> torch.optim.Optimizer:
    options: dict[str, Any] = {name: getattr(spec, name) for name in type(spec).model_fields if name not in NOT_TORCHS}
    # Both kernels are named, so that the choice in the spec, not PyTorch's default, decides the bits.
    options["foreach"] = not getattr(spec, "fused", False)
    if getattr(spec, "fused", False):
        options["fused"] = True
    merged: dict[float, list[Parameter]] = {}
    for group in groups:
        merged.setdefault(group.lr_factor, []).extend(group.parameters)
    rate = options["lr"]
    entries = [{"params": parameters, "lr": rate * factor} for factor, parameters in merged.items()]
    made: torch.optim.Optimizer = getattr(torch.optim, type(spec).torch_name)(entries, **options)
    return made
