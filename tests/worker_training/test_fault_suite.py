"""A handful of the public fault suite: what is spoilt is named, what is healthy is left alone, and remedies cure."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.faults import files
from benchmarks.faults.bases import BASES
from benchmarks.faults.cures import first_remedy, is_cured
from benchmarks.faults.judging import Said, served_first, verdicts
from benchmarks.faults.origins import INJECTIONS, STEP, Injection, found_at
from benchmarks.faults.scenario import Scenario, seeded
from benchmarks.faults.suite import FAULTY, HEALTHY
from benchmarks.faults.trial import Trial, run
from specs.compatibility import kind_of
from specs.job import JobSpec
from specs.learners import LEARNER_SPECS

NAMED = [
    "backprop relu sgd/rate 20",
    "backprop relu sgd/clipped to 1e-6",
    "backprop relu sgd/step units",
    "backprop small sgd/rate 5, seldom measured",
    "backprop own rows sgd/tiny features",
    "equilibrium_propagation/nudge below precision",
    "soft_hebb/blocks race",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files.write(tmp_path / "data")
    return tmp_path


def scenario(name: str) -> Scenario:
    return next(each for each in FAULTY if each.name == name)


def judged(job: dict[str, object], folder: Path) -> tuple[Trial, list[Said]]:
    trial = run(job, folder)
    return trial, verdicts(trial)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_spoilt_is_named_first_and_in_its_layer(name: str, folder: Path) -> None:
    wanted = scenario(name)
    assert wanted.fault is not None
    _, said = judged(wanted.posted, folder)
    first = served_first(said)[0]
    assert first.code in wanted.fault.codes
    assert wanted.is_right_layer(first.layer) in (True, None)
    assert first.finding.remedies


@pytest.mark.parametrize("base", ["backprop relu sgd", "mono_forward sgd"])
def test_healthy_run_has_no_verdict(base: str, folder: Path) -> None:
    assert judged(seeded(BASES[base], 1), folder)[1] == []


def test_first_remedy_cures(folder: Path) -> None:
    spoilt = scenario("backprop relu sgd/rate 20")
    assert spoilt.fault is not None
    base = spoilt.fault.base
    twins = {base: run(seeded(BASES[base], 0), folder)}
    trial, said = judged(spoilt.posted, folder)
    given = first_remedy(said)
    assert given is not None
    assert not is_cured(given.code, trial, said, twins, base)
    assert is_cured(given.code, *judged(given.applied(trial.spec), folder), twins, base)


@pytest.mark.parametrize(
    "injection",
    [each for each in INJECTIONS if each.base in ("backprop relu adam", "mono_forward")],
    ids=lambda each: f"{each.base} {each.layer} {each.tensor}",
)
def test_number_that_is_not_finite_is_found_where_it_was_put(injection: Injection, folder: Path) -> None:
    assert found_at(injection, folder) == (injection.layer, injection.tensor, STEP + 1)


def test_suite_is_large_enough_and_every_job_of_it_is_admitted() -> None:
    assert len(FAULTY) >= 60 and len(HEALTHY) >= 60 and len(INJECTIONS) >= 20
    names = [each.name for each in (*FAULTY, *HEALTHY)]
    assert len(set(names)) == len(names)
    for each in (*FAULTY, *HEALTHY):
        JobSpec.model_validate(each.posted)
    faults = Counter(each.job["learner"]["kind"] for each in FAULTY)
    assert all(faults[kind_of(rule)] >= 3 for rule in LEARNER_SPECS)
