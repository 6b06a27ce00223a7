"""Target propagation on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper
from specs.rule import Need, Rule


class TargetPropagationSpec(Rule):
    """Every block gets a target for its output, brought down from the block above by an inverse."""

    title: ClassVar[str] = "Difference target propagation"
    summary: ClassVar[str] = "Blocks learn to hit targets that inverses bring down, instead of following errors."
    paper: ClassVar[Paper] = Paper(
        title="Difference Target Propagation",
        authors="Lee, Zhang, Fischer, Bengio",
        year=2015,
        url="https://arxiv.org/abs/1412.7525",
    )
    equation: ClassVar[str] = "t_i-1 = h_i-1 + g_i(t_i) - g_i(h_i); g = d(|f_i(h_i-1) - t_i|^2 / 2)/dtheta_i / rate"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_block", "plain_block"})
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    quantities: ClassVar[dict[str, str]] = {"reconstruction_loss": ""}
    compute_class: ClassVar[str] = "2 to 3 backprop steps: every block and its inverse run again on noisy rows"
    example: ClassVar[JobBody] = {
        "name": "target-propagation-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128], "activation": "tanh"},
        "learner": {"kind": "target_propagation"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    variants: ClassVar[tuple[JobBody, ...]] = ({"inverse": "exact"},)

    kind: Literal["target_propagation"] = "target_propagation"
    inverse: Literal["learned", "exact"] = Field(
        default="learned",
        description="learned: each block above the first has an inverse that learns to rebuild its noisy input; exact: "
        "the block's own inverse, for networks of equal widths",
    )
    target_rate: float = Field(
        default=0.1,
        gt=0,
        le=10,
        description="length of the step from the last block's output to its target, along the loss's gradient of each "
        "row; gradients are divided by it, so it does not change the learning rate",
    )
    noise_scale: float = Field(
        default=0.1, ge=0, le=10, description="deviation of the noise on inputs that learned inverses rebuild"
    )

    def requires(self) -> frozenset[Need]:
        return self.needs | {"invertible"} if self.inverse == "exact" else self.needs
