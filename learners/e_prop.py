"""E-prop (Bellec et al. 2020, doi 10.1038/s41467-020-17236-y): learning in time without a pass back through it.

The rule: dE/dW_ji = sum_t (dE/dz_j,t) e_ji,t exactly (Eq. 1), where the eligibility trace e_ji,t = psi_j,t eps_ji,t
runs forward: eps_ji,t = leak eps_ji,t-1 + x_i,t. E-prop puts a learning signal L_j,t = sum_k B_jk (error of output k at
t) in place of dE/dz_j,t (Eq. 4): the way from z_j,t straight to the read-out counts, not the one through later steps.
B is the read-out's own weight (symmetric), random, or random and then trained as the read-out is (adaptive).

What differs from the paper: the loss is the task's, on the read-out's scores of the whole sequence; how much a step
weighs in them (the same for a spike count, leak^(T - t) for a membrane, the last step alone) weighs its error, which
is the paper's filter of traces read the other way round. In a stack of blocks each has feedback of its own, and
symmetric feedback comes down through the matrices between blocks within a step. Units may return to themselves, there
is no firing-rate regularisation, and adaptive feedback decays only if the optimizer's weights do.
"""

# B = rows, T = time, I = presynaptic, H = units, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block import TracedBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse
from learners.streams import Streams
from learners.task import Task
from specs.learners.e_prop import EPropSpec


@final
class Feedback(nn.Module):
    """A matrix [K,H] per block, in place of the read-out's weight: buffers where they are fixed."""

    def __init__(self, network: BlockNetwork, task: Task, streams: Streams, *, trained: bool) -> None:
        super().__init__()
        first = next(network.parameters())
        for index, shape in enumerate(network.shapes()[: len(network.blocks)]):
            drawn = (
                torch.randn(task.outputs, shape[-1], generator=streams.generator("feedback", index)) / shape[-1] ** 0.5
            )
            drawn = drawn.to(device=first.device, dtype=first.dtype)
            if trained:
                self.register_parameter(f"block_{index}", Parameter(drawn))
            else:
                self.register_buffer(f"block_{index}", drawn)

    def of(self, block: int) -> Tensor:
        weight_KH: Tensor = getattr(self, f"block_{block}")
        return weight_KH


@final
class EProp(Learner):
    """Eligibility traces times learning signals."""

    def __init__(self, spec: EPropSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        if network.readout is None:
            raise ValueError("a segment without a read-out sends no learning signal")
        self.network = network
        self.task = task
        self._readout = network.readout
        self._blocks = [block for block in network.blocks if isinstance(block, TracedBlock)]
        self.feedback: Feedback | None = None
        if self.spec.feedback != "symmetric":
            self.feedback = Feedback(network, task, streams, trained=self.spec.feedback == "adaptive")
        return self.feedback

    def groups(self) -> list[ParameterGroup]:
        own = [] if self.feedback is None else list(self.feedback.parameters())
        return network_groups(self.network) + [
            ParameterGroup(f"own.feedback.{index}", (weight,), index) for index, weight in enumerate(own)
        ]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        traces, outputs = [], []
        with torch.no_grad():
            x = batch.x
            for block in self._blocks:
                y_BTH, before, after = block.course(x)
                traces.append(block.trace(x, before, after))
                outputs.append(y_BTH)
                x = y_BTH
        x = x.requires_grad_()
        scores_BK, _ = self._readout(x, None, batch.dt)
        loss = self.task.loss(scores_BK, batch.y)
        (signal_BTH,) = context.backward(loss, tuple(self._readout.parameters()), x)
        error_BK = self.task.error(scores_BK.detach(), batch.y)
        for index in reversed(range(len(self._blocks))):
            if self.feedback is not None:
                signal_BTH = self._fed_back(index, outputs[index], error_BK, context)
            presynaptic, leak, slope_BTH = traces[index]
            drive_BTH = signal_BTH * slope_BTH
            parameters = list(presynaptic)
            context.write(
                parameters, [correlated(drive_BTH, presynaptic[p], leak).reshape(p.shape) for p in parameters]
            )
            if index > 0 and self.feedback is None:
                signal_BTH = drive_BTH @ self._blocks[index].input_weight().detach()
        activity = torch.stack([y_BTH.detach().abs().mean() for y_BTH in outputs])
        return StepReport(loss.detach(), 1.0, 1.0 / len(self.network.stages), {"mean_activity": activity})

    def _fed_back(self, index: int, y_BTH: Tensor, error_BK: Tensor, context: UpdateContext) -> Tensor:
        """The learning signals of a block: what its outputs would be told if the read-out saw them through B."""
        assert self.feedback is not None
        weight_KH = self.feedback.of(index)
        y_BTH = y_BTH.detach().requires_grad_()

        def through_feedback(synapse: Synapse, x: Tensor) -> Tensor:
            return synapse.operate(x, weight_KH)

        with self.network.synapses(through_feedback):
            told_BK, _ = self._readout(y_BTH)
        trained = (weight_KH,) if isinstance(weight_KH, Parameter) else ()
        (signal_BTH,) = context.backward(told_BK, trained, y_BTH, seed=error_BK.to(told_BK.dtype))
        return signal_BTH

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)


def correlated(drive_BTH: Tensor, presynaptic_BTI: Tensor, leak: float | Tensor) -> Tensor:
    """sum over rows and steps of drive_j,t eps_ji,t -> [H,I], with eps_t = leak_t eps_t-1 + presynaptic_t."""
    if isinstance(leak, Tensor):
        return _correlated_unit_by_unit(drive_BTH, presynaptic_BTI, leak)
    # With one leak for all units they share the trace of a presynaptic neuron.
    eps_BI, filtered = torch.zeros_like(presynaptic_BTI[:, 0]), []
    for now_BI in presynaptic_BTI.unbind(1):
        eps_BI = leak * eps_BI + now_BI
        filtered.append(eps_BI)
    return torch.einsum("bth,bti->hi", drive_BTH, torch.stack(filtered, 1))


def _correlated_unit_by_unit(drive_BTH: Tensor, presynaptic_BTI: Tensor, leak_BTH: Tensor) -> Tensor:
    rows, _, units = drive_BTH.shape
    eps_BHI = drive_BTH.new_zeros(rows, units, presynaptic_BTI.shape[2])
    total_HI = drive_BTH.new_zeros(eps_BHI.shape[1:])
    for drive_BH, now_BI, leak_BH in zip(
        drive_BTH.unbind(1), presynaptic_BTI.unbind(1), leak_BTH.unbind(1), strict=True
    ):
        eps_BHI = leak_BH.unsqueeze(2) * eps_BHI + now_BI.unsqueeze(1)
        total_HI = total_HI + (drive_BH.unsqueeze(2) * eps_BHI).sum(0)
    return total_HI
