"""Evolution strategies on the menu."""

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import JobBody, Paper, ReferenceResult
from specs.rule import Rule


class EvolutionStrategiesSpec(Rule):
    """A population of perturbed networks is evaluated on the batch; its losses weigh the perturbations."""

    title: ClassVar[str] = "Evolution strategies"
    summary: ClassVar[str] = "The gradient of the smoothed loss from a population's losses; dense or low-rank noise."
    paper: ClassVar[Paper] = Paper(
        title="Evolution Strategies as a Scalable Alternative to Reinforcement Learning",
        authors="Salimans, Ho, Chen, Sidor, Sutskever",
        year=2017,
        url="https://arxiv.org/abs/1703.03864",
    )
    equation: ClassVar[str] = "g = 1/(n sigma) sum_i u(L(theta + sigma E_i)) E_i; low rank: E = A B^T / sqrt(r)"
    whole_batch: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "none"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "inference"
    quantities: ClassVar[dict[str, str]] = {
        "population_loss_std": "",
        "population_loss_ties": "share",
        "loss_resolution": "roundings",
    }
    compute_class: ClassVar[str] = "population_size forward passes; members share products of the first layer"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-128-10, rank 1, population_size 128, adam 0.002, batch 256, 60 s on 2 threads",
        metric="test accuracy, median of 3 seeds",
        value=0.9053,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR evolution_strategies",
    )
    example: ClassVar[JobBody] = {
        "name": "evolution-strategies-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [64]},
        "learner": {"kind": "evolution_strategies", "rank": 1, "population_size": 64},
        "optimizer": {"kind": "adam", "lr": 0.005},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "As fast as backpropagation: low-rank noise comes near its time on a GPU by thousands of times the FLOPs, "
        "3,360 times on an MNIST network of 100,000 weights (a third party's figure); compare FLOPs and joules too.",
    )
    variants: ClassVar[tuple[JobBody, ...]] = (
        {"rank": 1},
        {"rank": 2, "antithetic": False, "shaping": "z_score"},
    )

    kind: Literal["evolution_strategies"] = "evolution_strategies"
    population_size: int = Field(default=16, ge=2, le=65_536, description="n: networks evaluated at a step")
    perturbation_scale: float = Field(default=0.02, gt=0, le=10, description="sigma: standard deviation of the noise")
    rank: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="r: noise A B^T / sqrt(r) on weight matrices, which are never formed (EGGROLL); what is no matrix "
        "has dense noise; null is dense noise everywhere",
    )
    antithetic: bool = Field(default=True, description="every perturbation is evaluated with both signs")
    shaping: Literal["raw", "z_score", "rank"] = Field(
        default="rank",
        description="u: raw losses (g estimates the smoothed loss's gradient), losses standardised over the "
        "population, or their centred ranks in [-0.5, 0.5]; with the latter two the length of g says nothing",
    )

    @model_validator(mode="after")
    def _in_pairs(self) -> "EvolutionStrategiesSpec":
        if self.antithetic and self.population_size % 2:
            raise ValueError("antithetic evaluates pairs: population_size must be even")
        if not self.antithetic and self.shaping == "raw":
            raise ValueError("raw losses without antithetic pairs drown in their mean: use z_score or rank")
        return self

    @property
    def perturbations(self) -> int:
        """Independent perturbations of one step."""
        return self.population_size // 2 if self.antithetic else self.population_size

    def expected_alignment(self, *, size: int, noise: float) -> float | None:
        """1 / sqrt(1 + (d N + 1) / m), m perturbations of a layer of d of the network's parameters, in the limit of a
        small sigma. Ranks follow normal differences of losses with correlation sqrt(3 / pi)."""
        kept = 3 / math.pi if self.shaping == "rank" else 1.0
        return 1 / math.sqrt(1 + (size * noise + 1) / (kept * self.perturbations))
