"""How many directions the outputs of a layer use: RankMe (Garrido et al. 2023, arXiv 2210.02885, Eq. 1)."""

# B = rows, D = features of a row, R = min(B, D)

from typing import Any, Final

import torch
from torch import Tensor

from worker.probes.probe import Probe, Trained, missing

EPSILON: Final = 1e-7


class EffectiveRank(Probe):
    """Of every layer's outputs on the first training rows, a row's numbers side by side. From 1 to min(rows, units)."""

    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        del other
        layers = {
            name: _of_layer(output.flatten(1).double()) for name, output in trained.features(self.spec.rows).items()
        }
        return {
            "rows": min(self.spec.rows, len(trained.train)),
            "layers": missing(trained.training.network.names, layers, "no_outputs"),
        }


def _of_layer(outputs_BD: Tensor) -> dict[str, Any]:
    if not bool(torch.isfinite(outputs_BD).all()):
        return {"value": None, "reason": "nonfinite"}
    rank = effective_rank(outputs_BD)
    most = min(outputs_BD.shape)
    if rank is None:
        return {"value": None, "reason": "all_zero", "most": most}
    return {"value": rank, "most": most}


def effective_rank(outputs_BD: Tensor) -> float | None:
    """exp of the entropy of p = singular values / their sum + 1e-7; None of a matrix of zeros."""
    singular_R = torch.linalg.svdvals(outputs_BD)
    total = singular_R.sum()
    if not float(total) > 0:
        return None
    shares_R = singular_R / total + EPSILON
    return float(torch.exp(-(shares_R * torch.log(shares_R)).sum()))
