"""Both launchers start, signal and bury trainers; the forking one also hardens them and survives its template."""

import errno
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from worker import frames
from worker.keeper import Keeper
from worker.launcher import Exited, Forked, Launcher, LauncherDied, LaunchEvent, LaunchOrder, NotReady
from worker.spawn_launcher import SpawnLauncher

SMALL = "tests.worker_processes.small_trainer"


class Started:
    """One launched trainer as a supervisor sees it."""

    def __init__(self, launcher: Launcher, folder: Path, *, filtered: bool = True, **order: Any) -> None:
        self.events: queue.SimpleQueue[LaunchEvent] = queue.SimpleQueue()
        self.up, up = os.pipe()
        down, self.down = os.pipe()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        frames.send(self.down, "work", **order)
        try:
            self.token = launcher.launch(
                LaunchOrder(folder=folder, up=up, down=down, log=log, threads=2, filtered=filtered),
                notify=self.events.put,
            )
        finally:
            for fd in (up, down, log):
                os.close(fd)

    def event(self, timeout_s: float = 20) -> LaunchEvent:
        return self.events.get(timeout=timeout_s)

    def frame(self) -> frames.Frame:
        frame = frames.read(self.up)
        assert frame is not None
        return frame

    def close(self) -> None:
        os.close(self.up)
        os.close(self.down)


@pytest.fixture(scope="module", params=[Keeper, SpawnLauncher])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    made: Launcher = request.param(trainer=SMALL)
    made.start()
    assert made.wait_ready(30)
    yield made
    made.close()


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper(trainer=SMALL)
    made.start()
    assert made.wait_ready(30)
    yield made
    made.close()


