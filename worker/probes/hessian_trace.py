"""The Hessian's trace by Hutchinson's estimate: the mean of v^T H v over vectors of random signs (Hutchinson 1990)."""

# N = numbers that are trained

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from learners.streams import Streams
from worker.probes.curvature import Hessian, NoHessian
from worker.probes.probe import Probe, Trained, missing


class HessianTrace(Probe):
    """Whole and by layer: a layer's share of v^T H v has the trace of its own block as its mean."""

    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        del other
        batch = trained.batch(self.spec.rows)
        try:
            hessian = Hessian(trained, batch)
            samples = [self._sample(hessian, number) for number in range(self.spec.samples)]
        except NoHessian as reason:
            return {"trace": None, "reason": str(reason)}
        layers = {
            part.name: _estimate([float(sample_N[part.start : part.stop].sum()) for sample_N in samples])
            for part in hessian.parts
        }
        whole = _estimate([float(sample_N.sum()) for sample_N in samples])
        return {
            "trace": whole["value"],
            "standard_error": whole["standard_error"],
            "mean_eigenvalue": whole["value"] / len(hessian),
            "samples": len(samples),
            "verified": hessian.verified,
            "loss": hessian.loss,
            "rows": len(batch.y),
            "parameters": len(hessian),
            "layers": missing(trained.names, layers, "no_reference"),
        }

    def _sample(self, hessian: Hessian, number: int) -> Tensor:
        """v (H v), element by element."""
        generator = Streams(self.spec.seed).generator("hessian_trace", number)
        signs_N = torch.randint(0, 2, (len(hessian),), generator=generator).double() * 2 - 1
        return signs_N * hessian.product(signs_N)


def _estimate(values: list[float]) -> dict[str, float]:
    return {
        "value": math.fsum(values) / len(values),
        "standard_error": statistics.stdev(values) / math.sqrt(len(values)),
    }
