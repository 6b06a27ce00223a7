"""Measurements that are asked for on demand, of a job's newest weights: one spec each, told apart by ``kind``."""

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, RootModel

from specs.kinds import Spec

MOST_ROWS = 1024


def _kind_is_required(schema: dict[str, Any]) -> None:
    """A request has no kind to fall back on; the classes have one, so that code need not repeat it."""
    schema["required"] = ["kind", *schema.get("required", ())]


class ProbeBase(Spec):
    """What all probes have: how many rows are looked at. They are the first rows of their split, never of the test
    split, and the network is in evaluation mode unless the kind says otherwise."""

    model_config = ConfigDict(json_schema_extra=_kind_is_required)

    rows: int = Field(default=256, ge=2, le=MOST_ROWS, description="rows that are looked at: the first of their split")


class HistogramSpec(ProbeBase):
    """Histogram of log10 of the magnitude of what the learner writes as gradient, by layer; no step is taken."""

    kind: Literal["histogram"] = "histogram"


class SharpnessSpec(ProbeBase):
    """The largest and the smallest eigenvalue of the Hessian of the learner's reference loss on one batch.

    Cohen et al. 2021 (arXiv 2103.00065): gradient descent goes where the largest is about 2 / learning rate.
    """

    kind: Literal["sharpness"] = "sharpness"
    iterations: int = Field(default=30, ge=2, le=200, description="Hessian-vector products at most")
    tolerance: float = Field(
        default=1e-3, gt=0, le=0.5, description="relative error of the largest eigenvalue at which it is enough"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of the first vector")


class HessianTraceSpec(ProbeBase):
    """The trace of the Hessian of the learner's reference loss on one batch, by layer, by Hutchinson's estimate."""

    kind: Literal["hessian_trace"] = "hessian_trace"
    samples: int = Field(default=16, ge=2, le=200, description="random vectors: a Hessian-vector product each")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of the random vectors")


class EffectiveRankSpec(ProbeBase):
    """Effective rank of the outputs of every layer: RankMe, Garrido et al. 2023 (arXiv 2210.02885)."""

    kind: Literal["effective_rank"] = "effective_rank"


class CkaSpec(ProbeBase):
    """Likeness of the layers of two jobs on the same rows: linear CKA, Kornblith et al. 2019 (arXiv 1905.00414)."""

    kind: Literal["cka"] = "cka"
    job_id: str = Field(
        pattern="^job_[0-9a-f]{32}$",
        description="the other job, on the same data set and seed of its split; the job itself compares its own layers",
    )


class DepthUtilitySpec(ProbeBase):
    """What each layer is worth: its weights are replaced by frozen random ones of the same mean and deviation, tensor
    by tensor, and the validation rows are evaluated again."""

    kind: Literal["depth_utility"] = "depth_utility"
    draws: int = Field(default=3, ge=1, le=20, description="random replacements of each layer")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of the random weights")


ProbeSpec = HistogramSpec | SharpnessSpec | HessianTraceSpec | EffectiveRankSpec | CkaSpec | DepthUtilitySpec
PROBE_KINDS: tuple[type[ProbeBase], ...] = get_args(ProbeSpec)


class ProbeRequest(RootModel[Annotated[ProbeSpec, Field(discriminator="kind")]]):
    """One measurement of a job's newest weights."""
