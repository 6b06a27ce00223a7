"""The comparison: one network and one data set, learners, seeds, an equal budget, controls always in."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from specs.data_sources import DatasetSpec
from specs.diagnostics import DiagnosticsSpec
from specs.job import JobName, LabelKey, LabelValue, LimitsSpec, ResourcesSpec, limits_of
from specs.kinds import Spec
from specs.learners import LEARNER_SPECS, LearnerSpec
from specs.networks import NetworkSpec
from specs.optimizers import OptimizerSpec
from specs.rule import Rule
from specs.training import TrainingSpec

MOST_LEARNERS = 64
MOST_SEEDS = 100
DEFAULT_SEEDS = 5
TUNING_SEED = 1_000_000
MEMORY_STEPS = 2

Seed = Annotated[int, Field(ge=0, lt=2**63)]
KINDS = tuple(rule.model_fields["kind"].default for rule in LEARNER_SPECS)
ArmName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$")]


def _counted(seeds: Any) -> Any:
    """A number of seeds stands for the first ones: 5 is 0, 1, 2, 3, 4."""
    return tuple(range(seeds)) if isinstance(seeds, int) else seeds


if TYPE_CHECKING:
    Seeds = tuple[int, ...]
    Kind = str
else:
    Seeds = Annotated[
        Annotated[int, Field(ge=1, le=MOST_SEEDS)]
        | Annotated[tuple[Seed, ...], Field(strict=False, min_length=1, max_length=MOST_SEEDS)],
        AfterValidator(_counted),
    ]
    Kind = Literal[KINDS]


class ComparedLearner(Spec):
    """One learner of a comparison, with the optimizer that it steps with."""

    name: ArmName | None = Field(default=None, description="in tables and plots; default: the learner's kind")
    learner: LearnerSpec
    optimizer: OptimizerSpec | None = Field(
        default=None, description="default: the one of the learner's example in the catalog"
    )
    required: bool = Field(
        default=True, description="false: left out, and the answer says why, where it cannot train this network"
    )


def _form(entry: Any) -> str:
    """Which of its three forms an entry has; what has none is refused as no entry."""
    if isinstance(entry, str):
        return "name"
    if isinstance(entry, dict):
        return "section" if "kind" in entry else "entry"
    if isinstance(entry, Rule):
        return "section"
    return "entry"


def _as_entry(entry: Any) -> ComparedLearner:
    if isinstance(entry, str):
        return entry_of(entry)
    return entry if isinstance(entry, ComparedLearner) else ComparedLearner(learner=entry)


def entry_of(kind: str, *, required: bool = True) -> ComparedLearner:
    """A learner by its kind alone: as its example in the catalog has it."""
    rule = next(rule for rule in LEARNER_SPECS if rule.model_fields["kind"].default == kind)
    return ComparedLearner(learner=rule.model_validate_json(json.dumps(rule.example["learner"])), required=required)


def _form_of_all(learners: Any) -> str:
    return "all" if isinstance(learners, str) else "listed"


def _listed(learners: Any) -> tuple[ComparedLearner, ...]:
    if learners == "all":
        return tuple(entry_of(kind, required=False) for kind in KINDS)
    return tuple(learners)


if TYPE_CHECKING:
    Learners = tuple[ComparedLearner, ...]
else:
    _Entry = Annotated[
        Annotated[Kind, Tag("name")]
        | Annotated[LearnerSpec, Tag("section")]
        | Annotated[ComparedLearner, Tag("entry")],
        Discriminator(_form),
        AfterValidator(_as_entry),
    ]
    Learners = Annotated[
        Annotated[Literal["all"], Tag("all")]
        | Annotated[tuple[_Entry, ...], Field(strict=False, max_length=MOST_LEARNERS), Tag("listed")],
        Discriminator(_form_of_all),
        AfterValidator(_listed),
    ]


class TuningSpec(Spec):
    """The same number of trials for every learner, over its own search space, judged on the validation rows.

    Optuna's TPE sampler asks for each trial after those before it of the same learner.
    """

    trials: int = Field(default=8, ge=1, le=200, description="settings tried for each learner; the first is as posted")
    seeds: Seeds = Field(default=(TUNING_SEED,), description="of the trials; none of them may be a reported seed")
    sampler_seed: int = Field(default=0, ge=0, lt=2**63, description="of Optuna's sampler")


class ComparisonSpec(Spec):
    """A comparison. Controls are added to what is listed: read-out only, backpropagation plain, with auxiliary heads,
    with checkpointing and with micro-batch accumulation."""

    name: JobName | None = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=62)
    dataset: DatasetSpec
    network: NetworkSpec
    learners: Learners = Field(default=(), description="kinds, learner sections or entries; or all")
    template: Literal["ladder", "memory_by_depth"] | None = Field(
        default=None,
        description="ladder: backprop, with deep supervision, local without detach, local; memory_by_depth: the "
        "activation bytes of each learner over the depth of the network, with one seed and no tuning",
    )
    depths: Annotated[
        tuple[Annotated[int, Field(ge=1, le=256)], ...], Field(strict=False, min_length=2, max_length=8)
    ] = Field(default=(4, 8, 16, 32), description="hidden layers, of the template memory_by_depth")
    seeds: Seeds = Field(default=tuple(range(DEFAULT_SEEDS)), description="a number of seeds, or the seeds themselves")
    training: TrainingSpec = Field(
        default_factory=TrainingSpec, description="the equal budget of all; the seed is the comparison's"
    )
    tuning: TuningSpec | None = Field(
        default_factory=TuningSpec, description="null: settings as posted, and the answer says untuned"
    )
    margin: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="points within which a learner counts as not worse: of accuracy in per cent, or per cent of "
        "backpropagation's mean squared error",
    )
    diagnostics: DiagnosticsSpec = Field(default_factory=lambda: DiagnosticsSpec(alignment_every_steps=None))
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    limits: LimitsSpec = Field(default_factory=LimitsSpec)

    @model_validator(mode="before")
    @classmethod
    def _few_steps_for_memory(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("template") == "memory_by_depth":
            steps = {"budget": {"kind": "steps", "value": MEMORY_STEPS}}
            return {"tuning": None, "seeds": 1, "training": steps} | fields
        return fields

    @model_validator(mode="after")
    def _can_run(self, checked: ValidationInfo) -> "ComparisonSpec":
        if not self.learners and self.template is None:
            raise _refused("nothing_to_compare", "/learners", "name learners, or a template", ["all", *KINDS])
        if self.training.seed != 0:
            raise _refused("seed_of_a_comparison", "/training/seed", "the seeds stand in seeds", [0])
        if not self.training.evaluate_test:
            raise _refused(
                "comparison_needs_test", "/training/evaluate_test", "results are read on the test rows", [True]
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise _refused("seed_twice", "/seeds", "a seed stands twice", "distinct seeds")
        if self.tuning is not None and set(self.tuning.seeds) & set(self.seeds):
            raise _refused("tuning_on_reported_seeds", "/tuning/seeds", "these seeds are reported", "other seeds")
        if self.template == "memory_by_depth":
            self._check_depths()
        split = self.dataset.split
        if self.dataset.kind != "published" and split.test == 0:
            raise _refused("comparison_needs_test", "/dataset/split/test", "results are read on the test rows", "> 0")
        if self.tuning is not None and split.validation == 0:
            raise _refused(
                "tuning_needs_validation", "/dataset/split/validation", "tuning reads the validation rows", "> 0"
            )
        from specs.comparison_plan import listed_twice, plan  # it reads this file's classes

        if (twice := listed_twice(self)) is not None:
            raise _refused(
                "learner_twice",
                f"/learners/{twice}",
                "this learner or its name stands in the list before",
                "other settings and another name",
            )
        plan(self, limits_of(checked))
        return self

    def _check_depths(self) -> None:
        if self.tuning is not None:
            raise _refused("memory_is_not_tuned", "/tuning", "memory does not depend on the settings", [None])
        if len(self.seeds) > 1:
            raise _refused("memory_takes_one_seed", "/seeds", "memory does not depend on the seed", [1])
        if not getattr(self.network, "hidden", ()):
            raise _refused("no_depth", "/network", "its depth must be a list of hidden layers: hidden", "mlp, rnn ...")

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default written out."""
        return self.model_dump(mode="json")


def _refused(code: str, pointer: str, message: str, allowed: Any) -> PydanticCustomError:
    return PydanticCustomError(code, "{reason}", {"pointer": pointer, "reason": message, "allowed": allowed})
