"""What is on the menu, as the specs declare it: nothing is said here that a spec does not say."""

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field

from specs.architecture import Architecture
from specs.compatibility import compatible_learners, compatible_networks, kind_of, refusals
from specs.data_sources import BuiltinSpec, FileSpec, PublishedSpec, SyntheticSpec, known_signature
from specs.diagnostics import DIAGNOSTIC_KINDS
from specs.learners import LEARNER_SPECS
from specs.learners.backprop import BackpropSpec
from specs.networks import NETWORK_SPECS
from specs.optimizers import OptimizerSpec, Update
from specs.papers import Equivalence, Paper, PublishedResult, ReferenceResult
from specs.plausibility import PlausibilityCard, measured_cards
from specs.probes import PROBE_KINDS
from specs.recipe import Lesson
from specs.recipes import RECIPES, RecipeRequest
from specs.signature import DataSignature
from specs.verdict_kinds import VERDICT_KINDS

FILE_TYPES = (".csv", ".npz", ".parquet")
MOST_FILES = 500
FIRST_SETS = (BuiltinSpec(name="digits"), SyntheticSpec(name="event_xor"))
"""Images, which are read as rows of features too, and sequences."""
OPTIMIZER_SPECS: tuple[type[Update], ...] = get_args(get_args(OptimizerSpec)[0])


class Entry(BaseModel):
    """One kind: what it is, and the JSON Schema of its fields."""

    model_config = ConfigDict(populate_by_name=True)

    kind: str
    title: str
    summary: str
    fields: dict[str, Any] = Field(serialization_alias="schema", description="JSON Schema")


class LearnerEntry(Entry):
    """A learning rule."""

    paper: Paper
    equation: str
    needs: list[str] = Field(description="what a network must offer")
    tasks: list[str]
    optimizers: list[str] | None = Field(description="the only ones it steps with; null: any")
    compatible_networks: list[str] = Field(description="kinds that it trains, by default or as a refusal proposes")
    exactness: str = Field(description="exact, unbiased, biased or own_objective")
    uses_backward: str = Field(description="none, block or global")
    inside_block: str = Field(description="exact: inside a block of several operations it backpropagates")
    hands_error: bool = Field(description="whether it can hand the error of its input to a segment below")
    memory_class: str
    cost_class: str = Field(description="work of a step, against backpropagation")
    quantities: dict[str, str] = Field(
        description="what its updates report of themselves: series -> unit; of several of a kind (denoisers) each is a "
        "series too, with its number behind the name"
    )
    equivalent_to: list[Equivalence] = Field(description="settings that make it another rule: controls")
    claims_that_do_not_hold: list[str] = Field(description="what is said of it and was not found, with sources")
    published_result: PublishedResult | None = Field(description="a figure from the literature")
    reference_result: ReferenceResult | None = Field(description="measured here; null until it is")
    plausibility: list[PlausibilityCard] = Field(description="measured, the defaults' card first; [] until it is")
    example: dict[str, Any] = Field(description="a job that runs as it stands")


class NetworkEntry(Entry):
    """A network."""

    paper: Paper | None
    provides: list[str] = Field(description="what it offers with its default fields")
    layouts: list[str] = Field(description="vector, image or sequence")
    claims_that_do_not_hold: list[str] = Field(description="what is said of it and was not found, with sources")
    compatible_learners: list[str] = Field(description="kinds that train it, by default or as a refusal proposes")
    example: dict[str, Any] = Field(description="a job that runs as it stands")


class OptimizerEntry(Entry):
    """An optimizer."""


class DiagnosticEntry(Entry):
    """Something that is measured while a job trains."""

    quantities: dict[str, str] = Field(description="series -> unit")
    needs_probe_step: bool = Field(description="measured every `alignment_every_steps` instead of `every_steps`")
    paper: str | None


class ProbeEntry(Entry):
    """Something that is measured on demand, of the weights of a job."""


class VerdictEntry(BaseModel):
    """A fault that the service names."""

    kind: str = Field(description="the `code` of such verdicts")
    title: str
    summary: str
    source: str = Field(description="where its limit is from")
    judged: bool = Field(description="by a rule, while a job trains; false: where training ends")
    explains: list[str] = Field(description="codes that are its symptoms where both are found")


class RecipeEntry(Entry):
    """A whole job under one name."""

    paper: str
    spec: dict[str, Any] = Field(description="what it stands for")
    lesson: Lesson | None = Field(description="of a recipe that is meant to fail: what it shows, and what mends it")
    example: dict[str, Any]


class DatasetEntry(Entry):
    """A data set that a job may name."""

    name: str
    origin: str = Field(description="builtin, generated, published or folder")
    signature: DataSignature | None = Field(description="shapes, task and rows; null where only reading tells")
    example: dict[str, Any] = Field(description="the `dataset` section of a job")


def learners() -> list[LearnerEntry]:
    """All learning rules."""
    return [
        LearnerEntry(
            kind=kind_of(rule),
            title=rule.title,
            summary=rule.summary,
            paper=rule.paper,
            equation=rule.equation,
            needs=sorted(rule.needs),
            tasks=sorted(rule.tasks),
            optimizers=None if rule.optimizers is None else sorted(rule.optimizers),
            compatible_networks=compatible_networks(rule),
            exactness=rule.exactness,
            uses_backward=rule.uses_backward,
            inside_block=rule.inside_block,
            hands_error=rule.hands_error,
            memory_class=rule.memory_class,
            cost_class=rule.compute_class,
            quantities=rule.quantities,
            equivalent_to=list(rule.equivalent_to),
            claims_that_do_not_hold=list(rule.claims_that_do_not_hold),
            published_result=rule.published_result,
            reference_result=rule.reference_result,
            plausibility=measured_cards().get(kind_of(rule), []),
            example=rule.example,
            fields=rule.model_json_schema(),
        )
        for rule in LEARNER_SPECS
    ]


