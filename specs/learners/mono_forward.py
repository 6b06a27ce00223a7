"""Mono-Forward on the menu."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import JobBody, Paper, ReferenceResult
from specs.rule import SCHEDULE, STEPS_PER_BLOCK, BlockSchedule, Need, Rule


class MonoForwardSpec(Rule):
    """Each block has a linear head of its own and learns from that head's loss alone."""

    title: ClassVar[str] = "Mono-Forward"
    summary: ClassVar[str] = "A linear head per block; each block learns from its own head's loss, in one forward pass."
    paper: ClassVar[Paper] = Paper(
        title="Mono-Forward: Backpropagation-Free Algorithm for Efficient Neural Network Training",
        authors="Gong, Li, Abdulla",
        year=2025,
        url="https://arxiv.org/abs/2501.09238",
    )
    equation: ClassVar[str] = "L_i = L(M_i a_i, y); g_i = dL_i/d(theta_i, M_i)"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block"})
    commits: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "own_objective"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    quantities: ClassVar[dict[str, str]] = {"head_loss": ""}
    compute_class: ClassVar[str] = "1.0 to 1.3 backprop steps"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-256-256-10, adam 0.001, batch 100, 15 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9764,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR mono_forward",
    )
    example: ClassVar[JobBody] = {
        "name": "mono-forward-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "mono_forward"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Matches or surpasses backpropagation: the paper's second version (May 2026) says competitive, and better than "
        "Forward-Forward (arXiv 2501.09238).",
        "Saves energy: up to 41 % on multi-layer perceptrons, per epoch; the measure that counts is energy to a target "
        "accuracy (Spyra 2025, arXiv 2509.19063).",
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"detach": False},)

    kind: Literal["mono_forward"] = "mono_forward"
    detach: bool = Field(
        default=True,
        description="cut the graph between blocks; false trains all on the sum of the heads' losses",
    )
    schedule: BlockSchedule = Field(default="simultaneous", description=SCHEDULE)
    steps_per_block: int = Field(default=1000, ge=1, le=10**8, description=STEPS_PER_BLOCK)

    @model_validator(mode="after")
    def _joint_is_simultaneous(self) -> "MonoForwardSpec":
        if not self.detach and self.schedule != "simultaneous":
            raise ValueError("detach false sums all heads' losses: only schedule simultaneous has a meaning")
        return self

    @property
    def crosses_blocks(self) -> bool:
        return not self.detach
