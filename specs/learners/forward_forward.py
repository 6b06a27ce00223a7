"""Forward-Forward on the menu."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import JobBody, Paper, PublishedResult, ReferenceResult
from specs.rule import CLASSES, SCHEDULE, STEPS_PER_BLOCK, BlockSchedule, Need, Rule
from specs.signature import TaskName


class ForwardForwardSpec(Rule):
    """Each block raises its goodness on real rows and lowers it on false ones; no error passes between blocks."""

    title: ClassVar[str] = "Forward-Forward"
    summary: ClassVar[str] = "Each block learns high activity on inputs with the true label, and low on wrong ones."
    paper: ClassVar[Paper] = Paper(
        title="The Forward-Forward Algorithm: Some Preliminary Investigations",
        authors="Hinton",
        year=2022,
        url="https://arxiv.org/abs/2212.13345",
    )
    equation: ClassVar[str] = "L_i = softplus(-c s (G_i - threshold)), s = +1 real, -1 false; g_i = dL_i/dtheta_i"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block"})
    tasks: ClassVar[frozenset[TaskName]] = CLASSES
    commits: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "own_objective"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    quantities: ClassVar[dict[str, str]] = {
        "goodness_positive": "",
        "goodness_negative": "",
        "goodness_margin": "",
        "goodness_accuracy": "share",
    }
    compute_class: ClassVar[str] = "about 1.7 backprop steps; prediction by goodness takes one forward pass per class"
    example: ClassVar[JobBody] = {
        "name": "forward-forward-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [256, 256]},
        "learner": {"kind": "forward_forward"},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "training": {"epochs": 30, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="MNIST, 4 x 2000 ReLU, label in the input, 60 epochs",
        metric="test error",
        value=0.0136,
        source="Hinton 2022, section 3.3",
    )
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-512-512, adam 0.004 falling over 2000 steps, batch 100, hard_label, label_scale 5, "
        "goodness_scale 30, by readout, bfloat16, 60 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9778,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR forward_forward",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Faster or lighter than backpropagation: at equal accuracy 4 to 13 times slower, with 3 to 10 times the energy "
        "(Spyra 2025, arXiv 2509.19063); Hinton himself calls it somewhat slower.",
        "Less memory by itself: only a backward pass per block that frees its graph saves any; to sum the blocks' "
        "losses keeps all graphs, over twice the rows.",
        "Cheap prediction: by goodness a prediction is one forward pass per class; only the read-out needs one.",
    )
    variants: ClassVar[tuple[JobBody, ...]] = (
        {"negatives": "all_wrong", "goodness": "sum_squares", "predict": "readout"},
        {"negatives": "self_contrastive", "predict": "readout"},
        {"negatives": "hard_label", "label_scale": 2.0},
    )

    kind: Literal["forward_forward"] = "forward_forward"
    goodness: Literal["sum_squares", "mean_squares"] = Field(
        default="mean_squares", description="a block's goodness of a row: sum or mean of its squared activities"
    )
    goodness_threshold: float = Field(
        default=1.0, gt=0, le=1e6, description="goodness at which a row is as likely real as false"
    )
    goodness_scale: float = Field(
        default=4.0, gt=0, le=1e3, description="c in the equation: how fast probability rises with goodness"
    )
    negatives: Literal["wrong_label", "hard_label", "all_wrong", "self_contrastive"] = Field(
        default="wrong_label",
        description="false rows: one wrong label drawn per row (never the true one), evenly or (hard_label, as the "
        "paper does) by the read-out's probabilities; all wrong labels; or without labels the sum of two different "
        "rows (read-out prediction only)",
    )
    label_scale: float = Field(
        default=1.0,
        gt=0,
        le=1e3,
        description="the appended label's size. A normalised row's values have a root mean square of 1, so of 784 "
        "pixels a label of 1 is little beside them: 5 learns MNIST many times faster",
    )
    normalize_between_layers: bool = Field(
        default=True, description="divide a block's output by its root mean square, so that goodness does not pass on"
    )
    normalize_inputs: bool = Field(
        default=True,
        description="append a one to each row and divide it by its root mean square: goodness does not depend on the "
        "scale of the data, and the row's length is not lost",
    )
    schedule: BlockSchedule = Field(default="simultaneous", description=SCHEDULE)
    steps_per_block: int = Field(default=1000, ge=1, le=10**8, description=STEPS_PER_BLOCK)
    predict: Literal["goodness", "readout"] = Field(
        default="goodness",
        description="score of a class: goodness summed over blocks (after the first, if there are several) with that "
        "class as label; or the read-out trained beside, on rows with the neutral label: one pass",
    )

    @model_validator(mode="after")
    def _labels_or_readout(self) -> "ForwardForwardSpec":
        if self.negatives == "self_contrastive" and self.predict == "goodness":
            raise ValueError("self_contrastive has no labels in the input: it predicts by readout")
        return self

    def extra_inputs(self, task: TaskName, outputs: int) -> int:  # noqa: ARG002
        return 0 if self.negatives == "self_contrastive" else outputs + self.normalize_inputs
