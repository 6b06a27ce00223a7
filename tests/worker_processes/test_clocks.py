"""Deadlines of a trainer, without one: what is due depends on nothing but what happened when."""

from dataclasses import replace

import pytest

from store.settings import Settings
from worker.clocks import FORK_WITHIN_S, KILL_AGAIN_S, REPORT_DEATH_WITHIN_S, Clocks, Demand, Sight

SETTINGS = Settings(cancel_grace_s=2, stop_grace_s=20, stall_s=600, first_step_s=1800)
AT_START = Sight(now=0.0, boottime=0.0, lease_until=1e9, moved_at=0.0, stepped=True, dead=False)


def clocks(*, forked: bool = True, max_runtime_s: float = 1e9) -> Clocks:
    made = Clocks(SETTINGS, max_runtime_s=max_runtime_s, now=0.0)
    if forked:
        made.forked()
    return made


def at(now: float, **seen: float | bool) -> Sight:
    return replace(AT_START, **{"now": now, "moved_at": now, **seen})


def test_nothing_is_due_while_it_trains() -> None:
    assert clocks().due(at(5.0)) == []


def test_cancel_terminates_then_kills() -> None:
    made = clocks()
    made.cancel()
    assert made.due(at(1.0)) == [Demand.TERMINATE]
    assert made.due(at(1.0 + SETTINGS.cancel_grace_s)) == []
    assert made.due(at(1.1 + SETTINGS.cancel_grace_s)) == [Demand.KILL]


def test_cancel_waits_for_the_fork() -> None:
    made = clocks(forked=False)
    made.cancel()
    assert made.due(at(1.0)) == []
    made.forked()
    assert made.due(at(1.1)) == [Demand.TERMINATE]


@pytest.mark.parametrize("reason", ["pause", "preempt"])
def test_stop_asks_once_then_kills(reason: str) -> None:
    made = clocks()
    made.stop(reason)  # type: ignore[arg-type]
    assert made.due(at(1.0)) == [Demand.ASK_TO_STOP]
    assert made.due(at(20.9)) == []
    assert made.due(at(21.1)) == [Demand.KILL]
    assert made.cause is None and made.killed


def test_cancel_overtakes_a_pause() -> None:
    made = clocks()
    made.stop("pause")
    made.due(at(1.0))
    made.cancel()
    assert made.due(at(1.1)) == [Demand.TERMINATE]


def test_time_limit_asks_to_stop() -> None:
    made = clocks(max_runtime_s=10)
    assert made.due(at(10.0)) == []
    assert made.due(at(10.1)) == [Demand.ASK_TO_STOP]
    assert made.stop_reason == "time_limit"


@pytest.mark.parametrize(("stepped", "allowed"), [(True, 600.0), (False, 1800.0)])
def test_no_step_is_a_stall(stepped: bool, allowed: float) -> None:
    made = clocks()
    assert made.due(at(allowed, moved_at=0.0, stepped=stepped)) == []
    assert made.due(at(allowed + 0.1, moved_at=0.0, stepped=stepped)) == [Demand.KILL]
    assert made.cause is not None and made.cause.charge and made.cause.code == "stalled"


def test_passed_lease_kills_without_a_charge() -> None:
    made = clocks()
    assert made.due(at(5.0, boottime=7.0, lease_until=7.0)) == []
    assert made.due(at(5.1, boottime=7.1, lease_until=7.0)) == [Demand.KILL]
    assert made.cause is not None and not made.cause.charge


def test_kill_is_repeated_until_it_works() -> None:
    made = clocks()
    late = {"boottime": 8.0, "lease_until": 7.0}
    assert made.due(at(1.0, **late)) == [Demand.KILL]
    assert made.due(at(1.0 + KILL_AGAIN_S / 2, **late)) == []
    assert made.due(at(1.0 + KILL_AGAIN_S, **late)) == [Demand.KILL]


def test_unreported_death_replaces_the_launcher_once() -> None:
    made = clocks()
    assert made.due(at(1.0, dead=True)) == []
    assert made.due(at(1.1 + REPORT_DEATH_WITHIN_S, dead=True)) == [Demand.REPLACE_LAUNCHER]
    assert made.due(at(9.0, dead=True)) == []


def test_fork_that_never_comes_replaces_the_launcher() -> None:
    made = clocks(forked=False)
    assert made.due(at(FORK_WITHIN_S)) == []
    assert made.due(at(FORK_WITHIN_S + 0.1)) == [Demand.REPLACE_LAUNCHER]
