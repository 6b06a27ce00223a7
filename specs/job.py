"""The job: what a client posts, checked as far as it can be without reading data or importing torch.

A custom error's context carries ``pointer`` (a JSON pointer below the error's own location, ``""`` for the
location itself) and ``allowed`` (what would have been accepted).
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from specs.compatibility import refusal
from specs.data_sources import DatasetSpec, known_signature
from specs.diagnostics import DiagnosticsSpec
from specs.kinds import Spec
from specs.learners import LEARNER_SPECS, LearnerSpec
from specs.limits import FORM, Limits
from specs.networks import NetworkSpec
from specs.optimizers import AdamWSpec, OptimizerSpec
from specs.recipes import expand
from specs.signature import DataSignature
from specs.size import refuse_excess, refuse_long_runtime
from specs.training import TrainingSpec

CLOCKED = ("seconds", "joules", "flops")
"""Budgets of which nobody knows beforehand how many steps they hold."""

LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{1,63}$")]
NO_NUL = r"^[^\x00]*$"
"""What PostgreSQL cannot keep is refused everywhere."""
LabelValue = Annotated[str, StringConstraints(max_length=FORM.label_characters, pattern=NO_NUL)]
JobName = Annotated[str, StringConstraints(max_length=FORM.name_characters, pattern=NO_NUL)]


class ResourcesSpec(Spec):
    """What the job asks of the worker."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: cuda where a live worker offers a GPU when the job is posted, else cpu"
    )
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads; the number decides bits as well as speed")


class LimitsSpec(Spec):
    """When the service gives up on the job."""

    max_runtime_s: float = Field(default=3600, gt=0, le=FORM.runtime_s, description="of one attempt")
    max_attempts: int = Field(default=3, ge=1, le=100, description="charged attempts: crashes, lost leases, stalls")
    max_pending_s: float | None = Field(default=None, gt=0, description="in the queue; then the job expires")


