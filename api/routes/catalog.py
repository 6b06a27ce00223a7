"""The menu: learners, networks, optimizers, recipes, data sets, diagnostics, probes, verdicts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path

from api import catalog
from api.answers import Page
from api.catalog import (
    DiagnosticEntry,
    Entry,
    LearnerEntry,
    NetworkEntry,
    OptimizerEntry,
    ProbeEntry,
    RecipeEntry,
    VerdictEntry,
)
from api.conditional import TaggedRoute, if_none_match
from api.dependencies import known_parameters_only
from api.errors import Refused
from api.meant import asked
from api.problems import ProblemItem, declared

router = APIRouter(
    prefix="/v1",
    tags=["catalog"],
    dependencies=[Depends(known_parameters_only), Depends(if_none_match)],
    responses={304: {"description": "The client has it"}},
    route_class=TaggedRoute,
)

AnyEntry = TypeVar("AnyEntry", bound=Entry | VerdictEntry)
Kind = Annotated[str, Path(max_length=200, description="as the list names it")]

learner_entries = lru_cache(maxsize=1)(catalog.learners)
network_entries = lru_cache(maxsize=1)(catalog.networks)
optimizer_entries = lru_cache(maxsize=1)(catalog.optimizers)
diagnostic_entries = lru_cache(maxsize=1)(catalog.diagnostics)
probe_entries = lru_cache(maxsize=1)(catalog.probes)
verdict_entries = lru_cache(maxsize=1)(catalog.verdicts)
recipe_entries = lru_cache(maxsize=1)(catalog.recipes)


@router.get("/learners", operation_id="list_learners", response_model=Page[LearnerEntry], responses=declared())
def list_learners() -> Any:
    """The learning rules: paper, equation, what each needs, and which networks it trains."""
    return Page[LearnerEntry](data=learner_entries())


@router.get("/learners/{kind}", operation_id="get_learner", response_model=LearnerEntry, responses=declared())
def get_learner(kind: Kind) -> Any:
    """One learning rule."""
    return _named(learner_entries(), kind)


@router.get("/networks", operation_id="list_networks", response_model=Page[NetworkEntry], responses=declared())
def list_networks() -> Any:
    """The networks, and which learners train them."""
    return Page[NetworkEntry](data=network_entries())


@router.get("/networks/{kind}", operation_id="get_network", response_model=NetworkEntry, responses=declared())
def get_network(kind: Kind) -> Any:
    """One network."""
    return _named(network_entries(), kind)


@router.get("/optimizers", operation_id="list_optimizers", response_model=Page[OptimizerEntry], responses=declared())
def list_optimizers() -> Any:
    """The optimizers: PyTorch's own."""
    return Page[OptimizerEntry](data=optimizer_entries())


@router.get("/optimizers/{kind}", operation_id="get_optimizer", response_model=OptimizerEntry, responses=declared())
def get_optimizer(kind: Kind) -> Any:
    """One optimizer."""
    return _named(optimizer_entries(), kind)


@router.get("/recipes", operation_id="list_recipes", response_model=Page[RecipeEntry], responses=declared())
def list_recipes() -> Any:
    """Whole jobs under one name."""
    return Page[RecipeEntry](data=recipe_entries())


@router.get("/recipes/{kind}", operation_id="get_recipe", response_model=RecipeEntry, responses=declared())
def get_recipe(kind: Kind) -> Any:
    """One recipe."""
    return _named(recipe_entries(), kind)


@router.get("/diagnostics", operation_id="list_diagnostics", response_model=Page[DiagnosticEntry], responses=declared())
def list_diagnostics() -> Any:
    """What is measured while a job trains."""
    return Page[DiagnosticEntry](data=diagnostic_entries())


@router.get("/diagnostics/{kind}", operation_id="get_diagnostic", response_model=DiagnosticEntry, responses=declared())
def get_diagnostic(kind: Kind) -> Any:
    """One diagnostic."""
    return _named(diagnostic_entries(), kind)


@router.get("/probes", operation_id="list_probe_kinds", response_model=Page[ProbeEntry], responses=declared())
def list_probe_kinds() -> Any:
    """What is measured on demand, of the weights of a job."""
    return Page[ProbeEntry](data=probe_entries())


@router.get("/probes/{kind}", operation_id="get_probe_kind", response_model=ProbeEntry, responses=declared())
def get_probe_kind(kind: Kind) -> Any:
    """One kind of probe."""
    return _named(probe_entries(), kind)


@router.get("/verdicts", operation_id="list_verdict_kinds", response_model=Page[VerdictEntry], responses=declared())
def list_verdict_kinds() -> Any:
    """The faults that the service names in a job, root causes first."""
    return Page[VerdictEntry](data=verdict_entries())


@router.get("/verdicts/{kind}", operation_id="get_verdict_kind", response_model=VerdictEntry, responses=declared())
def get_verdict_kind(kind: Kind) -> Any:
    """One fault that the service names; `kind` is the `code` of such verdicts."""
    return _named(verdict_entries(), kind)


def _named(entries: Sequence[AnyEntry], kind: str) -> AnyEntry:
    for entry in entries:
        if entry.kind == kind:
            return entry
    kinds = [entry.kind for entry in entries]
    raise _not_found(kind, kinds)


def _not_found(kind: str, kinds: Sequence[str]) -> Refused:
    """404 that names what the catalog has, and what was probably meant."""
    detail = f"there is no {kind[:80]!r} in this list{asked(kind, kinds)}"
    item = ProblemItem(pointer="/path/kind", code="not_found", detail=detail, allowed=list(kinds))
    return Refused("not_found", detail, errors=[item])
