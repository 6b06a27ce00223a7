"""The multi-layer perceptron on the menu."""

import math
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import (
    ACTIVATION,
    BOUNDED,
    DROPOUT,
    INIT,
    INVERTIBLE,
    NORM,
    Activation,
    Architecture,
    Init,
    Layout,
    Norm,
    Provision,
    Widths,
    by_norm,
    chained_weights,
    refuse_oversize,
)
from specs.papers import JobBody
from specs.signature import DataSignature


class MlpSpec(Architecture):
    """Fully connected layers. ``hidden: []`` is a linear model. Images and sequences are flattened."""

    title: ClassVar[str] = "Multi-layer perceptron"
    summary: ClassVar[str] = "Fully connected layers, plain or residual; with hidden [] a linear model."
    layouts: ClassVar[frozenset[Layout]] = frozenset({"vector", "image", "sequence"})
    small: ClassVar[dict[str, JobBody]] = {
        "mlp": {"hidden": [7, 6]},
        "linear": {"hidden": []},
        "mlp square": {"hidden": [6, 6, 6], "activation": "tanh"},
        "mlp residual": {"hidden": [7, 7, 5], "residual": True, "norm": "layer", "activation": "gelu"},
        "mlp bounded": {"hidden": [7, 6], "activation": "tanh", "dropout": 0.25},
        "mlp batch dropout": {"hidden": [7, 6], "norm": "batch", "dropout": 0.25},
    }

    alternatives: ClassVar[tuple[JobBody, ...]] = (
        {"norm": "none"},
        {"residual": False, "norm": "none"},
        {"residual": False, "norm": "none", "activation": "hard_sigmoid"},
        {"residual": False, "norm": "none", "dropout": 0.0, "activation": "tanh", "hidden": [256, 256]},
    )

    kind: Literal["mlp"] = "mlp"
    hidden: Widths = Field(default=(256, 256), description="units of each hidden layer; [] is a linear model")
    activation: Activation = Field(default="relu", description=ACTIVATION)
    norm: Norm = Field(default="none", description=NORM)
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT)
    init: Init = Field(default="default", description=INIT)
    bias: bool = Field(default=True, description="whether layers, the read-out included, have biases")
    residual: bool = Field(
        default=False,
        description="every block after the first adds its input (two layers, pre-normalised; a linear skip where the "
        "widths differ)",
    )

    @model_validator(mode="after")
    def _bounded(self) -> "MlpSpec":
        refuse_oversize(self.hidden, "hidden")
        return self

    @property
    def depth(self) -> int:
        return len(self.hidden)

    @property
    def provides(self) -> frozenset[Provision]:
        offered: set[Provision] = {"synapse", *by_norm(self.norm)}
        if self.activation in BOUNDED:
            offered.add("bounded_activation")
        if self.hidden:
            offered.add("hidden_block")
            if not (self.residual and len(self.hidden) > 1):
                offered.add("plain_block")
        if len(self.hidden) <= 3:
            offered.add("shallow")
        if "plain_block" in offered and self._is_invertible:
            offered.add("invertible")
        return frozenset(offered)

    @property
    def _is_invertible(self) -> bool:
        """Whether every block above the first is one to one."""
        plain = self.norm == "none" and self.dropout == 0 and self.activation in INVERTIBLE
        return plain and len(set(self.hidden)) == 1

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        inputs = math.prod(signature.input_shape) + extra_inputs
        count = chained_weights([inputs, *self.hidden, signature.outputs], bias=self.bias)
        normalised = self.hidden
        if self.residual and self.hidden:
            for below, width in pairwise(self.hidden):  # a second layer, and a skip where the width changes
                count += chained_weights([width, width], bias=self.bias) + (below * width if below != width else 0)
            normalised = (self.hidden[0], *self.hidden[:-1])
        return count + (0 if self.norm == "none" else 2 * sum(normalised))
