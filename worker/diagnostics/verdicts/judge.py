"""All rules of a job, asked after every few logged points as far as the budget of measuring allows."""

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, final

from pydantic import ValidationError

from learners.build import Training
from specs.diagnostics import DiagnosticsSpec
from specs.job import JobSpec
from specs.json_patch import Patch, PatchFailed, apply
from specs.phases import Phase
from specs.verdict_kinds import VERDICT_KINDS, VerdictKind
from specs.verdicts import Finding, Remedy
from worker.diagnostics.interval import Interval
from worker.diagnostics.series import SeriesBuffer
from worker.diagnostics.verdicts.history import Case, History
from worker.diagnostics.verdicts.verdict import VerdictRule

BUDGET_SHARE: Final = 0.1
"""Of what measuring may cost."""
FIRST_POINTS: Final = 5
"""Points of each series at which the rules are asked whatever it costs: some faults show in the first ones alone."""


@final
class Judge:
    """Feeds what is measured to the rules and remembers what they found: one finding per code and layer.

    A finding that comes again keeps its first step and its remedies; its last step and its evidence move on.
    """

    def __init__(
        self,
        spec: DiagnosticsSpec,
        case_of: Callable[[Training, Phase], Case],
        training: Training,
        phase: Phase,
    ) -> None:
        budget = None if spec.budget_percent is None else BUDGET_SHARE * spec.budget_percent / 100
        self._asked = Interval(1, budget=budget)
        self._case_of = case_of
        self._found: dict[tuple[str, str | None], Finding] = {}
        self._noted: dict[tuple[str, str | None], Finding] = {}
        self._rules_at_all = spec.every_steps is not None
        self._training_s = 0.0
        self.spent_s = 0.0
        self.unfit: dict[str, str] = {}
        """Code -> reason of the rules that do not judge this job."""
        self.look_at(training, phase)

    def look_at(self, training: Training, phase: Phase) -> None:
        """Judges this phase from here on, with a history of its own; what was found so far stays."""
        case = self._case_of(training, phase)
        self._history = History(case)
        self._points = 0
        rules = list(all_rules()) if self._rules_at_all else []
        self.unfit = {rule.code: reason for rule in rules if (reason := rule.unfit(case)) is not None}
        self._rules = [rule for rule in rules if rule.code not in self.unfit]
        self._needs = frozenset().union(*(rule.needs for rule in self._rules))

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, in the order in which it was first seen."""
        return list(self._found.values())

    def judge(self, series: SeriesBuffer, *, share_done: float, training_s: float) -> list[Finding]:
        """Judges the points that ``series`` is about to give away; what is new, or seen again.

        ``training_s`` counts all training so far: what judging may cost is a share of it.
        """
        started = time.perf_counter()
        steps, early = self._take_in(series)
        self._history.share_done = share_done
        if steps:
            self._asked.step_takes(max(0.0, training_s - self._training_s) / len(steps))
            self._training_s = training_s
        changed, self._noted = self._noted, {}
        for step in steps:
            self._points += 1
            if step == steps[-1] or step in early or self._asked.due(self._points, last=False):
                self._ask(step, changed)
        self._history.forget()
        self.spent_s += time.perf_counter() - started
        return list(changed.values())

    @property
    def case(self) -> Case:
        """The job as the running phase sees it."""
        return self._history.case

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the rules of a resumed job must not take its next points for its first."""
        found = [finding.model_dump(mode="json") for finding in self._found.values()]
        return {"history": self._history.state(), "found": found, "training_s": self._training_s}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what ``state_dict`` gave, in the phase in which it did."""
        self._history.restore(state["history"])
        self._training_s = state["training_s"]
        findings = [Finding.model_validate(found) for found in state["found"]]
        self._found = {(finding.code, finding.layer): finding for finding in findings}

    def note(self, finding: Finding) -> None:
        """Takes in what was found elsewhere; ``judge`` hands it on."""
        self._noted[finding.code, finding.layer] = self._merged(finding)

    def _take_in(self, series: SeriesBuffer) -> tuple[list[int], set[int]]:
        """All points that any rule needs: their steps, and those that are among the first of a series."""
        measured: set[int] = set()
        early: set[int] = set()
        for quantity, layer, split, steps, values in series.open_points():
            if quantity in self._needs:
                before = self._history.extend(quantity, layer, split or "train", steps, values)
                measured.update(steps)
                early.update(steps[: max(0, FIRST_POINTS - before)])
        return sorted(measured), early

    def _ask(self, step: int, changed: dict[tuple[str, str | None], Finding]) -> None:
        started = time.perf_counter()
        self._history.advance(step)
        for rule in self._rules:
            finding = rule.judge(self._history)
            if finding is None:
                continue
            key = finding.code, finding.layer
            earlier, merged = self._found.get(key), self._merged(finding)
            if merged != earlier:
                changed[key] = merged
        self._asked.took(time.perf_counter() - started)

    def _merged(self, finding: Finding) -> Finding:
        key = finding.code, finding.layer
        earlier = self._found.get(key)
        if earlier is None:
            remedies = tuple(remedy for remedy in finding.remedies if fits(remedy, self._history.case.spec))
            merged = finding.model_copy(update={"remedies": remedies})
        else:
            merged = finding.model_copy(update={"remedies": earlier.remedies, "first_step": earlier.first_step})
        self._found[key] = merged
        return merged


def all_rules() -> Iterator[VerdictRule]:
    """One rule of every kind that is judged, root causes first."""
    for kind in VERDICT_KINDS:
        if kind.family is not None:
            yield _rule(kind)


def _rule(kind: VerdictKind) -> VerdictRule:
    module = import_module(f"worker.diagnostics.verdicts.{kind.family}")
    made: VerdictRule = getattr(module, "".join(word.capitalize() for word in kind.code.split("_")))()
    return made


def fits(remedy: Remedy, spec: JobSpec) -> bool:
    """Whether the remedy changes this job into one that would be admitted."""
    resolved: dict[str, Any] = spec.resolved()
    try:
        changed = apply(resolved, Patch.model_validate(remedy.patch))
        JobSpec.model_validate(changed)
    except (PatchFailed, ValidationError):
        return False
    return bool(changed != resolved)
