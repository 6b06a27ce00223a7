"""Diagnostics: where each layer stands, and how it got there; memory, energy, and what measuring cost."""

from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from api.answers import Cost, Number
from api.dependencies import CallerDep, DoorDep, JobIdDep, known_parameters_only
from api.problems import declared
from api.series_query import finite
from api.signal_propagation import OverDepth, OverTime, is_over_time, over_depth, over_time
from specs.diagnostics import GRADIENT_BIN
from store import jobs, summaries
from store.summaries import Summary

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[Depends(known_parameters_only)])


class Quantity(BaseModel):
    """One quantity of one layer: the latest value, and a summary of all of them."""

    unit: str
    step: int | None = Field(description="of the latest value")
    latest: Number = Field(description="null where it is not finite")
    min: Number
    max: Number
    mean: Number
    count: int
    nonfinite_count: int


class Alignment(BaseModel):
    """The cosine between what the layer learned from and the true gradient; 1 is backpropagation's."""

    latest: Number
    min: Number
    max: Number
    mean: Number
    expected: Number = Field(description="what a correct estimate of this kind reaches on average; the latest value")
    ratio_to_expected: Number = Field(description="mean over mean; a correct estimate is near 1")
    norm_ratio: Number = Field(description="length of the one to the other; the latest value")
    norm_ratio_spread: Number = Field(description="the largest over the smallest so far: whether the scale is stable")
    sign_agreement: Number = Field(description="share of the reference's entries with the same sign; the latest value")
    first_order_decrease: Number = Field(
        description="how much the layer's own step lowered the reference's loss, to first order; the latest value"
    )
    lowered_loss: bool | None = Field(description="whether that is above 0; null where it was not measured")


class Layer(BaseModel):
    """A block of the network, or its read-out."""

    layer: str
    alignment: Alignment | None = Field(description="null where it was never measured")
    signal_over_time: OverTime | None = Field(default=None, description="null where the layer is not recurrent")
    quantities: dict[str, Quantity]


class Diagnostics(BaseModel):
    """What was measured while the job trained."""

    layers: list[Layer] = Field(description="in network order")
    signal_over_depth: OverDepth
    network: dict[str, Quantity] = Field(description="of the whole network")
    splits: dict[str, dict[str, Quantity]] = Field(description="of evaluations, by split")
    cost: Cost | None = Field(description="memory, FLOPs and energy, once the job has a result")
    measured: dict[str, Any] = Field(
        description="what the trainer says of itself: memory, share of time spent on measuring, what is missing and why"
    )


@router.get("/diagnostics", operation_id="get_diagnostics", response_model=Diagnostics, responses=declared())
def get_diagnostics(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Any:
    """Per layer, in network order: the latest value, minimum, maximum and mean of each quantity."""
    with door.database.reading() as session:
        job = jobs.get(session, job_id, project=caller.project)
        found = summaries.read(session, job_id)
    answer = summarized(found, job.result, job.diagnostics, job.receipt)
    return Response(answer.model_dump_json(), media_type="application/json")


def summarized(
    found: list[Summary],
    result: dict[str, Any] | None,
    measured: dict[str, Any] | None,
    receipt: dict[str, Any] | None,
) -> Diagnostics:
    """The series of a job, summed up by layer; those of single parameters and bins are left to the series."""
    layers: dict[str, dict[str, Quantity]] = {}
    network: dict[str, Quantity] = {}
    splits: dict[str, dict[str, Quantity]] = {}
    for summary in found:
        if summary.parameter is not None or is_over_time(summary.name) or summary.name.startswith(GRADIENT_BIN):
            continue
        if summary.layer is not None:
            layers.setdefault(summary.layer, {})[summary.name] = _quantity(summary)
        elif summary.split in (None, "train"):
            network[summary.name] = _quantity(summary)
        else:
            splits.setdefault(summary.split, {})[summary.name] = _quantity(summary)
    return Diagnostics(
        layers=[
            Layer(
                layer=name,
                alignment=_alignment(quantities),
                signal_over_time=over_time(found, name),
                quantities=quantities,
            )
            for name, quantities in layers.items()
        ],
        signal_over_depth=over_depth(found, (receipt or {}).get("parameters")),
        network=network,
        splits=splits,
        cost=Cost.model_validate(result["cost"]) if result and result.get("cost") else None,
        measured=measured or {},
    )


def _alignment(quantities: dict[str, Quantity]) -> Alignment | None:
    cosine = quantities.get("alignment_cosine")
    if cosine is None:
        return None
    expected, norm_ratio = quantities.get("alignment_expected"), quantities.get("alignment_norm_ratio")
    signs, decrease = quantities.get("alignment_sign_agreement"), quantities.get("first_order_decrease")
    lowered = None if decrease is None or decrease.latest is None else decrease.latest > 0
    return Alignment(
        latest=cosine.latest,
        min=cosine.min,
        max=cosine.max,
        mean=cosine.mean,
        expected=None if expected is None else expected.latest,
        ratio_to_expected=None if expected is None else _over(cosine.mean, expected.mean),
        norm_ratio=None if norm_ratio is None else norm_ratio.latest,
        norm_ratio_spread=None if norm_ratio is None else _over(norm_ratio.max, norm_ratio.min),
        sign_agreement=None if signs is None else signs.latest,
        first_order_decrease=None if decrease is None else decrease.latest,
        lowered_loss=lowered,
    )


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _quantity(summary: Summary) -> Quantity:
    return Quantity(
        unit=summary.unit,
        step=summary.last_step,
        latest=finite(summary.last),
        min=finite(summary.least),
        max=finite(summary.greatest),
        mean=finite(summary.mean),
        count=summary.count,
        nonfinite_count=summary.lost,
    )
