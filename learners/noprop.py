"""NoProp, discrete time (Li, Teh and Pascanu 2025, arXiv 2503.24322).

The rule: class k stands for a vector u_k. With A_t rising from near 0 at t = 0 to near 1 at t = T, denoiser t sees the
input and z_(t-1) = sqrt(A_(t-1)) u_y + sqrt(1 - A_(t-1)) noise, and its scores give the cleaned label
u_t = softmax(scores) U. Its loss is (T / 2) eta (SNR_t - SNR_(t-1)) |u_t - u_y|^2, SNR_t = A_t / (1 - A_t), or the
task's loss of its scores; a linear read-out of z_T learns L(V z_T, y). No gradient passes between denoisers.
Prediction starts from z_0 = 0, the noise's mean: z_t = a_t u_t + b_t z_(t-1) up to z_T, with the posterior's
coefficients a_t = sqrt(A_t) (1 - r) / (1 - A_(t-1)), b_t = sqrt(r) (1 - A_t) / (1 - A_(t-1)), r = A_(t-1) / A_t, or
with DDIM's.

What differs from the paper: a denoiser is a copy of the job's network, the first one being the network itself, and z
is appended to its inputs; prediction draws no noise, at the start or between, so that a row's prediction depends on
that row alone (one fixed draw for all rows would speak for some class and mislead); the noise that a denoiser sees
carries no gradient to u_y.
"""

# B = rows, K = classes, D = length of a label's vector

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from learners.inputs import appended
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task, at_least_float32
from specs.learners.noprop import NopropSpec

LABELS = "own.labels"


@final
class Noprop(Learner):
    """Denoisers of the label, each trained alone."""

    def __init__(self, spec: NopropSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        if not len(network.blocks) or network.readout is None:
            raise ValueError("noprop needs a network with blocks and a read-out to copy")
        self.network = network
        self.task = task
        steps = self.spec.num_denoising_steps
        copies = network.copies(steps - 1, streams)
        self._denoisers = [network, *copies]
        self._parameters: list[tuple[Parameter, ...]] = [tuple(one.parameters()) for one in self._denoisers]
        self._shares = noise_schedule(steps)
        self._steps = [(ddim if self.spec.sampler == "ddim" else posterior_mean)(self._shares, t) for t in range(steps)]
        self.labels = Labels(network, task.outputs, self.spec, streams)
        return nn.ModuleDict({"denoisers": nn.ModuleList(copies), "labels": self.labels})

    def groups(self) -> list[ParameterGroup]:
        # All groups of a denoiser are finished together, so its number stands for the block's.
        first = [
            ParameterGroup(name, tuple(stage.parameters()), 0)
            for name, stage in zip(self.network.names, self.network.stages, strict=True)
        ]
        copies = [ParameterGroup(f"own.denoisers.{t}", p, t) for t, p in enumerate(self._parameters) if t > 0]
        return [*first, *copies, ParameterGroup(LABELS, tuple(self.labels.parameters()), None)]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        noise = [context.per_row("noise", (self.spec.embedding_size,), "randn", t) for t in range(len(self._shares))]
        guess_BD = self.labels.start(len(batch.x))
        losses = []
        for t, denoiser in enumerate(self._denoisers):
            true_BD = self.labels.vectors[batch.y]
            scores_BK = denoiser(self._seen(batch.x, self._noisy(t, true_BD.detach(), noise[t])), batch.dt)
            with torch.no_grad():
                # What the chain predicts, before the commit: all parts of a step must see the same weights.
                guess_BD = self._cleaned(t, denoiser(self._seen(batch.x, guess_BD), batch.dt), guess_BD)
            loss = self._denoising_loss(t, scores_BK, batch.y, true_BD)
            context.backward(loss, (*self._parameters[t], *self.labels.target_parameters))
            context.commit(*(self.network.names if t == 0 else (f"own.denoisers.{t}",)))
            losses.append(loss.detach())
        with torch.no_grad():
            predicted = self.task.loss(self.labels.readout(guess_BD), batch.y)
        last_BD = self._noisy(len(noise) - 1, self.labels.vectors[batch.y], noise[-1])
        context.backward(self.task.loss(self.labels.readout(last_BD), batch.y), tuple(self.labels.parameters()))
        context.commit(LABELS)
        steps = float(len(self._denoisers))
        # A denoiser is a whole network: its loss belongs to no block.
        quantities = {"denoising_loss": torch.stack(losses).mean()}
        quantities |= {f"denoising_loss_{t}": loss for t, loss in enumerate(losses)}
        return StepReport(predicted, 2 * steps, steps, quantities)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        z_BD = self.labels.start(len(x))
        for t, denoiser in enumerate(self._denoisers):
            z_BD = self._cleaned(t, denoiser(self._seen(x, z_BD), dt), z_BD)
        scores_BK: Tensor = self.labels.readout(z_BD)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)

    def _seen(self, x: Tensor, z_BD: Tensor) -> Tensor:
        return appended(x, z_BD.to(x.dtype), self.network.input_layout)

    def _noisy(self, t: int, label_BD: Tensor, noise_BD: Tensor) -> Tensor:
        share = self._shares[t]
        return math.sqrt(share) * label_BD + math.sqrt(1 - share) * noise_BD

    def _cleaned(self, t: int, scores_BK: Tensor, z_BD: Tensor) -> Tensor:
        towards, kept = self._steps[t]
        return towards * self._label(scores_BK) + kept * z_BD

    def _label(self, scores_BK: Tensor) -> Tensor:
        """The mean of the classes' vectors by their probabilities."""
        vectors_KD = self.labels.vectors
        return torch.softmax(at_least_float32(scores_BK), 1).to(vectors_KD.dtype) @ vectors_KD

    def _denoising_loss(self, t: int, scores_BK: Tensor, y: Tensor, true_BD: Tensor) -> Tensor:
        if self.spec.denoising_loss == "cross_entropy":
            return self.task.loss(scores_BK, y)
        before, after = (share / (1 - share) for share in self._shares[t : t + 2])
        weight = len(self._denoisers) / 2 * self.spec.denoising_weight * (after - before)
        return weight * (self._label(scores_BK) - true_BD).square().sum(1).mean()


