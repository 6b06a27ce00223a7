"""A verdict in lines of text. ``static/verdict_list.js`` builds the same in the browser."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard.formats import figure, size, words
from api.remedy_outcomes import AppliedAnswer
from api.verdict_answers import VerdictAnswer

REASONS = {
    "fork_not_ended": "has not ended yet",
    "fork_deleted": "was deleted",
    "loss_above_first": "did not help, its loss is above where it began",
}


@dataclass(frozen=True)
class Tried:
    """A fork with a remedy: its page, None once it is gone, and what came of it."""

    href: str | None
    text: str


@dataclass(frozen=True)
class VerdictLines:
    """What the page says of one verdict, from top to bottom."""

    id: str
    severity: str
    title: str
    where: str
    summary: str
    evidence: str
    remedies: Sequence[str]
    tried: Sequence[Tried]


def verdict_lines(verdicts: Sequence[VerdictAnswer]) -> list[VerdictLines]:
    """All verdicts of a job, in their order."""
    return [
        VerdictLines(
            id=verdict.id,
            severity=verdict.severity,
            title=words(verdict.code),
            where=_where(verdict),
            summary=verdict.summary,
            evidence=_evidence(verdict),
            remedies=[_remedy(remedy.model_dump(mode="json")) for remedy in verdict.remedies],
            tried=[_tried(applied, verdict) for applied in verdict.applied],
        )
        for verdict in verdicts
    ]


def _where(verdict: VerdictAnswer) -> str:
    first, last = figure(verdict.first_step), figure(verdict.last_step)
    steps = f"step {first}" if first == last else f"steps {first} to {last}"
    cause = "" if verdict.caused_by is None else f", explained by: {words(verdict.caused_by)}"
    return f"{verdict.layer or 'whole network'}, {steps}{cause}"


def _evidence(verdict: VerdictAnswer) -> str:
    evidence = verdict.evidence
    parts = []
    if evidence.value is not None:
        limit = "" if evidence.threshold is None else f", {evidence.comparison} {figure(evidence.threshold)}"
        over = f" over {evidence.window} points" if evidence.window > 1 else ""
        parts.append(f"{words(evidence.quantity)} {figure(evidence.value)}{limit}{over}")
    parts += [f"{words(name)} {figure(value)}" for name, value in evidence.numbers.items() if value is not None]
    parts += [f"{words(name)} {text}" for name, text in evidence.facts.items()]
    return " · ".join(parts)


def _remedy(remedy: dict[str, Any]) -> str:
    changes = [
        f"{change['path']} removed" if change["op"] == "remove" else f"{change['path']} = {_shown(change.get('value'))}"
        for change in remedy["patch"]
    ]
    saving = remedy["predicted_saving_bytes"]
    frees = "" if saving is None else f" Frees about {size(saving)}."
    return f"{remedy['title']} {', '.join(changes)}.{frees}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return figure(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _tried(applied: AppliedAnswer, verdict: VerdictAnswer) -> Tried:
    remedy = verdict.remedies[applied.remedy].title.rstrip(".")
    href = None if applied.status is None else f"/jobs/{applied.job_id}"
    spoken = "did not help" if applied.helped is False else f"is {applied.status}"
    text = "helped" if applied.helped else REASONS.get(applied.reason or "", spoken)
    if applied.helped is not None and applied.loss_after is not None:
        before = "" if applied.loss_before is None else f"{figure(applied.loss_before)} → "
        text = f"{text}: {applied.split} loss {before}{figure(applied.loss_after)}"
    return Tried(href, f"{remedy}: {text}")
