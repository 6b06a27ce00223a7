"""The database goes away in the middle of a job: within the lease nobody notices, beyond it nobody is charged."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from tests.job_life.floor import LEASE_S, Floor, digits_job, wait_until
from tests.job_life.test_deaths import finished_as_if_undisturbed

pytestmark = pytest.mark.slow

on_postgresql = pytest.mark.parametrize("floor", ["postgresql-fork"], indirect=True)


@contextmanager
def locked(floor: Floor) -> Iterator[None]:
    """Nobody else can write to the SQLite file inside this block."""
    with floor.database.writing.begin() as session:
        session.execute(text("select 1"))
        yield


@contextmanager
def frozen(floor: Floor) -> Iterator[None]:
    """Every process of the PostgreSQL server stands still inside this block."""
    with floor.database.reading() as session:
        folder = session.execute(text("show data_directory")).scalar_one()
    with open(f"{folder}/postmaster.pid") as file:  # noqa: PTH123 - the server's folder is readable, its parents may not be
        postmaster = psutil.Process(int(file.readline()))
    floor.database.dispose()
    servers = [postmaster, *postmaster.children(recursive=True)]
    for server in servers:
        server.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            if server.is_running():
                server.send_signal(signal.SIGCONT)


def test_locked_within_the_lease_disturbs_nothing(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    for _ in range(2):
        with locked(floor):
            time.sleep(LEASE_S / 2)
        time.sleep(LEASE_S / 3)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=False)
    assert len(floor.attempts(job_id)) == 1


def test_locked_beyond_the_lease_stops_and_resumes_uncharged(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    trainer = psutil.Process(floor.trainer_pid(job_id))
    with locked(floor):
        wait_until(lambda: not trainer.is_running(), 2 * LEASE_S)
        time.sleep(LEASE_S)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    assert floor.job(job_id).charged_attempts == 0
    assert floor.attempts(job_id)[0].exit_cause == "lease_lost"


@on_postgresql
def test_connections_that_are_cut_again_and_again_disturb_nothing(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(1)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    cut = text(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where pid <> pg_backend_pid() and datname = current_database()"
    )
    over = threading.Event()

    def go_on_cutting() -> None:
        with floor.database.engine.connect() as connection:
            while not over.wait(0.3):
                connection.execute(cut)
                connection.commit()

    cutter = threading.Thread(target=go_on_cutting)
    cutter.start()
    time.sleep(3)
    over.set()
    cutter.join()
    floor.database.dispose()
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=False)
    assert len(floor.attempts(job_id)) == 1


@on_postgresql
def test_frozen_server_stops_and_resumes_uncharged(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    trainer = psutil.Process(floor.trainer_pid(job_id))
    with frozen(floor):
        wait_until(lambda: not trainer.is_running(), 2 * LEASE_S)
        time.sleep(LEASE_S)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    assert floor.job(job_id).charged_attempts == 0
