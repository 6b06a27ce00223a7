"""NoProp on the menu: every copy of the network learns by itself to clean a noisy label."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper, PublishedResult, ReferenceResult
from specs.rule import CLASSES, Need, Rule
from specs.signature import TaskName


class NopropSpec(Rule):
    """Copies of the network clean noisy labels, each trained alone; in a row they turn noise into a prediction."""

    title: ClassVar[str] = "NoProp (discrete time)"
    summary: ClassVar[str] = "Denoisers of the label, given the input: trained one by one, applied one after another."
    paper: ClassVar[Paper] = Paper(
        title="NoProp: Training Neural Networks without Full Back-propagation or Full Forward-propagation",
        authors="Li, Teh, Pascanu",
        year=2025,
        url="https://arxiv.org/abs/2503.24322",
    )
    equation: ClassVar[str] = "z_(t-1) = sqrt(A_(t-1)) u_y + sqrt(1 - A_(t-1)) noise; L_t = w_t |u(z_(t-1), x) - u_y|^2"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block"})
    tasks: ClassVar[frozenset[TaskName]] = CLASSES
    commits: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "own_objective"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "global"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    quantities: ClassVar[dict[str, str]] = {"denoising_loss": ""}
    compute_class: ClassVar[str] = "num_denoising_steps times a backprop step and a forward pass; as many to predict"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-256-10, adam 0.001, batch 128, 60 s on 2 threads",
        metric="test accuracy, median of 3 seeds",
        value=0.9787,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR noprop",
    )
    example: ClassVar[JobBody] = {
        "name": "noprop-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128]},
        "learner": {"kind": "noprop"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="MNIST, 10 convolutional denoisers, AdamW, 100 epochs",
        metric="test accuracy",
        value=0.995,
        source="Li, Teh and Pascanu 2025",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Needs no backpropagation: a denoiser is a whole network trained by it; nothing passes between denoisers only "
        "(the paper's second version says so in its title).",
        "Costs as much as one network: parameters, training and prediction are multiplied by the number of denoisers.",
    )
    variants: ClassVar[tuple[JobBody, ...]] = (
        {
            "num_denoising_steps": 3,
            "denoising_loss": "squared_error",
            "label_embedding": "learned",
            "sampler": "ddim",
        },
    )

    kind: Literal["noprop"] = "noprop"
    num_denoising_steps: int = Field(
        default=5, ge=1, le=1000, description="T: denoisers, each a copy of the network with weights of its own"
    )
    denoising_loss: Literal["cross_entropy", "squared_error"] = Field(
        default="cross_entropy",
        description="a denoiser's loss: of its scores (weight 1), or the squared distance of its cleaned label from "
        "the true one, weighted as in the paper",
    )
    denoising_weight: float = Field(
        default=0.1, gt=0, le=1e6, description="eta: factor on the squared distances, with denoising_loss squared_error"
    )
    label_embedding: Literal["fixed", "learned"] = Field(
        default="fixed", description="whether the vectors that stand for the classes are trained too"
    )
    embedding_size: int = Field(
        default=16, ge=1, le=4096, description="length of those vectors; as many inputs are appended to every row"
    )
    sampler: Literal["ddim", "posterior_mean"] = Field(
        default="posterior_mean",
        description="the step from one denoiser to the next: posterior_mean (the paper's, without its fresh noise), or "
        "ddim (keeps the share of noise that training had)",
    )

    def extra_inputs(self, task: TaskName, outputs: int) -> int:  # noqa: ARG002
        return self.embedding_size
