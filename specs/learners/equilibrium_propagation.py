"""Equilibrium propagation on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper, PublishedResult, ReferenceResult
from specs.rule import Need, Rule
from specs.search import LEARNING_RATE, Range


class EquilibriumPropagationSpec(Rule):
    """A network with feedback relaxes twice: free, and nudged towards the target. The difference is the gradient."""

    title: ClassVar[str] = "Equilibrium propagation"
    summary: ClassVar[str] = "Units settle freely, then nudged by the loss; weights learn from the two resting states."
    paper: ClassVar[Paper] = Paper(
        title="Equilibrium Propagation: Bridging the Gap between Energy-Based Models and Backpropagation",
        authors="Scellier, Bengio",
        year=2017,
        url="https://arxiv.org/abs/1602.05179",
    )
    equation: ClassVar[str] = "g = -(dPhi/dtheta (s_(+beta)) - dPhi/dtheta (s_(-beta))) / (2 beta)"
    needs: ClassVar[frozenset[Need]] = frozenset(
        {"hidden_block", "plain_block", "batch_free", "norm_free", "bounded_activation"}
    )
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    quantities: ClassVar[dict[str, str]] = {
        "settling_residual_free": "",
        "settling_residual_nudged": "",
        "nudged_shift": "",
    }
    compute_class: ClassVar[str] = (
        "num_free_steps + 2 num_nudged_steps forward and half backward passes above the first block, which runs twice"
    )
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-512-10, activation hard_sigmoid, adam 0.002, batch 50, 60 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9797,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR equilibrium_propagation",
    )
    example: ClassVar[JobBody] = {
        "name": "equilibrium-propagation-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128], "activation": "hard_sigmoid"},
        "learner": {"kind": "equilibrium_propagation"},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="CIFAR-10, four convolutions with pooling, symmetric nudge",
        metric="test error",
        value=0.117,
        source="Laborieux et al. 2021, arXiv 2006.03824",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "It saves energy: on a digital machine every step of settling is a pass through the network, also to predict; "
        "only a machine whose physics settles could save.",
        "Any nudge will do: one-sided it errs by beta, and trained a deep convolutional network to 86 % error where "
        "the symmetric nudge reached 12 % (Laborieux et al. 2021, arXiv 2006.03824).",
    )
    search_space: ClassVar[tuple[Range, ...]] = (
        LEARNING_RATE,
        Range(pointer="/learner/nudging_strength", low=0.3, high=3, relative=True),
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"nudge": "one_sided"}, {"readout": "apart"}, {"tolerance": 1e-3})

    kind: Literal["equilibrium_propagation"] = "equilibrium_propagation"
    nudging_strength: float = Field(default=0.5, gt=0, le=10, description="beta: factor on the loss in nudged phases")
    nudge: Literal["one_sided", "symmetric"] = Field(
        default="symmetric",
        description="one_sided compares +beta with the free state (bias of order beta), symmetric +beta with -beta "
        "(order beta squared)",
    )
    num_free_steps: int = Field(default=10, ge=1, le=4096, description="T1: steps of the free phase and of prediction")
    num_nudged_steps: int = Field(
        default=4,
        ge=1,
        le=4096,
        description="T2: steps of a nudged phase; a nudge moves one block down each step, so fewer than there are "
        "blocks leave the lowest without any",
    )
    tolerance: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="a row stops when no unit of it changes by more than this in a step; 0 takes all steps",
    )
    readout: Literal["relaxing", "apart"] = Field(
        default="relaxing",
        description="relaxing: the read-out's units settle with the others and feed back. apart: they are a linear "
        "model of the last hidden block (Laborieux et al. 2021, section 3.2)",
    )