def networks() -> list[NetworkEntry]:
    """All networks."""
    return [
        NetworkEntry(
            kind=kind_of(network),
            title=network.title,
            summary=network.summary,
            paper=network.paper,
            provides=sorted(network().provides),
            layouts=sorted(network.layouts),
            claims_that_do_not_hold=list(network.claims_that_do_not_hold),
            compatible_learners=compatible_learners(network),
            example=_first_job(network),
            fields=network.model_json_schema(),
        )
        for network in NETWORK_SPECS
    ]


def _first_job(network: type[Architecture]) -> dict[str, Any]:
    """The network as it is by default, on the first set of its layout, by backpropagation."""
    dataset = next(one for one in FIRST_SETS if not refusals(BackpropSpec(), network(), signature=known_signature(one)))
    sections = {"dataset": {"kind": dataset.kind, "name": dataset.name}, "network": {"kind": kind_of(network)}}
    return {**sections, "learner": {"kind": "backprop"}, "training": {"epochs": 3}}


def optimizers() -> list[OptimizerEntry]:
    """All optimizers."""
    return [
        OptimizerEntry(
            kind=kind_of(update),
            title=update.__name__.removesuffix("Spec"),
            summary=_first_line(update),
            fields=update.model_json_schema(),
        )
        for update in OPTIMIZER_SPECS
    ]


def diagnostics() -> list[DiagnosticEntry]:
    """All that is measured."""
    return [
        DiagnosticEntry(
            kind=spec.model_fields["kind"].default,
            title=spec.model_fields["kind"].default.replace("_", " ").capitalize(),
            summary=_first_line(spec),
            quantities=spec.quantities,
            needs_probe_step=spec.needs_probe_step,
            paper=spec.paper,
            fields=spec.model_json_schema(),
        )
        for spec in DIAGNOSTIC_KINDS
    ]


def probes() -> list[ProbeEntry]:
    """All that is measured on demand."""
    return [
        ProbeEntry(
            kind=spec.model_fields["kind"].default,
            title=spec.model_fields["kind"].default.replace("_", " ").capitalize(),
            summary=_first_line(spec),
            fields=spec.model_json_schema(),
        )
        for spec in PROBE_KINDS
    ]


def verdicts() -> list[VerdictEntry]:
    """All faults that are named, root causes first."""
    return [
        VerdictEntry(
            kind=kind.code,
            title=kind.code.replace("_", " ").capitalize(),
            summary=kind.summary,
            source=kind.source,
            judged=kind.family is not None,
            explains=sorted(kind.explains),
        )
        for kind in VERDICT_KINDS
    ]


def recipes() -> list[RecipeEntry]:
    """All recipes. That of a rule has the rule's own title."""
    titles = {kind_of(rule): rule.title for rule in LEARNER_SPECS}
    return [
        RecipeEntry(
            kind=recipe.name,
            title=titles.get(recipe.name, recipe.name.replace("_", " ").capitalize()),
            summary=recipe.description,
            paper=recipe.paper,
            spec=recipe.spec,
            lesson=recipe.lesson,
            example={"recipe": recipe.name},
            fields=RecipeRequest.model_json_schema(),
        )
        for recipe in RECIPES.values()
    ]


def datasets(data_dir: Path | None) -> list[DatasetEntry]:
    """Every data set that needs no upload: those that come with the product, and the files of the data folder."""
    origins = ((BuiltinSpec, "builtin"), (SyntheticSpec, "generated"), (PublishedSpec, "published"))
    found = []
    for spec, origin in origins:
        kind = spec.model_fields["kind"].default
        for name in spec.model_json_schema()["properties"]["name"].get("enum") or [
            spec.model_json_schema()["properties"]["name"]["const"]
        ]:
            example = {"kind": kind, "name": name}
            found.append(_dataset(spec, example, name=name, origin=origin, signature=known_signature(spec(name=name))))
    for path in _files(data_dir):
        example = {"kind": "file", "path": path}
        found.append(_dataset(FileSpec, example, name=path, origin="folder", signature=None))
    return found


def _dataset(
    spec: type[BaseModel], example: dict[str, Any], *, name: str, origin: str, signature: DataSignature | None
) -> DatasetEntry:
    return DatasetEntry(
        kind=example["kind"],
        name=name,
        title=name.replace("_", " "),
        summary=_first_line(spec),
        origin=origin,
        signature=signature,
        example=example,
        fields=spec.model_json_schema(),
    )


def _files(data_dir: Path | None) -> list[str]:
    """Data files of the folder, as a job names them. Links are not followed out of it."""
    if data_dir is None or not data_dir.is_dir():
        return []
    found = (path for path in data_dir.rglob("*") if path.suffix in FILE_TYPES and path.is_file())
    inside = [path for path in found if path.resolve().is_relative_to(data_dir.resolve())]
    return sorted(str(path.relative_to(data_dir)) for path in inside)[:MOST_FILES]


def _first_line(spec: type[BaseModel]) -> str:
    return " ".join((spec.__doc__ or "").split())
