"""Direct random target projection on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper
from specs.rule import CLASSES, Need, Rule
from specs.signature import TaskName


class RandomTargetProjectionSpec(Rule):
    """Each block follows a fixed random projection of the target: it need not wait for the output's error."""

    title: ClassVar[str] = "Direct random target projection"
    summary: ClassVar[str] = "Each block follows a fixed random projection of the label, as soon as it has run."
    paper: ClassVar[Paper] = Paper(
        title="Learning Without Feedback: Fixed Random Learning Signals Allow for Feedforward Training of Deep Neural "
        "Networks",
        authors="Frenkel, Lefebvre, Bol",
        year=2021,
        url="https://arxiv.org/abs/1909.01311",
    )
    equation: ClassVar[str] = "g_l = -(f'(z_l) * B_l^T y) h_l-1^T; the read-out learns by its own error"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block"})
    tasks: ClassVar[frozenset[TaskName]] = CLASSES
    commits: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    compute_class: ClassVar[str] = "about 0.8 backprop steps"
    example: ClassVar[JobBody] = {
        "name": "random-target-projection-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [256], "activation": "tanh"},
        "learner": {"kind": "random_target_projection"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }

    kind: Literal["random_target_projection"] = "random_target_projection"
    projection_scale: float = Field(
        default=1.0, gt=0, le=1e3, description="standard deviation of B times sqrt(classes)"
    )

    def follows_error(self) -> bool:
        """It reads the label, and is told no error."""
        return False
