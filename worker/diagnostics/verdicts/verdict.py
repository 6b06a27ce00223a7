"""The interface of a verdict's rule: a pure function of what was recorded."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, final

from specs.verdict_kinds import Severity, VerdictCode
from specs.verdicts import Evidence, Finding, Remedy
from worker.diagnostics.verdicts.history import Case, History, Track


class VerdictRule(ABC):
    """Judges one fault. It keeps nothing: asked twice about the same history it says the same.

    ``needs`` are the series that it reads; nothing else is kept for it. It is asked after every few logged points, at
    any of which the history may be short: a rule that needs more points says nothing.
    """

    code: ClassVar[VerdictCode]
    needs: ClassVar[frozenset[str]]
    version: ClassVar[int] = 1

    def unfit(self, case: Case) -> str | None:  # noqa: ARG002
        """Why the rule says nothing about this job, as a code (``local_objective`` ...); None where it judges it."""
        return None

    @abstractmethod
    def judge(self, history: History) -> Finding | None:
        """The fault as it stands at ``history.step``; None where there is none."""

    @final
    def found(
        self,
        track: Track,
        *,
        value: float,
        threshold: float | None,
        window: int = 1,
        comparison: Literal["above", "below"] = "above",
        severity: Severity = "warning",
        remedies: tuple[Remedy, ...],
        numbers: dict[str, float | None] | None = None,
    ) -> Finding:
        """A finding about the last ``window`` points of ``track``: its layer, its steps, its name as evidence."""
        steps = track.steps(window)
        return Finding(
            code=self.code,
            severity=severity,
            layer=track.layer,
            first_step=steps[0],
            last_step=steps[-1],
            evidence=Evidence(
                quantity=track.quantity,
                value=value,
                threshold=threshold,
                window=len(steps),
                comparison=comparison,
                numbers=numbers or {},
            ),
            remedies=remedies,
            rule_version=self.version,
        )