def test_trainer_stands_alone_in_its_folder(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERPROP_DATABASE_URL", "postgresql://somebody:secret@database")
    trainer = Started(launcher, tmp_path, act="leave", code=7)
    forked = trainer.event()
    started = trainer.frame()
    assert started.fields["what"] | {"descriptors": 0} == {
        "leads_its_session": True,
        "terminates_by_default": True,
        "folder": str(tmp_path),
        "threads": "2",
        "descriptors": 0,
    }
    # 0, 1, 2, up, down, and the listing itself
    assert started.fields["what"]["descriptors"] == 6
    assert not [name for name in started.fields["environment"] if name.startswith("AFTERPROP")]
    assert forked == Forked(started.fields["pid"])
    exited = trainer.event()
    assert isinstance(exited, Exited) and exited.code == 7 and exited.max_rss_kb > 0
    assert frames.read(trainer.up) is None
    trainer.close()


def test_termination_signal_ends_a_waiting_trainer(launcher: Launcher, tmp_path: Path) -> None:
    trainer = Started(launcher, tmp_path, act="wait_for_a_signal")
    trainer.event()
    trainer.frame()
    launcher.signal(trainer.token, signal.SIGTERM)
    exited = trainer.event()
    assert isinstance(exited, Exited) and exited.code == -signal.SIGTERM
    launcher.signal(trainer.token, signal.SIGKILL)  # nothing is left to signal, and nothing happens
    trainer.close()


def test_stopped_trainer_dies_by_kill(launcher: Launcher, tmp_path: Path) -> None:
    trainer = Started(launcher, tmp_path, act="ignore_everything")
    forked = trainer.event()
    trainer.frame()
    assert isinstance(forked, Forked)
    os.kill(forked.pid, signal.SIGSTOP)
    _wait_until(lambda: psutil.Process(forked.pid).status() == psutil.STATUS_STOPPED)
    launcher.signal(trainer.token, signal.SIGTERM)
    with pytest.raises(queue.Empty):
        trainer.event(0.3)
    launcher.signal(trainer.token, signal.SIGKILL)
    exited = trainer.event(2)
    assert isinstance(exited, Exited) and exited.code == -signal.SIGKILL
    trainer.close()


def test_trainer_ends_when_the_worker_closes_its_pipe(launcher: Launcher, tmp_path: Path) -> None:
    trainer = Started(launcher, tmp_path, act="wait_for_a_signal")
    trainer.event()
    trainer.frame()
    os.close(trainer.down)
    exited = trainer.event()
    assert isinstance(exited, Exited) and exited.code == 3
    os.close(trainer.up)


def test_many_trainers_leave_no_descriptor_and_no_zombie(keeper: Keeper, tmp_path: Path) -> None:
    own = psutil.Process()
    template = psutil.Process(keeper.template_pid)
    _wait_until(lambda: len(template.children()) == 1)  # the spare
    before = own.num_fds(), template.num_fds()
    for number in range(20):
        trainer = Started(keeper, tmp_path, act="leave", code=0)
        assert isinstance(trainer.event(), Forked)
        assert isinstance(trainer.event(), Exited)
        trainer.close()
        time.sleep(0.06 * (number % 2))  # with and without a moment in which a spare is forked
    _wait_until(lambda: len(template.children()) == 1)
    assert (own.num_fds(), template.num_fds()) == before
    assert [child.status() for child in template.children()] != [psutil.STATUS_ZOMBIE]


def test_order_goes_to_the_spare(keeper: Keeper, tmp_path: Path) -> None:
    template = psutil.Process(keeper.template_pid)
    _wait_until(lambda: len(template.children()) == 1)
    (spare,) = template.children()
    trainer = Started(keeper, tmp_path, act="leave", code=5)
    assert trainer.event() == Forked(spare.pid)
    exited = trainer.event()
    assert isinstance(exited, Exited) and exited.code == 5
    trainer.close()


def test_dead_spare_is_replaced(keeper: Keeper, tmp_path: Path) -> None:
    template = psutil.Process(keeper.template_pid)
    _wait_until(lambda: len(template.children()) == 1)
    (spare,) = template.children()
    spare.kill()
    _wait_until(lambda: template.children() not in ([], [spare]))
    trainer = Started(keeper, tmp_path, act="leave", code=0)
    assert isinstance(trainer.event(), Forked)
    assert isinstance(trainer.event(), Exited)
    trainer.close()


def test_filter_refuses_network_and_processes(keeper: Keeper, tmp_path: Path) -> None:
    trainer = Started(keeper, tmp_path, act="attempt_escape")
    trainer.frame()
    tried = trainer.frame().fields
    allowed = {"thread", "socketpair"}
    assert tried["refused"] == {name: errno.EPERM for name in tried["tried"] if name not in allowed}
    trainer.close()


def test_grandchild_in_its_own_session_dies_with_its_trainer(keeper: Keeper, tmp_path: Path) -> None:
    trainer = Started(keeper, tmp_path, filtered=False, act="leave_a_grandchild")
    trainer.frame()
    grandchild = trainer.frame().fields["grandchild"]
    trainer.event()
    trainer.event()
    assert frames.read(trainer.up) is None  # nobody holds the pipe any more
    _wait_until(lambda: not psutil.pid_exists(grandchild))
    trainer.close()


def test_death_of_the_template_is_told_and_the_next_one_serves(keeper: Keeper, tmp_path: Path) -> None:
    trainers = [Started(keeper, tmp_path, act="ignore_everything") for _ in range(2)]
    pids = [trainer.event() for trainer in trainers]
    for trainer in trainers:
        trainer.frame()
    _wait_until(lambda: len(psutil.Process(keeper.template_pid).children()) == 3)  # both, and a spare
    template = keeper.template_pid
    assert template is not None
    os.kill(template, signal.SIGKILL)
    for trainer in trainers:
        died = trainer.event()
        assert isinstance(died, LauncherDied) and died.exited is not None
        assert died.exited.code == -signal.SIGKILL and died.exited.max_rss_kb > 0
        trainer.close()
    assert not any(psutil.pid_exists(forked.pid) for forked in pids if isinstance(forked, Forked))
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    _wait_until(lambda: keeper.template_pid not in (None, template))
    again = Started(keeper, tmp_path, act="leave", code=0)
    assert isinstance(again.event(), Forked)
    again.close()


def test_frozen_template_is_noticed_and_replaced(keeper: Keeper, tmp_path: Path) -> None:
    trainer = Started(keeper, tmp_path, act="ignore_everything")
    trainer.event()
    template = keeper.template_pid
    assert template is not None
    os.kill(template, signal.SIGSTOP)
    unborn = Started(keeper, tmp_path, act="leave", code=0)
    keeper.signal(trainer.token, signal.SIGKILL)
    _wait_until(lambda: keeper.is_dead(trainer.token))
    assert trainer.events.empty()
    keeper.replace()
    died = trainer.event()
    assert isinstance(died, LauncherDied) and died.exited is not None
    assert unborn.event() == LauncherDied(None)
    trainer.close()
    unborn.close()


def test_trainers_die_with_the_launcher(keeper: Keeper, tmp_path: Path) -> None:
    trainer = Started(keeper, tmp_path, act="ignore_everything")
    forked = trainer.event()
    assert isinstance(forked, Forked)
    keeper.close()
    _wait_until(lambda: not psutil.pid_exists(forked.pid))
    with pytest.raises(NotReady):
        Started(keeper, tmp_path, act="leave", code=0)


def test_template_with_a_second_thread_is_refused(tmp_path: Path) -> None:
    threaded = Keeper(trainer="tests.worker_processes.threaded_trainer")
    threaded.start()
    assert not threaded.wait_ready(2)
    threaded.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "keeper"]


def _wait_until(holds: Any, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