class JobSpec(Spec):
    """A job: this data set, this network, trained by this learner."""

    name: JobName | None = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=FORM.labels)
    dataset: DatasetSpec
    network: NetworkSpec
    learner: LearnerSpec
    optimizer: OptimizerSpec = Field(default_factory=AdamWSpec)
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    diagnostics: DiagnosticsSpec = Field(default_factory=DiagnosticsSpec)
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    limits: LimitsSpec = Field(default_factory=LimitsSpec)

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "recipe" in fields:
            fields = expand(fields)
        return _with_fitting_optimizer(fields)

    @model_validator(mode="after")
    def _fits_together(self, checked: ValidationInfo) -> "JobSpec":
        """``checked.context`` may hold ``limits``: those of the service that is asked to train it."""
        check_fit(self, known_signature(self.dataset), limits_of(checked))
        return self

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default written out; validating it again gives an equal spec."""
        return self.model_dump(mode="json")


def _with_fitting_optimizer(fields: Any) -> Any:
    """A learner that steps with one optimizer alone gets it by default."""
    learner = fields.get("learner") if isinstance(fields, dict) else None
    if not isinstance(learner, dict) or "optimizer" in fields:
        return fields
    for rule in LEARNER_SPECS:
        if rule.optimizers is not None and rule.model_fields["kind"].default == learner.get("kind"):
            return {**fields, "optimizer": {"kind": min(rule.optimizers)}}
    return fields


def _refused(code: str, pointer: str, message: str, allowed: Any, **context: Any) -> PydanticCustomError:
    return PydanticCustomError(code, message, {"pointer": pointer, "allowed": allowed, **context})


def limits_of(checked: ValidationInfo) -> Limits | None:
    """The limits by which a spec is read; None where it was admitted before, or nobody trains it."""
    limits: Limits | None = (checked.context or {}).get("limits")
    return limits


def check_fit(job: JobSpec, signature: DataSignature | None, limits: Limits | None = None) -> None:
    """Refuse what cannot train, or is more than ``limits``. Called at the door, and again by the trainer once a file's
    signature is known.

    Raises ``PydanticCustomError``; where the pair is refused its context also holds ``nearest``, a patch that trains.
    """
    _check_early_stopping(job, signature)
    planned = 1 if signature is None else steps_bound(job.training, signature.rows_train)
    if job.training.budget is not None and job.training.budget.kind in CLOCKED:
        planned = None
    refused = refusal(job.learner, job.network, job.optimizer, signature, planned)
    if refused is not None:
        raise _refused(
            refused.code, refused.pointer, "{reason}", refused.allowed, reason=refused.message, nearest=refused.nearest
        )
    _check_phases(job, signature, planned)
    if signature is not None:
        _check_rows(job, signature)
    if limits is not None:
        refuse_long_runtime(job, limits)
        if signature is not None:
            refuse_excess(job, signature, limits, steps=planned)


def _check_phases(job: JobSpec, signature: DataSignature | None, planned: int | None) -> None:
    """Every phase must be reached, and what ends it must be there."""
    begins = 0
    for phase in job.learner.course()[:-1]:
        assert phase.until is not None
        if phase.until.kind == "plateau" and job.dataset.split.validation == 0:
            raise _refused(
                "plateau_needs_validation",
                "/dataset/split/validation",
                "a phase that ends on a plateau watches the validation split, and this one is empty",
                "> 0",
            )
        if signature is None or planned is None:
            continue
        begins += phase.until.steps(steps_per_epoch(job.training, signature.rows_train)) or 0
        if begins >= planned:
            raise _refused(
                "phase_never_begins",
                f"/learner{phase.pointer}/until/value",
                "the next phase would begin after step {begins}, and training takes {planned}",
                f"an end before step {planned}",
                begins=begins,
                planned=planned,
            )


def _check_early_stopping(job: JobSpec, signature: DataSignature | None) -> None:
    stopping = job.training.early_stopping
    if stopping is None:
        return
    if job.dataset.split.validation == 0 or (signature is not None and signature.rows_validation == 0):
        raise _refused(
            "early_stopping_needs_validation",
            "/dataset/split/validation",
            "early stopping watches the validation split, and this one is empty",
            "> 0",
        )
    if signature is None:
        return
    fitting = ["loss", "mse"] if signature.task == "regression" else ["loss", "accuracy"]
    if stopping.metric not in fitting:
        raise _refused(
            "metric_does_not_fit",
            "/training/early_stopping/metric",
            "a {task} job has no {metric}",
            fitting,
            task=signature.task,
            metric=stopping.metric,
        )


def _check_rows(job: JobSpec, signature: DataSignature) -> None:
    batch = job.training.batch_size
    rows = signature.rows_train
    if batch != "full" and batch > rows:
        raise _refused(
            "batch_larger_than_rows",
            "/training/batch_size",
            "batch_size {batch} is larger than the {rows} training rows",
            ["full", f"<= {rows}"],
            batch=batch,
            rows=rows,
        )


def steps_bound(training: TrainingSpec, rows: int) -> int | None:
    """Steps that this training takes over ``rows`` training rows; None where a clock decides."""
    batch = rows if training.batch_size == "full" else training.batch_size
    per_epoch = steps_per_epoch(training, rows)
    if training.epochs is not None:
        return training.epochs * per_epoch
    assert training.budget is not None
    kind, value = training.budget.kind, training.budget.value
    if kind == "epochs":
        return int(value) * per_epoch
    if kind == "steps":
        return int(value)
    if kind in CLOCKED:
        return None
    epochs, rest = divmod(int(value), rows)
    return epochs * per_epoch + math.ceil(rest / batch)


def steps_per_epoch(training: TrainingSpec, rows: int) -> int:
    """Steps of one pass over ``rows`` training rows."""
    return 1 if training.batch_size == "full" else math.ceil(rows / training.batch_size)
