"""What every network on the menu declares about itself, and the words that their fields share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specs.kinds import Spec, unfit
from specs.limits import FORM
from specs.papers import JobBody, Paper
from specs.signature import DataSignature

MAX_WIDTH = FORM.width
MAX_BLOCKS = FORM.blocks
MAX_WEIGHTS = FORM.weights

Layout = Literal["vector", "image", "sequence"]
Provision = Literal[
    "hidden_block",
    "plain_block",
    "synapse",
    "recurrent_block",
    "traced_block",
    "batch_free",
    "norm_free",
    "shallow",
    "bounded_activation",
    "invertible",
]
Activation = Literal[
    "relu", "tanh", "sigmoid", "hard_sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus", "step", "identity"
]
Norm = Literal["none", "batch", "layer"]
Init = Literal["default", "kaiming", "xavier", "orthogonal", "zeros"]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Widths = Annotated[tuple[Width, ...], Field(strict=False, max_length=MAX_BLOCKS)]

BOUNDED: frozenset[Activation] = frozenset({"tanh", "sigmoid", "hard_sigmoid"})
INVERTIBLE: frozenset[Activation] = frozenset({"tanh", "sigmoid", "leaky_relu", "identity"})

LAYOUTS: dict[int, Layout] = {1: "vector", 2: "sequence", 3: "image"}
LAYOUT_NAMES: dict[Layout, str] = {
    "vector": "rows of features [D]",
    "image": "images [C,H,W]",
    "sequence": "sequences [T,I]",
}

ACTIVATION = (
    "element-wise nonlinearity of every block; step is 0 or 1 and its derivative 0, so rules that differentiate cannot "
    "train what is below it"
)
NORM = (
    "normalisation between weights and nonlinearity: none, batch (running statistics; with micro-batches each part is "
    "normalised by itself, so results depend on micro_batch_size), or layer"
)
DROPOUT = "probability that a unit is dropped after the nonlinearity; masks are drawn per row and replayable"
INIT = (
    "initial weights: default (PyTorch's own), kaiming (normal, fan-in), xavier (uniform), orthogonal, or zeros "
    "(weights and biases); biases are zero except in default"
)


class Architecture(Spec, ABC):
    """What every network declares about itself."""

    title: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    layouts: ClassVar[frozenset[Layout]]
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = ()
    """What is said of the network and was not found: a sentence each, with its source."""
    small: ClassVar[dict[str, JobBody]]
    """Small settings by name, which together use every part: the contract tests train each with every learner."""
    alternatives: ClassVar[tuple[JobBody, ...]] = ()
    """Fields that offer learners more than others do, the smallest changes first: what a refusal may propose."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of blocks before the read-out."""

    @property
    @abstractmethod
    def provides(self) -> frozenset[Provision]:
        """What this network offers to a learner that needs more than blocks as functions."""

    @abstractmethod
    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        """Weights of the network to within a few per cent, before anything is allocated; None where nobody knows."""

    def misfit_field(self, input_shape: tuple[int, ...]) -> str:  # noqa: ARG002 - networks that have such a field read it
        """The field that decides whether inputs of this shape can be read."""
        return "kind"

    def misfit(self, input_shape: tuple[int, ...]) -> str | None:
        """Why the network cannot read inputs of this shape (without the batch); None when it can."""
        layout = LAYOUTS[len(input_shape)]
        if layout in self.layouts:
            return None
        readable = " or ".join(LAYOUT_NAMES[other] for other in sorted(self.layouts))
        return f"{type(self).model_fields['kind'].default} reads {readable}, not {LAYOUT_NAMES[layout]}"


def by_norm(norm: Norm) -> set[Provision]:
    """What a network offers whose blocks all have this norm."""
    if norm == "batch":
        return set()
    return {"batch_free", "norm_free"} if norm == "none" else {"batch_free"}


def refuse_oversize(widths: tuple[int, ...], what: str) -> None:
    """Refuses layer widths, in the field ``what``, whose weight matrices alone exceed ``MAX_WEIGHTS``."""
    weights = sum(a * b for a, b in pairwise(widths))
    if weights > MAX_WEIGHTS:
        message = f"{what} holds {weights:,} weights between its layers; the limit is {MAX_WEIGHTS:,}"
        raise unfit(f"/{what}", message, f"widths with at most {MAX_WEIGHTS:,} weights between them")


def chained_weights(widths: Sequence[int], *, bias: bool = True) -> int:
    """Weights of fully connected layers of these widths, the input's first."""
    return sum(inputs * outputs + (outputs if bias else 0) for inputs, outputs in pairwise(widths))
