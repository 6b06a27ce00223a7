"""Backpropagation on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.kinds import Spec
from specs.papers import JobBody, Paper, ReferenceResult
from specs.rule import Rule


class AuxiliaryHeads(Spec):
    """Deep supervision: a linear head on every block, its loss added to the network's."""

    weight: float = Field(default=0.3, gt=0, le=100, description="factor on the sum of the heads' losses")


class BackpropSpec(Rule):
    """The exact gradient of the loss by reverse-mode differentiation."""

    title: ClassVar[str] = "Backpropagation"
    summary: ClassVar[str] = "The exact gradient of the loss; the yardstick of every other rule."
    paper: ClassVar[Paper] = Paper(
        title="Learning representations by back-propagating errors",
        authors="Rumelhart, Hinton, Williams",
        year=1986,
        url="https://doi.org/10.1038/323533a0",
    )
    equation: ClassVar[str] = "g = dL/dtheta"
    hands_error: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "exact"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "global"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    compute_class: ClassVar[str] = "1 forward and 1 backward pass a step"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-256-256-10, adam 0.001, batch 100, 10 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9808,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR backprop",
    )
    example: ClassVar[JobBody] = {
        "name": "backprop-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "backprop"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Checkpointing cuts memory to a fifth: it cuts stored activations to about 2 / sqrt(n) for n saved tensors, a "
        "fifth from about 100 on; weights, gradients and optimizer state stay (Chen et al. 2016, arXiv 1604.06174).",
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"auxiliary_heads": {"weight": 0.5}},)

    kind: Literal["backprop"] = "backprop"
    auxiliary_heads: AuxiliaryHeads | None = Field(
        default=None, description="deep supervision, the control that separates a loss per block from locality"
    )