@final
class Labels(nn.Module):
    """The classes' vectors, of unit mean square, and the read-out of z_T."""

    vectors: Tensor

    def __init__(self, network: BlockNetwork, classes: int, spec: NopropSpec, streams: Streams) -> None:
        super().__init__()
        size, learned = spec.embedding_size, spec.label_embedding == "learned"
        with streams.initialising("labels"):
            vectors_KD = torch.randn(classes, size)
            self.readout = nn.Linear(size, classes)
        vectors_KD = vectors_KD / vectors_KD.square().mean(1, keepdim=True).sqrt()
        if learned:
            self.vectors = Parameter(vectors_KD)
        else:
            self.register_buffer("vectors", vectors_KD)
        first = next(network.parameters())
        self.to(device=first.device, dtype=first.dtype)
        # Scores alone do not reach the vectors.
        targets = learned and spec.denoising_loss == "squared_error"
        self.target_parameters = tuple(p for name, p in self.named_parameters() if name == "vectors" and targets)

    def start(self, rows: int) -> Tensor:
        """z_0 [B,D]: the mean of the noise."""
        return self.vectors.new_zeros(rows, self.vectors.shape[1])


def noise_schedule(steps: int) -> list[float]:
    """A_0 ... A_T, the label's share of z_t's variance: a cosine from noise to label."""
    return [math.cos(math.pi / 2 * (1 - (t + 0.5) / (steps + 1))) ** 2 for t in range(steps + 1)]


def posterior_mean(shares: list[float], t: int) -> tuple[float, float]:
    """Coefficients of u and z_t in the mean of z_(t+1), given both."""
    before, after = shares[t], shares[t + 1]
    ratio = before / after
    return math.sqrt(after) * (1 - ratio) / (1 - before), math.sqrt(ratio) * (1 - after) / (1 - before)


def ddim(shares: list[float], t: int) -> tuple[float, float]:
    """Coefficients of u and z_t in a z_(t+1) with the same noise (Song et al. 2021, arXiv 2010.02502)."""
    before, after = shares[t], shares[t + 1]
    kept = math.sqrt((1 - after) / (1 - before))
    return math.sqrt(after) - kept * math.sqrt(before), kept
