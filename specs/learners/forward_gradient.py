"""Forward gradients on the menu."""

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import JobBody, Paper
from specs.rule import Rule


class ForwardGradientSpec(Rule):
    """The slope along a random direction, exact and in one forward pass, times that direction."""

    title: ClassVar[str] = "Forward gradient"
    summary: ClassVar[str] = "An unbiased gradient from forward passes alone: slopes along random directions."
    paper: ClassVar[Paper] = Paper(
        title="Gradients without Backpropagation",
        authors="Baydin, Pearlmutter, Syme, Wood, Torr",
        year=2022,
        url="https://arxiv.org/abs/2202.08587",
    )
    equation: ClassVar[str] = "g = (dL/dtheta . v) v, v ~ N(0, I); activities: g_W = sum_b (dL_b/dz_b . u_b) u_b x_b^T"
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "unbiased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "none"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "inference"
    quantities: ClassVar[dict[str, str]] = {"slope": ""}
    compute_class: ClassVar[str] = "about 3 forward passes a direction (weights), 2 (activities)"
    example: ClassVar[JobBody] = {
        "name": "forward-gradient-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [64]},
        "learner": {"kind": "forward_gradient"},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Faster than backpropagation: an implementation by others saw no speed-up, and backprop's steps were faster "
        "(orobix/fwdgrad); the relative error over K directions in D weights is sqrt((D + 1) / K).",
    )
    variants: ClassVar[tuple[JobBody, ...]] = (
        {"perturb": "weights", "num_directions": 2},
        {"guess": "local"},
    )

    kind: Literal["forward_gradient"] = "forward_gradient"
    perturb: Literal["weights", "activities"] = Field(
        default="activities",
        description="what moves along a random direction: all weights, or what each weight matrix puts out, for every "
        "row by itself (blocks over sequences and parameters that are no matrix still move as weights)",
    )
    num_directions: int = Field(default=1, ge=1, le=1024, description="directions whose estimates are averaged")
    guess: Literal["none", "local"] = Field(
        default="none",
        description="with activities: none draws directions at random; local takes, with a random sign, the direction "
        "in which a linear head on the block would lower its own loss (biased, and far less noisy)",
    )

    @model_validator(mode="after")
    def _guesses_are_of_activities(self) -> "ForwardGradientSpec":
        if self.guess == "local" and self.perturb == "weights":
            raise ValueError("a local guess for weights would need a backward pass: use perturb activities")
        return self

    def expected_alignment(self, *, size: int, noise: float) -> float | None:
        """Weights: 1 / sqrt(1 + (d N + 1) / n), n normal directions, a layer of d of the network's parameters."""
        if self.perturb == "activities":
            return None
        return 1 / math.sqrt(1 + (size * noise + 1) / self.num_directions)
