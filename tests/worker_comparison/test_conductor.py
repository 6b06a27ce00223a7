"""What a conductor does with a comparison, from its first job to its answer, on both databases."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store import comparisons, jobs, neighbours
from store.database import Database
from store.settings import Settings
from store.tables import Attempt
from tests import lived_comparison
from tests.api.conftest import NO_BROKER
from tests.store.conftest import database as database
from tests.store.conftest import migrated_sqlite as migrated_sqlite
from tests.store.conftest import postgresql_url as postgresql_url
from worker.comparison.conductor import Conductor


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, broker_url=NO_BROKER)


@pytest.fixture
def conductor(database: Database, settings: Settings) -> Iterator[Conductor]:
    with lived_comparison.conducted(database, settings) as conductor:
        yield conductor


def read(database: Database, comparison_id: str) -> Any:
    with database.reading() as session:
        return comparisons.get(session, comparison_id)


def arms(database: Database, comparison_id: str) -> dict[str, Any]:
    return {arm["name"]: arm for arm in read(database, comparison_id).result["arms"]}


def test_tuning_chooses_by_validation_then_finals_run_then_the_answer_stands(
    database: Database, conductor: Conductor
) -> None:
    comparison_id = lived_comparison.made(database, tuning={"trials": 3})
    tried: dict[str, set[float]] = {}
    for trial in range(3):
        conductor.look()
        assert read(database, comparison_id).status == "tuning", "its jobs have not ended"
        with database.reading() as session:
            runs = comparisons.rows(session, comparison_id)
        assert {run.status for run in runs if run.trial == trial} == {"queued"}
        assert {run.status for run in runs if run.trial > trial} <= {"planned"}, "they follow from the ones before"
        for run in runs:
            if run.trial == trial:
                tried.setdefault(run.arm, set()).add(lived_comparison.rate_of(run.settings))
        lived_comparison.end_jobs(database, lambda arm, rate: rate / (1 + rate), of=lived_comparison.rate_of)
    assert evaluating(database, comparison_id, "tuning") == {False}
    conductor.look()
    row = read(database, comparison_id)
    assert row.status == "running"
    for arm, rates in tried.items():
        assert len(rates) == 3
        with database.reading() as session:
            own = [run for run in comparisons.rows(session, comparison_id, stage="final") if run.arm == arm]
        assert {run.settings["optimizer"]["lr"] for run in own} == {max(rates)}
    assert evaluating(database, comparison_id, "final") == {True}
    assert row.chosen["backprop_checkpointing"] == row.chosen["backprop"]
    lived_comparison.end_jobs(database)
    conductor.look()
    row = read(database, comparison_id)
    assert row.status == "succeeded"
    assert row.sentence == row.result["sentence"]


def evaluating(database: Database, comparison_id: str, stage: str) -> set[bool]:
    """Whether the jobs of a stage read the test rows."""
    with database.reading() as session:
        runs = comparisons.rows(session, comparison_id, stage=stage)
    return {run.settings["training"]["evaluate_test"] for run in runs}


def test_answer_holds_statistics_bills_curves_and_sentences(database: Database, settings: Settings) -> None:
    found = arms(database, comparison_id := lived_comparison.answered(database, settings))
    result = read(database, comparison_id).result
    assert (result["metric"], result["unit"], result["tuned"], result["reference"]) == (
        "accuracy",
        "points",
        True,
        "backprop",
    )
    assert found["backprop"]["difference"] is None
    assert found["forward_forward"]["decision"] == "worse"
    assert found["forward_forward"]["difference"]["mean"] == pytest.approx(-6, abs=0.5)
    assert "not worth it" in found["forward_forward"]["sentence"]
    assert found["forward_forward"]["ratios"]["seconds"] == pytest.approx(2.5)
    assert found["forward_forward"]["bill"]["inference"]["flops_per_row"] == pytest.approx(5000)
    assert found["forward_forward"]["bill"]["tuning"]["runs"] == 2
    parameters = {"trained": 1000, "frozen": 0, "deployed": 900, "training_only": 100}
    assert found["backprop"]["bill"]["parameters"] == parameters
    assert [point["step"] for point in found["backprop"]["curve"]] == list(lived_comparison.STEPS)
    assert found["backprop"]["curve"][-1]["seconds"] == pytest.approx(1.0)
    assert found["backprop"]["to_target"]["reached"]["step"] == lived_comparison.STEPS[-1]
    assert found["forward_forward"]["to_target"]["reached"] is None
    assert found["backprop_checkpointing"]["decision"] == "not_tested"
    assert found["readout_only"]["decision"] == "worse"
    assert "forward_forward" in result["sentence"]


def test_diverged_run_counts_as_the_worst(database: Database, settings: Settings) -> None:
    def score(arm: str, seed: int) -> float | None:
        return None if arm == "mono_forward" and seed == 2 else lived_comparison.scored(arm, seed)

    found = arms(database, lived_comparison.answered(database, settings, score))["mono_forward"]
    assert (found["diverged"], found["scores"]["2"], found["difference"]["seeds"]) == (1, 0.0, 4)
    assert found["decision"] == "undecided"
    assert "it diverged on 1 of 4 seeds" in found["sentence"]


def test_error_that_is_not_finite_is_never_equivalent(database: Database, settings: Settings) -> None:
    def error(arm: str, seed: int) -> float | None:
        lost = arm == "mezo" or (arm == "pepita" and seed == 2)
        spread = 1e-3 * (-1) ** seed if arm == "backprop" else 0.0
        return None if lost else (1.1 if arm == "readout_only" else 1.0) + spread

    regression = {
        "dataset": {"kind": "builtin", "name": "diabetes"},
        "learners": ["mezo", "pepita", "feedback_alignment"],
        "tuning": None,
    }
    comparison_id = lived_comparison.answered(database, settings, error, **regression)
    found, sentence = arms(database, comparison_id), read(database, comparison_id).sentence
    assert (found["mezo"]["diverged"], found["mezo"]["decision"], found["mezo"]["worth"]) == (
        4,
        "worse",
        "not_worth_it",
    )
    assert found["mezo"]["difference"]["mean"] == pytest.approx(-100)
    assert (found["pepita"]["diverged"], found["pepita"]["decision"]) == (1, "undecided")
    assert found["feedback_alignment"]["decision"] == "equivalent"
    assert "mezo (diverged on 4 of 4 seeds)" in sentence
    assert "it diverged on 1 of 4 seeds, which count as the worst" in found["pepita"]["sentence"]


def test_trial_that_diverged_is_not_chosen(database: Database, settings: Settings) -> None:
    posted = iter([None, 0.9] * 1000)

    def score(arm: str, seed: int) -> float | None:
        return next(posted) if arm == "mono_forward" and seed >= 1000 else lived_comparison.scored(arm, seed)

    comparison_id = lived_comparison.answered(database, settings, score, tuning={"trials": 2})
    with database.reading() as session:
        tried = [r for r in comparisons.rows(session, comparison_id, stage="tuning") if r.arm == "mono_forward"]
    [survivor] = [run for run in tried if run.status == "succeeded"]
    chosen = read(database, comparison_id).chosen["mono_forward"]
    assert chosen == read(database, comparison_id).plan["arms"][1]["trials"][survivor.trial]


def test_comparison_without_any_reference_fails_with_the_reason(database: Database, settings: Settings) -> None:
    comparison_id = lived_comparison.answered(
        database, settings, lambda arm, seed: None if arm == "backprop" else 0.9, tuning=None
    )
    row = read(database, comparison_id)
    assert (row.status, row.error["kind"]) == ("failed", "every_run_failed")
    assert "NaN" in row.error["message"]


def test_cancelled_job_is_missing_and_the_others_are_compared(database: Database, conductor: Conductor) -> None:
    comparison_id = lived_comparison.made(database, tuning=None)
    with database.reading() as session:
        lost = next(r.job_id for r in comparisons.rows(session, comparison_id) if r.arm == "mono_forward")
    assert lost is not None
    with database.writing.begin() as session:
        jobs.cancel(session, lost)
    lived_comparison.end_jobs(database)
    conductor.look()
    found = arms(database, comparison_id)["mono_forward"]
    assert [missing["status"] for missing in found["missing"]] == ["cancelled"]
    assert found["difference"]["seeds"] == 3


def test_second_conductor_changes_nothing(database: Database, settings: Settings) -> None:
    comparison_id = lived_comparison.made(database)
    with lived_comparison.conducted(database, settings) as one, lived_comparison.conducted(database, settings) as other:
        for _ in range(2):
            lived_comparison.end_jobs(database)
            one.look()
            other.look()
        with database.reading() as session:
            assert len(comparisons.rows(session, comparison_id, stage="final")) == 4 * 7
        lived_comparison.end_jobs(database)
        one.look()
        version = read(database, comparison_id).version
        other.look()
        assert read(database, comparison_id).version == version


def test_comparison_of_more_jobs_than_the_window_is_run_to_its_end(database: Database, settings: Settings) -> None:
    comparison_id = lived_comparison.answered(database, settings, seeds=9, tuning=None)
    with database.reading() as session:
        assert len(comparisons.rows(session, comparison_id)) == 63
    assert len(arms(database, comparison_id)["backprop"]["scores"]) == 9


def test_arm_whose_jobs_all_failed_has_their_error_and_no_verdict(database: Database, settings: Settings) -> None:
    def score(arm: str, seed: int) -> float | str | None:
        return "out_of_memory" if arm == "mono_forward" else lived_comparison.scored(arm, seed)

    comparison_id = lived_comparison.answered(database, settings, score, tuning=None)
    found = arms(database, comparison_id)
    assert (found["mono_forward"]["error"]["kind"], found["mono_forward"]["worth"]) == ("out_of_memory", "no_result")
    assert "jobs failed (out_of_memory: The loss is NaN.)" in found["mono_forward"]["sentence"]
    assert "its jobs failed: mono_forward" in read(database, comparison_id).sentence
    assert found["forward_forward"]["error"] is None


def test_learner_that_does_not_fit_is_named_in_the_sentence_and_in_the_warnings(
    database: Database, settings: Settings
) -> None:
    unfit = {"learner": {"kind": "e_prop"}, "required": False}
    row = read(database, lived_comparison.answered(database, settings, learners=["mono_forward", unfit], tuning=None))
    assert "Left out, as they do not fit: e_prop." in row.sentence
    assert any(line.startswith("Left out: e_prop. ") for line in row.result["warnings"])


def test_learner_without_a_result_at_a_depth_is_told_with_the_cause(database: Database, settings: Settings) -> None:
    def score(arm: str, seed: int) -> float | str:
        return "out_of_memory" if arm == "mono_forward 8" else 0.9

    template = {"template": "memory_by_depth", "depths": [4, 8], "learners": ["mono_forward"]}
    changes = {**template, "tuning": None, "seeds": 1}
    row = read(database, lived_comparison.answered(database, settings, score, **changes))
    assert "mono_forward without a result at 8 blocks (out_of_memory)" in row.sentence
    assert "backprop flat" in row.sentence
    points = next(curve for curve in row.result["memory"] if curve["name"] == "mono_forward")["points"]
    assert [(point["error"] or {}).get("kind") for point in points] == [None, "out_of_memory"]


def test_reference_at_chance_decides_nothing(database: Database, settings: Settings) -> None:
    def score(arm: str, seed: int) -> float:
        clearly_worse = 0.05 if arm == "forward_forward" else 0.0
        return 0.1 - clearly_worse + 0.01 * random.Random(arm + str(seed)).random()

    comparison_id = lived_comparison.answered(database, settings, score, tuning=None, seeds=6)
    result = read(database, comparison_id).result
    assert result["reference_learned"] is False
    worse = next(arm for arm in result["arms"] if arm["name"] == "forward_forward")
    assert worse["adjusted"]["p"] < 0.01
    assert {arm["decision"] for arm in result["arms"]} == {None, "not_tested", "undecided"}
    assert {arm["worth"] for arm in result["arms"] if arm["role"] == "learner"} == {"undecided"}
    assert "the reference did not learn" in result["sentence"]


@pytest.mark.parametrize(("tuning", "tuned"), [({"trials": 1}, False), ({"trials": 2}, True)])
def test_one_trial_as_posted_is_untuned(
    database: Database, settings: Settings, tuning: dict[str, int], tuned: bool
) -> None:
    row = read(database, lived_comparison.answered(database, settings, tuning=tuning))
    assert row.result["tuned"] is tuned
    assert row.sentence.endswith("Untuned.") is not tuned
    assert any(line.startswith("Untuned: ") for line in row.result["warnings"]) is not tuned


def test_arm_with_the_references_bits_and_work_is_the_same_arithmetic(database: Database, settings: Settings) -> None:
    def score(arm: str, seed: int) -> float | None:
        return lived_comparison.scored("backprop" if arm == "twin" else arm, seed)

    twin = {"name": "twin", "learner": {"kind": "mono_forward"}}
    with pytest.MonkeyPatch.context() as costs:
        costs.setitem(lived_comparison.COST, "twin", 1.0)
        comparison_id = lived_comparison.answered(database, settings, score, learners=[twin], tuning=None)
    found = arms(database, comparison_id)["twin"]
    assert (found["same_arithmetic"], found["worth"]) == (True, "neither")
    assert "same arithmetic" in read(database, comparison_id).sentence


def test_jobs_side_by_side_on_a_machine_are_told_from_jobs_in_a_row(database: Database) -> None:
    with database.writing.begin() as session:
        comparison_id = comparisons.create(session, **lived_comparison.created()).id
        ids = [run.job_id for run in comparisons.rows(session, comparison_id) if run.job_id][:4]
        for job_id, host, begin, end in zip(ids, "aaab", (0, 9, 20, 0), (10, 20, 30, 30), strict=True):
            fields = {"worker_id": "wrk_1", "worker_pid": 1, "started_at": 1000.0 + begin, "ended_at": 1000.0 + end}
            session.add(Attempt(job_id=job_id, number=1, host=host, **fields))
        session.flush()
        assert neighbours.beside_others(session, ids) == set(ids[:2])
        assert neighbours.beside_others(session, ids[1:2]) == {ids[1]}, "other jobs count too"
        assert neighbours.beside_others(session, []) == set()
