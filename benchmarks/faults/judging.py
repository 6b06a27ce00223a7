"""What the rules say of a run, asked at every logged point, and when they said it first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.faults.trial import Trial
from specs.verdict_kinds import root_causes_first
from specs.verdicts import Finding
from worker.diagnostics.verdicts.history import Case, History
from worker.diagnostics.verdicts.judge import all_rules, fits


@dataclass(frozen=True)
class Said:
    """One verdict. ``step``: the logged step at which the rule spoke first; ``cause``: the verdict that explains it."""

    finding: Finding
    step: int
    cause: str | None = None

    @property
    def code(self) -> str:
        return self.finding.code

    @property
    def layer(self) -> str | None:
        return self.finding.layer

    @property
    def first_step(self) -> int:
        return self.finding.first_step

    @property
    def last_step(self) -> int:
        return self.finding.last_step


def verdicts(trial: Trial) -> list[Said]:
    """All verdicts, root causes first, as the worker's judge keeps them: first steps and remedies stay."""
    case = Case(
        spec=trial.spec,
        rule=trial.rule,
        optimizer=trial.spec.optimizer,
        optimizer_pointer="/optimizer",
        signature=trial.signature,
        layers=trial.layers,
        parameters=trial.parameters,
    )
    rules = [rule for rule in all_rules() if rule.unfit(case) is None]
    history = History(case)
    for (quantity, layer, split), (steps, values) in trial.points.items():
        history.extend(quantity, layer, split, steps, values)
    found: dict[tuple[str, str | None], Said] = {}
    for step in trial.grid:
        history.advance(step)
        history.share_done = min(1.0, step / trial.planned_steps)
        for rule in rules:
            if (finding := rule.judge(history)) is not None:
                _keep(found, finding, step, trial)
    return [replace(said, cause=cause) for said, cause in root_causes_first(list(found.values()))]


def _keep(found: dict[tuple[str, str | None], Said], finding: Finding, step: int, trial: Trial) -> None:
    key = finding.code, finding.layer
    earlier = found.get(key)
    if earlier is None:
        remedies = tuple(remedy for remedy in finding.remedies if fits(remedy, trial.spec))
        found[key] = Said(finding.model_copy(update={"remedies": remedies}), step)
    else:
        kept = {"remedies": earlier.finding.remedies, "first_step": earlier.first_step}
        found[key] = replace(earlier, finding=finding.model_copy(update=kept))


def served_first(said: Sequence[Said]) -> list[Said]:
    """Those that no other explains."""
    return [each for each in said if each.cause is None]
