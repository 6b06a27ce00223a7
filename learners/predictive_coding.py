"""Predictive coding (Whittington and Bogacz 2017, doi 10.1162/NECO_a_00949): errors between what is and is predicted.

The rule: values v_l of the blocks (v_0 = x) descend the energy E = sum_l |v_l - f_l(v_(l-1))|^2 / 2 + lambda L from
the forward pass on, v <- v - gamma dE/dv (equation 2.10 for any block f); then g_l = (dE/dtheta_l) / lambda at what
they reached (equation 2.12). Both need only a block and its neighbour.

Modes: ``strict`` is this rule. ``fixed_prediction`` (Millidge, Tschantz and Buckley 2020, arXiv 2006.04182): f_l and
its slope stay those of the forward pass; all errors move at once: e_l <- e_l - eta (e_l - J_(l+1)^T e_(l+1)).
``zero_divergence`` (Song et al. 2020, Z-IL): block l learns at step t = L - l. ``error_based`` (Goemaere et al. 2025,
arXiv 2505.20137): v_l = f_l(v_(l-1)) + e_l, and the errors e descend the same E, through the whole network.

What differs from the papers: the top energy is the task's loss; it is weighted by lambda, and gradients are divided by
it, so that the learning rate does not depend on lambda. Energies are sums over rows. Z-IL computes its wave alone:
below it errors are still zero, above it blocks have learned already.
"""

# B = rows, K = classes or targets

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block import Block
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task, at_least_float32
from specs.learners.predictive_coding import PredictiveCodingSpec


