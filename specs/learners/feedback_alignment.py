"""Feedback alignment on the menu."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import Equivalence, JobBody, Paper, PublishedResult, ReferenceResult
from specs.rule import Need, Rule


class FeedbackAlignmentSpec(Rule):
    """Errors come back through matrices of their own, layer by layer or from the output straight to every block."""

    title: ClassVar[str] = "Feedback alignment"
    summary: ClassVar[str] = "Backpropagation with other matrices than the transposed weights on the way back."
    paper: ClassVar[Paper] = Paper(
        title="Random synaptic feedback weights support error backpropagation for deep learning",
        authors="Lillicrap, Cownden, Tweed, Akerman",
        year=2016,
        url="https://doi.org/10.1038/ncomms13276",
    )
    equation: ClassVar[str] = "d_l = f'(z_l) B_l+1^T d_l+1 (sequential) or f'(z_l) B_l^T e (direct); g_l = d_l h_l-1^T"
    hands_error: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "global"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    compute_class: ClassVar[str] = "0.7 to 1.1 backprop steps"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-256-256-10, route direct, adam 0.001, batch 100, 20 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9707,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR direct_feedback_alignment",
    )
    example: ClassVar[JobBody] = {
        "name": "direct-feedback-alignment-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "feedback_alignment", "route": "direct"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="MNIST, direct, fully connected, with dropout",
        metric="test error",
        value=0.0145,
        source="Nokland 2016, arXiv 1609.01596, abstract",
    )
    equivalent_to: ClassVar[tuple[Equivalence, ...]] = (
        Equivalence(
            settings={"route": "sequential", "feedback": "transpose"},
            to="backprop",
            because="the transposed weight is what the chain rule multiplies errors with",
        ),
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Direct feedback through the product of the weights above is backpropagation: in linear networks and below one "
        "hidden layer it is; in deeper ones the slopes in between are missing (three tanh layers: 7 % off).",
        "Direct feedback saves memory: every activation is still kept until the error is known.",
    )
    variants: ClassVar[tuple[JobBody, ...]] = (
        {"feedback": "product"},
        {"feedback": "kolen_pollack"},
        {"route": "sequential"},
        {"route": "sequential", "feedback": "transpose"},
        {"route": "sequential", "feedback": "sign"},
        {"route": "sequential", "feedback": "kolen_pollack"},
    )

    kind: Literal["feedback_alignment"] = "feedback_alignment"
    route: Literal["sequential", "direct"] = Field(
        default="direct",
        description="the way of the error: sequential through every layer, inside blocks too; or direct from the "
        "output to every block, exact inside the block (Nokland 2016)",
    )
    feedback: Literal["random", "transpose", "sign", "product", "kolen_pollack"] = Field(
        default="random",
        description="what the error is multiplied with: random (fixed); transpose (sequential: backpropagation, a "
        "control); sign (sequential: the weight's sign times a constant); product (direct: all weights above, without "
        "the slopes of their nonlinearities); kolen_pollack (learned by the same steps as the weights, so weight decay "
        "brings both together)",
    )
    feedback_scale: float = Field(
        default=1.0,
        gt=0,
        le=1e3,
        description="factor on the feedback's size: 1 is a standard deviation (sign: a magnitude) of "
        "sqrt(2 / (fan in + fan out)) per layer, or of 1 / sqrt(outputs) with route direct",
    )

    @model_validator(mode="after")
    def _feedback_has_a_meaning_on_the_route(self) -> "FeedbackAlignmentSpec":
        if self.route == "sequential" and self.feedback == "product":
            raise ValueError("product is all weights between the output and a block: it needs route direct")
        if self.route == "direct" and self.feedback in ("transpose", "sign"):
            raise ValueError(f"{self.feedback} is taken of one layer's weight: it needs route sequential")
        return self

    def requires(self) -> frozenset[Need]:
        if self.route == "sequential":
            return self.needs | {"synapse"}
        return self.needs | {"plain_block"} if self.feedback == "product" else self.needs
