"""Whether the first remedy cures, and whether any other would: a placebo is a remedy of another fault."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.faults.judging import Said, served_first
from benchmarks.faults.trial import Trial
from specs.job import JobSpec
from specs.json_patch import Patch, apply
from specs.verdicts import Remedy
from worker.diagnostics.verdicts.judge import fits

WORSE: Final = 1.25
SLACK: Final = 0.1
"""A run is as good as the healthy one where its loss on the test rows is at most 1.25 times that one's; of a
cross-entropy 0.1 more is no difference either. Fixed before anything was scored."""


@dataclass(frozen=True)
class Prescription:
    """What is changed in a faulty run, and for which verdict."""

    code: str
    remedy: Remedy

    def applied(self, spec: JobSpec) -> dict[str, Any]:
        changed: dict[str, Any] = apply(spec.resolved(), Patch.model_validate(self.remedy.patch))
        return changed


def prescriptions(said: Sequence[Said]) -> Iterator[Prescription]:
    """The first remedy of each verdict that no other explains, in the order in which they are served."""
    for each in served_first(said):
        if each.finding.remedies:
            yield Prescription(each.code, each.finding.remedies[0])


def first_remedy(said: Sequence[Said]) -> Prescription | None:
    """What the service tells its user to try first."""
    return next(prescriptions(said), None)


def placebo(name: str, spec: JobSpec, given: Prescription, pool: Sequence[Prescription]) -> Prescription | None:
    """A remedy of another verdict that fits this job, drawn by the run's name alone."""
    drawn = list(pool)
    random.Random(name).shuffle(drawn)
    return next((each for each in drawn if each.code != given.code and fits(each.remedy, spec)), None)


def is_as_good(trial: Trial, twin: Trial) -> bool:
    """Whether the run ended within the margin of the healthy one."""
    if trial.metrics is None:
        return False
    assert twin.metrics is not None
    name = "mse" if "mse" in twin.metrics else "loss"
    loss, healthy = trial.metrics[name], twin.metrics[name]
    if loss is None or healthy is None:
        return False
    return loss <= WORSE * healthy + (SLACK if name == "loss" else 0.0)


def is_cured(code: str, trial: Trial, said: Sequence[Said], twins: Mapping[str, Trial], base: str) -> bool:
    """Whether the verdict is gone and the run as good as the healthy one."""
    return all(each.code != code for each in said) and is_as_good(trial, twins[base])
