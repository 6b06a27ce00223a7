"""The learning rules on the menu. A rule says how each parameter's gradient for one batch is found."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.kinds import Spec
from specs.papers import JobBody, Paper, ReferenceResult
from specs.rule import CLASSES, Need, Rule
from specs.signature import TaskName

BlockSchedule = Literal["simultaneous", "sequential", "greedy"]

SCHEDULE = (
    "which blocks learn at a step: simultaneous (all), sequential (one, in turn), greedy (each for steps_per_block "
    "steps, then frozen; the last goes on)"
)
STEPS_PER_BLOCK = "steps that each block but the last learns for, with schedule greedy"


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
    example: ClassVar[JobBody] = {
        "name": "backprop-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "backprop"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }

    kind: Literal["backprop"] = "backprop"
    auxiliary_heads: AuxiliaryHeads | None = Field(
        default=None, description="deep supervision, the control that separates a loss per block from locality"
    )


class ReadoutOnlySpec(Rule):
    """The control: only the read-out learns, on features of a random network that stays frozen."""

    title: ClassVar[str] = "Read-out only"
    summary: ClassVar[str] = "A frozen random network under a trained read-out; what a rule must beat to matter."
    paper: ClassVar[Paper] = Paper(
        title="Random Features for Large-Scale Kernel Machines",
        authors="Rahimi, Recht",
        year=2007,
        url="https://papers.nips.cc/paper/2007/hash/013a006f03dbc5392effeb8f18fda755-Abstract.html",
    )
    equation: ClassVar[str] = "g = dL/dtheta for the read-out, no step for all other parameters"
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    compute_class: ClassVar[str] = "1 forward pass a step, and the read-out's backward pass"
    example: ClassVar[JobBody] = {
        "name": "readout-only-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [512]},
        "learner": {"kind": "readout_only"},
        "optimizer": {"kind": "adam", "lr": 0.003},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }

    kind: Literal["readout_only"] = "readout_only"


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
    compute_class: ClassVar[str] = "about 1.5 backprop steps; prediction by goodness takes one forward pass per class"
    example: ClassVar[JobBody] = {
        "name": "forward-forward-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [256, 256]},
        "learner": {"kind": "forward_forward"},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "training": {"epochs": 30, "batch_size": 64, "seed": 0},
    }
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 4 x 2000 ReLU, label in the input, 60 epochs",
        metric="test error",
        value=0.0136,
        source="Hinton 2022, section 3.3",
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
    negatives: Literal["wrong_label", "all_wrong", "self_contrastive"] = Field(
        default="wrong_label",
        description="false rows: one wrong label drawn per row (never the true one), all wrong labels, or without "
        "labels the sum of two different rows (read-out prediction only)",
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
    compute_class: ClassVar[str] = "1.0 to 1.3 backprop steps"
    example: ClassVar[JobBody] = {
        "name": "mono-forward-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "mono_forward"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }

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


class MezoSpec(Rule):
    """Two forward passes give the slope along one random direction; the direction is drawn again, never stored."""

    title: ClassVar[str] = "MeZO"
    summary: ClassVar[str] = "Zeroth-order descent in the memory of inference, by seeded perturbations in place."
    paper: ClassVar[Paper] = Paper(
        title="Fine-Tuning Language Models with Just Forward Passes",
        authors="Malladi, Gao, Nichani, Damian, Lee, Chen, Arora",
        year=2023,
        url="https://arxiv.org/abs/2305.17333",
    )
    equation: ClassVar[str] = "rho = (L(theta + eps z) - L(theta - eps z)) / (2 eps); g = rho z"
    optimizers: ClassVar[frozenset[str] | None] = frozenset({"sgd"})
    optimizer_limits: ClassVar[dict[str, float | bool]] = {"momentum": 0.0, "nesterov": False}
    whole_batch: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "unbiased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "none"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "inference"
    compute_class: ClassVar[str] = "2 forward passes and 4 draws of noise a direction"
    example: ClassVar[JobBody] = {
        "name": "mezo-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [32]},
        "learner": {"kind": "mezo"},
        "optimizer": {"kind": "sgd", "lr": 0.001},
        "training": {"epochs": 40, "batch_size": 64, "seed": 0},
    }

    kind: Literal["mezo"] = "mezo"
    perturbation_scale: float = Field(default=1e-3, gt=0, le=1, description="eps: length of the step along z")
    num_directions: int = Field(default=1, ge=1, le=1024, description="directions z whose estimates are averaged")


LearnerSpec = Annotated[
    BackpropSpec | ReadoutOnlySpec | ForwardForwardSpec | MonoForwardSpec | MezoSpec, Field(discriminator="kind")
]
LEARNER_SPECS: tuple[type[Rule], ...] = (BackpropSpec, ReadoutOnlySpec, ForwardForwardSpec, MonoForwardSpec, MezoSpec)
