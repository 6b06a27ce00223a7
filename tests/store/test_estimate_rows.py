"""Questions of what a job needs: each is answered once, by one worker, and asked once for as long as it is fresh."""

from sqlalchemy import update

from store import estimates
from store.database import Database, now_s
from store.estimate_tables import EstimateRequest

SPEC = {"name": "one", "network": {"kind": "mlp"}, "resources": {"device": "cpu"}}
ANSWER = {"fits": True}
BROKEN = {"error": {"kind": "crashed", "fault": "system", "message": "it died"}}


def asked(database: Database, spec: dict[str, object], resource_class: str = "cpu") -> str:
    with database.writing.begin() as session:
        return estimates.ask(session, spec, resource_class=resource_class)


def taken(database: Database, worker: str, *classes: str) -> str | None:
    with database.writing.begin() as session:
        row = estimates.take(session, worker, classes=classes or ("cpu",))
        return None if row is None else row.id


def answered(database: Database, estimate_id: str, answer: dict[str, object]) -> None:
    with database.writing.begin() as session:
        estimates.write_answer(session, estimate_id, answer)


def test_question_is_taken_by_one_worker_of_its_class(database: Database) -> None:
    first = asked(database, SPEC)
    assert taken(database, "wrk_1", "gpu") is None
    assert taken(database, "wrk_1") == first
    assert taken(database, "wrk_2") is None


def test_same_job_under_another_name_is_asked_once_while_the_answer_is_fresh(database: Database) -> None:
    first = asked(database, SPEC)
    assert asked(database, {**SPEC, "name": "two"}) == first
    answered(database, first, ANSWER)
    assert asked(database, SPEC) == first
    assert asked(database, {**SPEC, "network": {"kind": "cnn"}}) != first
    with database.writing.begin() as session:
        session.execute(update(EstimateRequest).values(created_at=now_s() - estimates.FRESH_S - 1))
    assert asked(database, SPEC) != first


def test_failed_estimate_is_asked_again(database: Database) -> None:
    first = asked(database, SPEC)
    answered(database, first, BROKEN)
    assert asked(database, SPEC) != first


def test_question_of_a_worker_that_died_is_taken_by_another_and_answered_once(database: Database) -> None:
    first = asked(database, SPEC)
    assert taken(database, "wrk_1") == first
    with database.writing.begin() as session:
        session.execute(update(EstimateRequest).values(taken_at=now_s() - estimates.TAKEN_S - 1))
    assert taken(database, "wrk_2") == first
    answered(database, first, ANSWER)
    answered(database, first, {"fits": False})
    with database.reading() as session:
        assert estimates.answer(session, first) == ANSWER
    assert taken(database, "wrk_1") is None


def test_job_finds_what_was_said_before_it_and_nothing_stays_for_ever(database: Database) -> None:
    first = asked(database, SPEC)
    answered(database, first, ANSWER)
    with database.reading() as session:
        row = session.get_one(EstimateRequest, first)
        assert estimates.of_spec(session, SPEC, before=row.created_at + 1) == ANSWER
        assert estimates.of_spec(session, SPEC, before=row.created_at - 1) is None
        assert estimates.of_spec(session, {**SPEC, "network": {}}, before=row.created_at + 1) is None
    with database.writing.begin() as session:
        session.execute(update(EstimateRequest).values(created_at=now_s() - estimates.KEPT_S - 1))
        estimates.forget(session)
    with database.reading() as session:
        assert estimates.answer(session, first) is None
