"""SoftHebb on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper, PublishedResult, ReferenceResult
from specs.rule import Need, Rule


class SoftHebbSpec(Rule):
    """Units compete by a softmax for every input and move towards those that they win; no label reaches them."""

    title: ClassVar[str] = "SoftHebb"
    summary: ClassVar[str] = "Unsupervised Hebbian blocks by soft competition, under a trained read-out."
    paper: ClassVar[Paper] = Paper(
        title="Hebbian Deep Learning Without Feedback",
        authors="Journe, Garcia Rodriguez, Guo, Moraitis",
        year=2023,
        url="https://arxiv.org/abs/2209.11883",
    )
    equation: ClassVar[str] = "y = softmax(u / T); dw_k = |1 - |w_k||^q y_k (x - u_k w_k); g = -dw"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block", "plain_block"})
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "own_objective"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    quantities: ClassVar[dict[str, str]] = {"weight_length": "", "unit_use": "share", "win_concentration": ""}
    compute_class: ClassVar[str] = (
        "1 forward pass, one product a block for its change, and the read-out's backward pass"
    )
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-1000-10, adam 0.003, batch 100, 20 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9611,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR soft_hebb",
    )
    example: ClassVar[JobBody] = {
        "name": "soft-hebb-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [512]},
        "learner": {"kind": "soft_hebb"},
        "optimizer": {"kind": "adam", "lr": 0.003},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="MNIST, convolutional, one unsupervised epoch, then a linear read-out",
        metric="test accuracy",
        value=0.994,
        source="Journe et al. 2023, arXiv 2209.11883",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Hebbian learning makes the features of one hidden layer better than random ones: with 1000 units on MNIST the "
        "same activation over weights that hardly move is as good (95.9 % both, one seed, two epochs, measured here); "
        "what beats plain random features is the Triangle activation.",
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"normalize_inputs": False, "triangle_power": None},)

    kind: Literal["soft_hebb"] = "soft_hebb"
    inverse_temperature: float = Field(
        default=40.0, gt=0, le=1e4, description="1/T in the softmax over units: large values leave a single winner"
    )
    initial_norm: float = Field(
        default=5.0,
        gt=0,
        le=1e4,
        description="length to which every unit's first weight vector is scaled; above one, units that never won stay "
        "loud until they do",
    )
    rate_exponent: float = Field(
        default=0.5,
        ge=0,
        le=4,
        description="q: a unit's rate is multiplied by |1 - |w||^q, so it settles as its weights reach length one",
    )
    hebbian_rate: float = Field(
        default=0.1, gt=0, le=1e6, description="learning rate of the Hebbian blocks as a multiple of the optimizer's"
    )
    normalize_inputs: bool = Field(
        default=True,
        description="centre each row that enters a block and divide it, so that what a unit sees has length one on "
        "average; rows that enter the read-out are divided by their root mean square",
    )
    triangle_power: float | None = Field(
        default=2.0,
        gt=0,
        le=8,
        description="subtract the mean over units before the network's nonlinearity and raise what passes it to this "
        "power: with relu, the Triangle activation; null leaves the network's own activation alone",
    )
