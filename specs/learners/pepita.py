"""PEPITA on the menu: a second forward pass in place of a backward one."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper, PublishedResult, ReferenceResult
from specs.rule import Need, Rule


class PepitaSpec(Rule):
    """The input is modulated by the error; each layer learns from the difference of its two activities."""

    title: ClassVar[str] = "PEPITA"
    summary: ClassVar[str] = "Two forward passes: the second's input carries the error through fixed random weights."
    paper: ClassVar[Paper] = Paper(
        title="Error-driven Input Modulation: Solving the Credit Assignment Problem without a Backward Pass",
        authors="Dellaferrera, Kreiman",
        year=2022,
        url="https://arxiv.org/abs/2201.11665",
    )
    equation: ClassVar[str] = "h'_0 = x + F e; g_l = (h_l - h'_l) h'_(l-1)^T; at the output g_L = e' h'_(L-1)^T"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block", "plain_block", "batch_free", "shallow"})
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    quantities: ClassVar[dict[str, str]] = {"modulation": ""}
    compute_class: ClassVar[str] = "2 forward passes and one product of weights' size per layer: about 1 backprop step"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-512-10, dropout 0.1, sgd 0.1, batch 64, 60 s on 2 threads",
        metric="test accuracy, median of 3 seeds",
        value=0.9671,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR pepita",
    )
    example: ClassVar[JobBody] = {
        "name": "pepita-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [512]},
        "learner": {"kind": "pepita"},
        "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="MNIST, 1 x 1024 ReLU, dropout 0.1, SGD with momentum, 100 epochs",
        metric="test accuracy",
        value=0.9801,
        source="Dellaferrera and Kreiman 2022",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Trains deep networks: published results have one to three layers; to first order in F it is feedback "
        "alignment with the feedback W_1 F (Srinivasan et al. 2023, arXiv 2302.05440).",
        "Saves memory: the first pass's activities of all layers are kept for the second.",
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"feedback_scale": 0.5},)

    kind: Literal["pepita"] = "pepita"
    feedback_scale: float = Field(
        default=0.05,
        gt=0,
        le=1e3,
        description="F is uniform between + and - this times sqrt(6 / number of inputs), drawn once",
    )

    def follows_error(self) -> bool:
        """It sends the task's own error through its feedback, and a segment below has no read-out to take it from."""
        return False
