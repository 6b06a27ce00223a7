"""Diagnostics: where each layer stands, and how it got there; memory, energy, and what measuring cost."""

from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from api.answers import Cost, Number
from api.dependencies import DoorDep, JobIdDep, known_parameters_only
from api.problems import declared
from api.series_query import finite
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
    norm_ratio: Number = Field(description="length of the one to the other; the latest value")


class Layer(BaseModel):
    """A block of the network, or its read-out."""

    layer: str
    alignment: Alignment | None = Field(description="null where it was never measured")
    quantities: dict[str, Quantity]


class Diagnostics(BaseModel):
    """What was measured while the job trained."""

    layers: list[Layer] = Field(description="in network order")
    network: dict[str, Quantity] = Field(description="of the whole network")
    splits: dict[str, dict[str, Quantity]] = Field(description="of evaluations, by split")
    cost: Cost | None = Field(description="memory, FLOPs and energy, once the job has a result")
    measured: dict[str, Any] = Field(
        description="what the trainer says of itself: memory, share of time spent on measuring, what is missing and why"
    )


@router.get("/diagnostics", operation_id="get_diagnostics", response_model=Diagnostics, responses=declared())
def get_diagnostics(door: DoorDep, job_id: JobIdDep) -> Any:
    """Per layer, in network order: the latest value, minimum, maximum and mean of each quantity."""
    with door.database.reading() as session:
        job = jobs.get(session, job_id)
        found = summaries.read(session, job_id)
    answer = summarized(found, job.result, job.diagnostics)
    return Response(answer.model_dump_json(), media_type="application/json")


def summarized(found: list[Summary], result: dict[str, Any] | None, measured: dict[str, Any] | None) -> Diagnostics:
    """The series of a job, summed up by layer; those of single parameters are left to the series themselves."""
    layers: dict[str, dict[str, Quantity]] = {}
    network: dict[str, Quantity] = {}
    splits: dict[str, dict[str, Quantity]] = {}
    for summary in found:
        if summary.parameter is not None:
            continue
        if summary.layer is not None:
            layers.setdefault(summary.layer, {})[summary.name] = _quantity(summary)
        elif summary.split in (None, "train"):
            network[summary.name] = _quantity(summary)
        else:
            splits.setdefault(summary.split, {})[summary.name] = _quantity(summary)
    return Diagnostics(
        layers=[
            Layer(layer=name, alignment=_alignment(quantities), quantities=quantities)
            for name, quantities in layers.items()
        ],
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
    return Alignment(
        latest=cosine.latest,
        min=cosine.min,
        max=cosine.max,
        mean=cosine.mean,
        expected=None if expected is None else expected.latest,
        norm_ratio=None if norm_ratio is None else norm_ratio.latest,
    )


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
