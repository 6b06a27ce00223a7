"""How alike the layers of two jobs see the same rows: linear CKA (Kornblith et al. 2019, arXiv 1905.00414, Eq. 3)."""

# B = rows, D and E = features of a row

from typing import Any, Final

import torch
from torch import Tensor

from worker.probes.probe import Probe, Trained

NO_VARIANCE: Final = 1e-12
"""Of the squared length of the outputs: below it, rounding is all that differs between rows."""


class Cka(Probe):
    """1 where the outputs of two layers differ by a rotation and a scale; the learners may be of any kinds."""

    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        assert other is not None, "the request names the other job"
        own, others = (_grams(each.features(self.spec.rows)) for each in (trained, other))
        rows, columns = trained.training.network.names, other.training.network.names
        return {
            "rows": min(self.spec.rows, len(trained.train)),
            "layers": rows,
            "other_layers": columns,
            "other_step": other.step,
            "cka": [[_likeness(own.get(row), others.get(column)) for column in columns] for row in rows],
            "reason": "null where a layer has no outputs of its own, or the same ones for every row",
        }


def linear_cka(outputs_BD: Tensor, others_BE: Tensor) -> float | None:
    """||X^T Y||^2 / (||X^T X|| ||Y^T Y||) of centred X and Y; None where either is the same for all rows."""
    return _likeness(_gram(outputs_BD), _gram(others_BE))


def _grams(features: dict[str, Tensor]) -> dict[str, Tensor | None]:
    return {name: _gram(output.flatten(1)) for name, output in features.items()}


def _gram(outputs_BD: Tensor) -> Tensor | None:
    """The inner products of all centred rows [B,B], of length 1; None where there are none to speak of."""
    outputs_BD = outputs_BD.double()
    centred_BD = outputs_BD - outputs_BD.mean(dim=0)
    if not float(centred_BD.square().sum()) > NO_VARIANCE * float(outputs_BD.square().sum()):
        return None
    gram_BB: Tensor = centred_BD @ centred_BD.T
    return torch.div(gram_BB, gram_BB.norm())


def _likeness(first_BB: Tensor | None, second_BB: Tensor | None) -> float | None:
    if first_BB is None or second_BB is None:
        return None
    return float(torch.sum(first_BB * second_BB))
