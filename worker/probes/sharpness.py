"""The ends of the Hessian's spectrum, by Lanczos' iteration (Lanczos 1950; Paige 1972)."""

# N = numbers that are trained

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from learners.streams import Streams
from worker.probes.curvature import Hessian, NoHessian
from worker.probes.probe import Probe, Trained

BREAKDOWN: Final = 1e-12
"""Of the largest eigenvalue: a remainder below it says that the vectors so far span all that can be reached."""


@dataclass(frozen=True)
class Spectrum:
    """Both ends as far as they are known. ``error`` bounds that of the largest: the residual of its Ritz pair."""

    largest: float
    smallest: float
    error: float
    products: int
    converged: bool


class Sharpness(Probe):
    """The largest and the smallest eigenvalue, and for plain SGD the edge of stability 2 / learning rate."""

    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        del other
        batch = trained.batch(self.spec.rows)
        try:
            hessian = Hessian(trained, batch)
            generator = Streams(self.spec.seed).generator("sharpness")
            start_N = torch.randn(len(hessian), generator=generator, dtype=torch.float64)
            found = lanczos(hessian.product, start_N, iterations=self.spec.iterations, tolerance=self.spec.tolerance)
        except NoHessian as reason:
            return {"largest": None, "reason": str(reason)}
        return {
            "largest": found.largest,
            "smallest": found.smallest,
            "largest_error": found.error,
            "converged": found.converged,
            "products": found.products,
            "verified": hessian.verified,
            "loss": hessian.loss,
            "rows": len(batch.y),
            "parameters": len(hessian),
            **_edge(trained),
            "preconditioned": None,
            "preconditioned_reason": "not_measured",
        }


def lanczos(product: Callable[[Tensor], Tensor], start_N: Tensor, *, iterations: int, tolerance: float) -> Spectrum:
    """The ends of the spectrum of a symmetric matrix that is known by its products.

    Three vectors are kept and not all: without a second orthogonalisation copies of eigenvalues that were found turn
    up, but the ends stay right (Paige 1972), and memory does not grow with the iterations.
    """
    before_N, vector_N = torch.zeros_like(start_N), start_N / start_N.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        applied_N = product(vector_N)
        diagonal.append(float(torch.dot(applied_N, vector_N)))
        rest_N = applied_N - diagonal[-1] * vector_N - (beside[-1] if beside else 0.0) * before_N
        remainder = float(rest_N.norm())
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
        error = remainder * abs(float(vectors[-1, -1]))
        scale = float(values.abs().max())
        done = remainder <= BREAKDOWN * scale or error <= tolerance * abs(float(values[-1]))
        if done or len(diagonal) == min(iterations, len(start_N)) or remainder == 0:
            return Spectrum(float(values[-1]), float(values[0]), error, len(diagonal), done)
        beside.append(remainder)
        before_N, vector_N = vector_N, rest_N / remainder


def _tridiagonal(diagonal: list[float], beside: list[float]) -> Tensor:
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if beside:
        next_to = torch.tensor(beside, dtype=torch.float64)
        matrix = matrix + torch.diag(next_to, 1) + torch.diag(next_to, -1)
    return matrix


def _edge(trained: Trained) -> dict[str, Any]:
    """The eigenvalue above which plain gradient descent at the present learning rate cannot settle."""
    update, optimizers = trained.training.update, trained.training.optimizers
    if getattr(update, "kind", None) != "sgd" or getattr(update, "momentum", 0):
        return {"edge_of_stability": None, "edge_reason": "not_plain_sgd"}
    optimizers.prepare(trained.step)
    rate = optimizers.rate(next(iter(optimizers.groups)))
    return {"edge_of_stability": 2 / rate if rate > 0 else None, "learning_rate": rate}