@final
class PredictiveCoding(Learner):
    """Inference first, then each block learns from its own prediction error."""

    def __init__(self, spec: PredictiveCodingSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:  # noqa: ARG002
        self.network = network
        self.task = task
        self._stages: list[Block] = network.stages
        self._of_stage: list[tuple[Parameter, ...]] = [group.parameters for group in self.groups()]
        self._parameters = [p for parameters in self._of_stage for p in parameters]
        hidden = len(self._stages) - 1
        self._steps = self.spec.steps(hidden) if hidden else 0
        self._share = hidden / len(self._stages)
        return None

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        if batch.needs_input_error:
            batch = replace(batch, x=batch.x.detach().requires_grad_())
        settle = {
            "strict": self._strict,
            "error_based": self._error_based,
            "fixed_prediction": self._fixed_prediction,
            "zero_divergence": self._zero_divergence,
        }[self.spec.mode]
        return settle(batch, context)

    def _strict(self, batch: Batch, context: UpdateContext) -> StepReport:
        """All values descend the energy at once. Nothing moves below the first, so its prediction is made once."""
        (_, *values), outputs = self._chain(batch)
        first, loss = outputs[0], self.task.loss(outputs[-1].detach(), batch.y)
        before: Tensor | None = None
        for _ in range(self._steps):
            before = self._energy(_apart(values, outputs), outputs[-1], batch)
            slopes = torch.autograd.grad(before, values)
            values = self._descended(values, slopes)
            outputs = [first, *(stage(v, None, batch.dt)[0] for stage, v in zip(self._stages[1:], values, strict=True))]
        errors = _apart(values, outputs)
        energy = self._energy(errors, outputs[-1], batch)
        quantities = _inference(errors, energy.detach(), before)
        costs = 1 + self._steps * self._share, 0.5 + (self._steps + 1) * self._share / 2
        return self._learn(energy, values, loss, costs, batch, context, quantities)

    def _error_based(self, batch: Batch, context: UpdateContext) -> StepReport:
        """The errors descend the same energy; a change of one is felt by all blocks above it at once."""
        first, _ = self._stages[0](batch.x, None, batch.dt)
        outputs = self._carried(first, [], batch)
        loss = self.task.loss(outputs[-1].detach(), batch.y)
        errors = [torch.zeros_like(at_least_float32(y), requires_grad=True) for y in outputs[:-1]]
        before: Tensor | None = None
        for _ in range(self._steps):
            before = self._energy(errors, self._carried(first.detach(), errors, batch)[-1], batch)
            errors = self._descended(errors, torch.autograd.grad(before, errors))
        energy = self._energy(errors, self._carried(first, errors, batch)[-1], batch)
        quantities = _inference(errors, energy.detach(), before)
        costs = 1 + (self._steps + 1) * self._share, 1 + self._steps * self._share / 2
        return self._learn(energy, errors, loss, costs, batch, context, quantities)

    def _fixed_prediction(self, batch: Batch, context: UpdateContext) -> StepReport:
        """Each sweep moves all errors at once towards what the block above hands down."""
        inputs, outputs = self._chain(batch)
        scores_BK = outputs[-1].detach()
        signals = [torch.zeros_like(at_least_float32(y)) for y in outputs[:-1]] + [self.task.error(scores_BK, batch.y)]
        for sweep in range(1, self._steps + 1):
            low = max(1, len(outputs) - sweep)  # below, all errors are still zero
            seeds = [s.to(y.dtype) for s, y in zip(signals[low:], outputs[low:], strict=True)]
            handed = torch.autograd.grad(outputs[low:], inputs[low:], seeds, retain_graph=True)
            signals[low - 1 : -1] = [
                s.lerp(h.to(s.dtype), self.spec.rate) for s, h in zip(signals[low - 1 : -1], handed, strict=True)
            ]
        below = [self._learn_block(i, inputs, outputs, signal, context) for i, signal in enumerate(signals)]
        unsettled = [s - h for s, h in zip(signals, below[1:], strict=False) if h is not None]
        vjps = sum(min(sweep, len(outputs) - 1) for sweep in range(1, self._steps + 1)) / len(outputs)
        return StepReport(
            self.task.loss(scores_BK, batch.y),
            1.0,
            1 + vjps / 2,
            {
                "settling_residual": len(batch.x) * _root_mean_square(unsettled),
                "prediction_error": len(batch.x) * _each_root_mean_square(signals[:-1]),
            }
            if unsettled
            else {},
            input_error=below[0] if batch.needs_input_error else None,
        )

    def _zero_divergence(self, batch: Batch, context: UpdateContext) -> StepReport:
        """At step t the error reaches the t-th block from the top, which learns from it at once."""
        inputs, outputs = self._chain(batch)
        scores_BK = outputs[-1].detach()
        signal: Tensor | None = self.task.error(scores_BK, batch.y)
        for index in reversed(range(len(outputs))):
            assert signal is not None
            signal = self._learn_block(index, inputs, outputs, signal, context)
            if index and self.spec.rate != 1 and signal is not None:
                signal = signal * self.spec.rate
        return StepReport(self.task.loss(scores_BK, batch.y), 1.0, 1.0, input_error=signal)

    def _chain(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """Input and output of every stage; each output's graph ends at its own input."""
        inputs, outputs = [batch.x], []
        for stage in self._stages:
            y, _ = stage(inputs[-1], None, batch.dt)
            outputs.append(y)
            inputs.append(at_least_float32(y.detach()).requires_grad_())
        return inputs[:-1], outputs

    def _carried(self, first: Tensor, errors: Sequence[Tensor], batch: Batch) -> list[Tensor]:
        """Outputs of all stages when each hidden one is moved by its error; without errors the forward pass."""
        outputs = [first]
        for index, stage in enumerate(self._stages[1:]):
            v = outputs[-1] + errors[index] if errors else outputs[-1]
            outputs.append(stage(v, None, batch.dt)[0])
        return outputs

    def _energy(self, errors: Sequence[Tensor], scores_BK: Tensor, batch: Batch) -> Tensor:
        """E, summed over rows."""
        energy = self.spec.output_weight * len(batch.x) * self.task.loss(scores_BK, batch.y)
        for error in errors:
            energy = energy + 0.5 * error.square().sum()
        return energy

    def _descended(self, variables: Sequence[Tensor], slopes: Sequence[Tensor]) -> list[Tensor]:
        """The variables of inference after one step, as leaves."""
        rate = self.spec.rate
        return [v.detach().sub(g, alpha=rate).requires_grad_() for v, g in zip(variables, slopes, strict=True)]

    def _learn(
        self,
        energy: Tensor,
        settled: Sequence[Tensor],
        loss: Tensor,
        costs: tuple[float, float],
        batch: Batch,
        context: UpdateContext,
        inference: dict[str, Tensor],
    ) -> StepReport:
        """Writes the energy's gradients and reports how far inference came."""
        rows, weight = len(batch.x), self.spec.output_weight
        inputs = (*settled, batch.x) if batch.needs_input_error else tuple(settled)
        handed = context.backward(energy / (weight * rows), self._parameters, *inputs)
        quantities = {"inference_energy_before": weight * loss, "inference_energy": energy.detach() / rows} | inference
        if settled:
            quantities["settling_residual"] = weight * rows * _root_mean_square(handed[: len(settled)])
        return StepReport(loss, *costs, quantities, input_error=handed[-1] if batch.needs_input_error else None)

    def _learn_block(
        self, index: int, inputs: list[Tensor], outputs: list[Tensor], signal: Tensor, context: UpdateContext
    ) -> Tensor | None:
        """Writes one stage's gradients; returns what it hands down, None where nothing below asks."""
        below = [inputs[index]] if inputs[index].requires_grad else []
        seed = signal.to(outputs[index].dtype)
        handed = context.backward(outputs[index], self._of_stage[index], *below, seed=seed)
        return handed[0] if handed else None

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)


def _apart(values: Sequence[Tensor], predictions: Sequence[Tensor]) -> list[Tensor]:
    """The prediction errors v - f."""
    return [v - at_least_float32(f) for v, f in zip(values, predictions, strict=False)]


@torch.no_grad()
def _inference(errors: Sequence[Tensor], energy: Tensor, before: Tensor | None) -> dict[str, Tensor]:
    """What is left of each block's prediction error, and the share of the energy that the last step took."""
    found = {"prediction_error": _each_root_mean_square(errors)} if errors else {}
    if before is not None:
        found["inference_last_drop"] = (before.detach() - energy) / before.detach()
    return found


def _each_root_mean_square(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach().square().mean() for tensor in tensors]).sqrt()


def _root_mean_square(tensors: Sequence[Tensor]) -> Tensor:
    squares = torch.stack([tensor.square().sum() for tensor in tensors]).sum()
    return (squares / sum(tensor.numel() for tensor in tensors)).sqrt()
