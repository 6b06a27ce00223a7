"""Local losses on the menu: similarity matching and prediction, block by block."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import JobBody, Paper, PublishedResult
from specs.rule import CLASSES, SCHEDULE, STEPS_PER_BLOCK, BlockSchedule, Need, Rule
from specs.signature import TaskName


class LocalLossSpec(Rule):
    """Each block makes rows of one class alike and rows of two classes unlike; with predsim it also predicts."""

    title: ClassVar[str] = "Local losses (similarity matching)"
    summary: ClassVar[str] = (
        "Each block matches the similarities of its rows to those of their labels; no global error."
    )
    paper: ClassVar[Paper] = Paper(
        title="Training Neural Networks with Local Error Signals",
        authors="Nøkland, Eidnes",
        year=2019,
        url="https://arxiv.org/abs/1901.06656",
    )
    equation: ClassVar[str] = "L_sim = mean (S(h_i) - S(Y))^2; L_predsim = (1 - beta) L(M_i a_i, y) + beta L_sim"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block"})
    tasks: ClassVar[frozenset[TaskName]] = CLASSES
    whole_batch: ClassVar[bool] = True
    commits: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "own_objective"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    quantities: ClassVar[dict[str, str]] = {"local_loss": ""}
    compute_class: ClassVar[str] = "1.5 to 2 backprop steps; with micro-batches one forward pass more"
    example: ClassVar[JobBody] = {
        "name": "local-loss-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "local_loss"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    published_result: ClassVar[PublishedResult | None] = PublishedResult(
        setting="MNIST, 3 x 1024 leaky ReLU, predsim, images moved by up to 2 pixels",
        metric="test error",
        value=0.0062,
        source="Nøkland and Eidnes 2019",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Needs no backpropagation: each block's map and head are differentiated with the block, one step back; the "
        "variant without it is another rule (arXiv 1901.06656, predsim-bio).",
    )
    variants: ClassVar[tuple[JobBody, ...]] = ({"loss": "sim"}, {"detach": False})

    kind: Literal["local_loss"] = "local_loss"
    loss: Literal["sim", "predsim"] = Field(
        default="predsim",
        description="a block's loss: sim (similarities of rows), or predsim (with a linear head's loss beside it); the "
        "head's loss alone is learner mono_forward",
    )
    similarity_weight: float = Field(
        default=0.99, ge=0, le=1, description="beta in the equation: share of the similarity loss, with loss predsim"
    )
    detach: bool = Field(
        default=True,
        description="cut the graph between blocks; false trains all on the sum of the blocks' and the read-out's loss",
    )
    schedule: BlockSchedule = Field(default="simultaneous", description=SCHEDULE)
    steps_per_block: int = Field(default=1000, ge=1, le=10**8, description=STEPS_PER_BLOCK)

    @model_validator(mode="after")
    def _joint_is_simultaneous(self) -> "LocalLossSpec":
        if not self.detach and self.schedule != "simultaneous":
            raise ValueError("detach false sums all blocks' losses: only schedule simultaneous has a meaning")
        return self

    @property
    def crosses_blocks(self) -> bool:
        return not self.detach
