"""The Hessian of a learner's reference loss on one batch, as a product with vectors: double backward."""

# N = numbers that are trained

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch
from learners.networks.spiking import LifBlock
from learners.streams import Streams
from worker.probes.probe import Trained

NO_REFERENCE: Final = "no_reference"
NOT_TWICE_DIFFERENTIABLE: Final = "not_twice_differentiable"
SURROGATE_SLOPES: Final = "surrogate_slopes"
NOT_FINITE: Final = "not_finite"

DIFFERENCE_STEPS: Final = (1e-5, 1e-6, 1e-7)
SAME_DIFFERENCE: Final = 1e-3
SAME_PRODUCT: Final = 1e-4
"""Measured on every network of the contract tests: 1e-9 where the product is right, at least 2e-3 where it is not."""
ROUNDING: Final = 1e-8


class NoHessian(Exception):
    """The Hessian is not defined for this learner or network; the message is the reason's code."""


@dataclass(frozen=True)
class Part:
    """A layer's place [start, stop) in the vector of all trained numbers."""

    name: str
    start: int
    stop: int


class Hessian:
    """``product(v)`` is H v, by a second backward pass over a graph that is kept. All in float64, whatever the job's
    precision is, and in evaluation mode, so that it is the Hessian of one function of the weights.

    Raises ``NoHessian`` where the learner has no reference loss, where its gradient is not finite, where slopes are
    surrogates, or where the product is not what the gradient's difference says: functions with a backward pass of their
    own may give half a second derivative without a word. ``verified`` is false where kinks of the network leave no
    difference to compare with.
    """

    def __init__(self, trained: Trained, batch: Batch) -> None:
        training = trained.training
        training.eval()
        training.network.double()
        if training.own is not None:
            training.own.double()
        if any(isinstance(module, LifBlock) for module in training.network.modules()):
            raise NoHessian(SURROGATE_SLOPES)
        self._trained, self._batch = trained, _in_float64(batch)
        loss = self._loss()
        self.parameters, self.parts = _reached(trained, loss)
        if not self.parameters:
            raise NoHessian(NO_REFERENCE)
        self.loss = float(loss.detach())
        self._gradient_N = self._gradient(loss, create_graph=True)
        if not self._gradient_N.requires_grad:
            raise NoHessian(NOT_TWICE_DIFFERENTIABLE)
        if not bool(torch.isfinite(self._gradient_N).all()):
            raise NoHessian(NOT_FINITE)
        self.verified = self._verify()

    def __len__(self) -> int:
        return len(self._gradient_N)

    def product(self, vector_N: Tensor) -> Tensor:
        """H v."""
        try:
            rows = torch.autograd.grad(
                self._gradient_N,
                self.parameters,
                vector_N,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        except RuntimeError as error:
            raise _reason(error) from None
        product_N = _joined(rows)
        if not bool(torch.isfinite(product_N).all()):
            raise NoHessian(NOT_FINITE)
        return product_N

    def _loss(self) -> Tensor:
        training, batch = self._trained.training, self._batch
        with training.network.passing(self._trained.step, 0, batch.rows, "batch"), torch.enable_grad():
            loss = training.learner.reference(batch)
        if loss is None:
            raise NoHessian(NO_REFERENCE)
        return loss

    def _gradient(self, loss: Tensor, *, create_graph: bool = False) -> Tensor:
        try:
            return _joined(torch.autograd.grad(loss, self.parameters, create_graph=create_graph))
        except RuntimeError as error:
            raise _reason(error) from None

    def _verify(self) -> bool:
        """Whether H v was compared with differences of the gradient along a random v, and is equal to them."""
        generator = Streams(0).generator("curvature")
        vector_N = torch.randn(len(self), generator=generator, dtype=torch.float64)
        vector_N /= vector_N.norm()
        product_N = self.product(vector_N)
        before_N = None
        for step in DIFFERENCE_STEPS:
            difference_N = self._difference(vector_N, step)
            if bool((product_N - difference_N).norm() <= SAME_PRODUCT * difference_N.norm() + ROUNDING):
                return True
            if before_N is not None and bool((before_N - difference_N).norm() <= SAME_DIFFERENCE * before_N.norm()):
                raise NoHessian(NOT_TWICE_DIFFERENTIABLE)
            before_N = difference_N
        return False  # a kink lies between even the nearest weights: the difference grows as its step shrinks

    def _difference(self, vector_N: Tensor, step: float) -> Tensor:
        """(g(w + step v) - g(w - step v)) / (2 step); the weights are put back."""
        kept = [parameter.detach().clone() for parameter in self.parameters]
        sides = []
        for signed in (step, -step):
            at = 0
            with torch.no_grad():
                for parameter, before in zip(self.parameters, kept, strict=True):
                    moved = vector_N[at : at + parameter.numel()].reshape(parameter.shape)
                    # Not in place: the graph that is kept has saved the weights as they are.
                    parameter.data = before + signed * moved
                    at += parameter.numel()
            sides.append(self._gradient(self._loss()))
        for parameter, before in zip(self.parameters, kept, strict=True):
            parameter.data = before
        return (sides[0] - sides[1]) / (2 * step)


def _in_float64(batch: Batch) -> Batch:
    x, y, dt = (
        tensor.double() if tensor is not None and tensor.is_floating_point() else tensor
        for tensor in (batch.x, batch.y, batch.dt)
    )
    assert x is not None
    assert y is not None
    return replace(batch, x=x, y=y, dt=dt)


def _reason(error: RuntimeError) -> Exception:
    """PyTorch has no class of its own for functions that were written with one derivative."""
    words = str(error)
    if "once_differentiable" in words or "double backward" in words or "not implemented" in words:
        return NoHessian(NOT_TWICE_DIFFERENTIABLE)
    return error


def _reached(trained: Trained, loss: Tensor) -> tuple[list[Parameter], list[Part]]:
    """The trained parameters that the loss depends on, and where each layer's are."""
    everything = [parameter for layer in trained.layers for parameter in layer.parameters]
    if not loss.requires_grad:
        return [], []
    gradients = torch.autograd.grad(loss, everything, allow_unused=True, retain_graph=True)
    reached = {id(p) for p, gradient in zip(everything, gradients, strict=True) if gradient is not None}
    chosen, parts, at = [], [], 0
    for layer in trained.layers:
        held = [parameter for parameter in layer.parameters if id(parameter) in reached]
        size = sum(parameter.numel() for parameter in held)
        if held:
            parts.append(Part(layer.scope.layer or "", at, at + size))
        chosen += held
        at += size
    return chosen, parts


def _joined(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
