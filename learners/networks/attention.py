"""Self-attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2): softmax(Q K^T / sqrt(d)) V per head."""

# B = rows, T = time, D = features, N = heads, d = features of a head

import math
from typing import final

import torch
from torch import Tensor, nn

from learners.networks.synapses import LinearSynapse, initialise
from specs.architecture import Init


@final
class SelfAttention(nn.Module):
    """Every step looks at every step: [B,T,D] -> [B,T,D].

    Keys have no bias: it would add the same to all scores of a query, which the softmax does not see. The products are
    written out, for PyTorch's fused attention has no forward-mode derivative.
    """

    def __init__(self, features: int, heads: int, *, init: Init = "default") -> None:
        super().__init__()
        self.heads = heads
        self.query = LinearSynapse(features, features)
        self.key = LinearSynapse(features, features, bias=False)
        self.value = LinearSynapse(features, features)
        self.output = LinearSynapse(features, features)
        for synapse in (self.query, self.key, self.value, self.output):
            initialise(synapse, init)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BNTd, k_BNTd, v_BNTd = (self._split(project(x_BTD)) for project in (self.query, self.key, self.value))
        scores_BNTT = q_BNTd @ k_BNTd.transpose(2, 3) / math.sqrt(q_BNTd.shape[3])
        mixed_BNTd = torch.softmax(scores_BNTT, 3) @ v_BNTd
        attended_BTD: Tensor = self.output(mixed_BNTd.transpose(1, 2).flatten(2))
        return attended_BTD

    def _split(self, z_BTD: Tensor) -> Tensor:
        return z_BTD.reshape(*z_BTD.shape[:2], self.heads, -1).transpose(1, 2)
