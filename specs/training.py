"""How long, in what pieces and in what arithmetic a job trains."""

from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from specs.kinds import Spec
from specs.limits import FORM

MAX_STEPS = FORM.steps

Precision = Literal["float32", "float64", "bfloat16"]


class BudgetSpec(Spec):
    """A length of training in other units than epochs."""

    kind: Literal["epochs", "steps", "samples", "seconds", "joules", "flops"]
    value: float = Field(
        gt=0,
        description="training ends with the step that reaches it; seconds are training time, without evaluation and "
        "preparation; joules need a counter on the worker; flops count matrix and convolution work",
    )

    @model_validator(mode="after")
    def _whole_where_counted(self) -> "BudgetSpec":
        if self.kind in ("epochs", "steps", "samples") and self.value != int(self.value):
            raise PydanticCustomError(
                "budget_not_whole",
                "a budget in {kind} is a whole number",
                {"kind": self.kind, "pointer": "/value", "allowed": "an integer"},
            )
        if self.kind in ("epochs", "steps") and self.value > MAX_STEPS:
            raise PydanticCustomError(
                "too_many_steps", "at most {allowed} steps", {"pointer": "/value", "allowed": MAX_STEPS}
            )
        return self


class EarlyStoppingSpec(Spec):
    """End training when the validation metric stops improving."""

    metric: Literal["loss", "accuracy", "mse"] = Field(
        default="loss", description="on the validation split; accuracy for classes, mse for regression"
    )
    patience: int = Field(default=5, ge=1, le=10_000, description="evaluations in a row without improvement")
    restore_best: bool = Field(default=True, description="keep the weights of the best evaluation, not the last ones")


class TrainingSpec(Spec):
    """The course of training. Its length is ``epochs``, or ``budget`` in other units."""

    epochs: int | None = Field(
        default=5, ge=1, le=MAX_STEPS, description="passes over the training rows; null when a budget is given"
    )
    budget: BudgetSpec | None = Field(default=None, description="instead of epochs")
    batch_size: int | Literal["full"] = Field(
        default=64, description="rows per step, or full: all training rows; the last batch of an epoch may be smaller"
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="a step's batch is worked through in parts of this size; the same gradient in less memory "
        "(with batch normalisation the statistics are those of the parts, which changes results)",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of initial weights, order of rows, masks and noise")
    precision: Precision = Field(
        default="float32", description="bfloat16: bf16 products, float32 master weights; float64: for identities"
    )
    early_stopping: EarlyStoppingSpec | None = None
    evaluate_every_epochs: int = Field(default=1, ge=1, le=MAX_STEPS)
    evaluate_test: bool = Field(
        default=True, description="false: the test rows are not read, as fits a job that only chooses settings"
    )
    checkpoint_every_s: float = Field(default=60, gt=0, le=86_400, description="seconds between two checkpoints")
    activation_checkpointing: Literal["none", "sqrt", "every_k", "auto"] = Field(
        default="none",
        description="recompute activations in the backward pass; the same gradients in less memory: sqrt (about "
        "sqrt(n) groups of n blocks), every_k (groups of checkpoint_every_k blocks), auto (the groups that hold the "
        "fewest bytes, by what each block is measured to store)",
    )
    checkpoint_every_k: int = Field(default=1, ge=1, le=10_000, description="blocks per recomputed group (every_k)")
    on_nan: Literal["stop", "continue"] = Field(
        default="stop",
        description="a loss or gradient that is not finite: stop ends the job as diverged, continue skips the step",
    )

    @model_validator(mode="before")
    @classmethod
    def _budget_replaces_epochs(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("budget") is not None and "epochs" not in fields:
            return {**fields, "epochs": None}
        return fields

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingSpec":
        if (self.epochs is None) == (self.budget is None):
            raise PydanticCustomError(
                "one_length",
                "training has one length: epochs or budget",
                {"pointer": "/epochs", "allowed": ["epochs", "budget"]},
            )
        if self.batch_size != "full":
            rows = self.batch_size
            if not 1 <= rows <= FORM.batch_rows:
                raise PydanticCustomError(
                    "batch_size_out_of_range",
                    "batch_size is full or a number from 1 to {most}",
                    {"pointer": "/batch_size", "allowed": ["full", f"1..{FORM.batch_rows}"], "most": FORM.batch_rows},
                )
            if self.micro_batch_size is not None and self.micro_batch_size > rows:
                raise PydanticCustomError(
                    "micro_batch_above_batch",
                    "micro_batch_size must not be above batch_size",
                    {"pointer": "/micro_batch_size", "allowed": f"<= {rows}"},
                )
        return self
