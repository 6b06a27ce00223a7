"""MeZO on the menu."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper
from specs.rule import Rule


class MezoSpec(Rule):
    """Two forward passes give the slope along one random direction; the direction is drawn again, never stored."""

    title: ClassVar[str] = "MeZO"
    summary: ClassVar[str] = "Zeroth-order descent in the memory of inference, by seeded perturbations in place."
    paper: ClassVar[Paper] = Paper(
        title="Fine-Tuning Language Models with Just Forward Passes",
        authors="Malladi, Gao, Nichani, Damian, Lee, Chen, Arora",
        year=2023,
        url="https://arxiv.org/abs/2305.17333",
    )
    equation: ClassVar[str] = "rho = (L(theta + eps z) - L(theta - eps z)) / (2 eps); g = rho z"
    optimizers: ClassVar[frozenset[str] | None] = frozenset({"sgd"})
    optimizer_limits: ClassVar[dict[str, float | bool]] = {"momentum": 0.0, "nesterov": False}
    whole_batch: ClassVar[bool] = True
    in_place: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "unbiased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "none"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "inference"
    quantities: ClassVar[dict[str, str]] = {
        "projected_slope": "",
        "loss_difference": "",
        "loss_resolution": "roundings",
    }
    compute_class: ClassVar[str] = "2 forward passes and 4 draws of noise a direction"
    example: ClassVar[JobBody] = {
        "name": "mezo-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [32]},
        "learner": {"kind": "mezo", "num_directions": 8},
        "optimizer": {"kind": "sgd", "lr": 0.03},
        "training": {"epochs": 40, "batch_size": 64, "seed": 0},
    }
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "The way to train in little memory: backpropagation with checkpointing at comparable memory is up to 31 points "
        "more accurate, with 3.8 times less compute (arXiv 2506.21833).",
        "Trains from scratch: it fine-tunes a trained network; from random weights it stays far below backpropagation "
        "(the authors' repository, issue 31).",
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"num_directions": 2},)

    kind: Literal["mezo"] = "mezo"
    perturbation_scale: float = Field(default=1e-3, gt=0, le=1, description="eps: length of the step along z")
    num_directions: int = Field(default=1, ge=1, le=1024, description="directions z whose estimates are averaged")

    def expected_alignment(self, *, size: int, noise: float) -> float | None:
        """1 / sqrt(1 + (d N + 1) / n): n normal directions, a layer of d of the network's parameters."""
        return 1 / math.sqrt(1 + (size * noise + 1) / self.num_directions)
