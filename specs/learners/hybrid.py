"""Hybrids on the menu: rules after each other, over each other, or mixed."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import Architecture
from specs.hybrid_phases import MIX, NOT_EMPTY, Mix, PartSpec, PhaseSpec, SegmentSpec, check_mix, wrong
from specs.kinds import Spec
from specs.learners.backprop import BackpropSpec
from specs.learners.mono_forward import MonoForwardSpec
from specs.papers import JobBody, Paper
from specs.phases import Phase
from specs.rule import Held, Misfit, Rule
from specs.signature import TaskName

PhaseList = Annotated[tuple[PhaseSpec, ...], Field(strict=False, max_length=16, json_schema_extra=NOT_EMPTY)]


def _segments(*segments: JobBody) -> JobBody:
    return {"phases": [{"segments": list(segments)}]}


class HybridSpec(Rule):
    """Rules after each other (phases), over each other (segments of a phase), or mixed (mix)."""

    title: ClassVar[str] = "Hybrid"
    summary: ClassVar[str] = "Rules combined: one after another, each on its own blocks, or their gradients mixed."
    paper: ClassVar[Paper] = Paper(
        title="Greedy Layer-Wise Training of Deep Networks",
        authors="Bengio, Lamblin, Popovici, Larochelle",
        year=2006,
        url="https://papers.nips.cc/paper/2006/hash/5da713a690c067105aeb2fae32403405-Abstract.html",
    )
    equation: ClassVar[str] = "mix: g = sum_i w_i g_i; segments: g_i = dL_i/dtheta_i, dL_i/dx_i handed down or not"
    holds_rules: ClassVar[tuple[type[Spec], ...]] = (PartSpec, SegmentSpec, PhaseSpec)
    whole_batch: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "global"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    compute_class: ClassVar[str] = "its rules' steps together; over segments a second forward pass below the highest"
    example: ClassVar[JobBody] = {
        "name": "mono-forward-then-backprop-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {
            "kind": "hybrid",
            "phases": [
                {"until": {"kind": "epochs", "value": 2}, "segments": [{"learner": {"kind": "mono_forward"}}]},
                {"segments": [{"learner": {"kind": "backprop"}}]},
            ],
        },
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    variants: ClassVar[tuple[JobBody, ...]] = (
        _segments(
            {"blocks": "0", "learner": {"kind": "backprop"}},
            {"blocks": "1-", "learner": {"kind": "backprop"}, "handover": "error"},
        ),
        _segments(
            {"blocks": "0", "learner": {"kind": "mono_forward"}}, {"blocks": "1-", "learner": {"kind": "backprop"}}
        ),
    )

    kind: Literal["hybrid"] = "hybrid"
    phases: PhaseList | None = Field(default=None, description="stretches of training, in order")
    mix: Mix | None = Field(
        default_factory=lambda: (
            PartSpec(weight=0.5, learner=BackpropSpec()),
            PartSpec(weight=0.5, learner=MonoForwardSpec()),
        ),
        description=f"instead of phases: {MIX}",
    )

    @model_validator(mode="before")
    @classmethod
    def _phases_replace_the_mixture(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("phases") is not None and "mix" not in fields:
            return {**fields, "mix": None}
        return fields

    @model_validator(mode="after")
    def _holds_together(self) -> "HybridSpec":
        if (self.phases is None) == (self.mix is None):
            raise wrong("phases_or_mix", "", "a hybrid has phases or a mixture", ["phases", "mix"])
        if self.phases is not None and not self.phases:
            raise wrong("no_phase", "/phases", "a hybrid needs a phase", "a phase")
        check_mix(self.mix)
        for index, phase in enumerate((self.phases or ())[:-1]):
            if phase.until is None:
                raise wrong("phase_without_end", f"/phases/{index}/until", "only the last phase goes on", "until")
        return self

    @property
    def only(self) -> PhaseSpec:
        """The phase of a hybrid that has one."""
        (phase,) = self.phases or (PhaseSpec(mix=self.mix),)
        return phase

    def course(self) -> tuple[Phase, ...]:
        if self.phases is None:
            return (Phase(self),)
        return tuple(
            Phase(_rule(phase), phase.until, phase.optimizer, f"/phases/{index}")
            for index, phase in enumerate(self.phases)
        )

    def held(self) -> Iterator[Held]:
        if self.phases is None:
            yield from self.only.held()
        for index, phase in enumerate(self.phases or ()):
            for pointer, rule in phase.held():
                yield Held(f"/phases/{index}{pointer}", rule)

    def misfits(self, network: Architecture) -> Iterator[Misfit]:
        for index, phase in enumerate(self.phases or ()):
            for pointer, code, message in phase.misfits(network):
                yield Misfit(f"/phases/{index}{pointer}", code, message)

    def extra_inputs(self, task: TaskName, outputs: int) -> int:
        return max(rule.extra_inputs(task, outputs) for _, rule in self.held())

    def expected_alignment(self, *, size: int, noise: float) -> float | None:  # noqa: ARG002
        """Exact rules stay exact together, where each is handed its error."""
        exact = all(rule.exactness == "exact" for _, rule in self.only.held())
        handed = all(segment.handover != "none" for segment in (self.only.segments or ())[1:])
        return 1.0 if exact and handed else None

    def trainer_of(self, group: str) -> str:
        pieces = [rule.trainer_of(group) for _, rule in self.only.held()]
        if self.only.segments is None:
            return "+".join(pieces)
        return pieces[self._segment_of(group)]

    def _segment_of(self, group: str) -> int:
        segments = self.only.segments or ()
        if group.startswith("own.parts."):
            return int(group.split(".")[2])
        if not group.startswith("blocks."):
            return len(segments) - 1
        block = int(group.removeprefix("blocks."))
        return next(i for i, s in enumerate(segments) if s.blocks.endswith("-") or s.last(block + 1) >= block)


def _rule(phase: PhaseSpec) -> Rule:
    """What trains in a phase: where one rule has the whole network, that rule itself."""
    if phase.segments is None:
        return HybridSpec(mix=phase.mix)
    return phase.segments[0].learner if phase.has_one_rule else HybridSpec(phases=(PhaseSpec(segments=phase.segments),))
