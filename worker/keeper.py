"""The launcher that forks: one thread owns the template, and talks with it for all attempts.

One thread that never ends, because PR_SET_PDEATHSIG means the death of the creating *thread*. It starts the
template, reads its socket, buries it and starts the next.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import structlog

from worker import leash, seccomp
from worker.environment import training_environment
from worker.launcher import (
    DEFAULT_TRAINER,
    Exited,
    Forked,
    Launcher,
    LauncherDied,
    LaunchEvent,
    LaunchOrder,
    NotReady,
)
from worker.template import MAX_PACKET_BYTES

FIRST_BACK_OFF_S: Final = 0.1
LONGEST_BACK_OFF_S: Final = 30.0

_log = structlog.get_logger(__name__)


@dataclass
class _Trainer:
    notify: Callable[[LaunchEvent], None]
    pid: int | None = None
    pidfd: int | None = None


@dataclass
class _Generation:
    """One template process and the trainers it forked."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    ready: bool = False
    spare: int | None = None
    trainers: dict[int, _Trainer] = field(default_factory=dict)


class Keeper(Launcher):
    """Forks trainers from a warm template, which it keeps alive."""

    def __init__(self, *, trainer: str = DEFAULT_TRAINER) -> None:
        self._trainer = trainer
        self._tokens = count(1)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._generation: _Generation | None = None
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        leash.adopt_orphans()  # so that a trainer whose template died can still be waited for
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> bool:
        return self._ready.wait(timeout_s)

    def launch(self, order: LaunchOrder, *, notify: Callable[[LaunchEvent], None]) -> int:
        token = next(self._tokens)
        message = {
            "type": "fork",
            "token": token,
            "folder": str(order.folder),
            "threads": order.threads,
            "filtered": order.filtered and seccomp.unavailable() is None,
        }
        with self._lock:
            generation = self._generation
            if generation is None or not generation.ready:
                raise NotReady("the template is not warm yet")
            generation.trainers[token] = _Trainer(notify)
            try:
                _send(generation, message, [order.up, order.down, order.log])
            except OSError as error:
                del generation.trainers[token]
                raise NotReady(f"the template does not listen: {error}") from None
        return token

    def signal(self, token: int, signum: int) -> None:
        with self._lock:
            generation, trainer = self._find(token)
            if generation is None or trainer is None:
                return
            if signum == signal.SIGKILL and trainer.pidfd is not None:  # works beside a frozen template too
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(trainer.pidfd, signum)
            with suppress(OSError):
                _send(generation, {"type": "kill", "token": token, "signal": signum})

    def is_dead(self, token: int) -> bool:
        with self._lock:
            _, trainer = self._find(token)
            if trainer is None or trainer.pidfd is None:
                return False
            return _is_dead(trainer.pidfd)

    def replace(self) -> None:
        with self._lock:
            if self._generation is not None:
                self._generation.process.kill()

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._generation is not None:
                with suppress(OSError):
                    self._generation.control.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)

    def describe(self) -> dict[str, Any]:
        missing = seccomp.unavailable()
        return {
            "kind": "fork",
            "seccomp": {"cpu": missing is None, "cuda": False},
            "reason": missing or "the filter is left off for cuda until it was tried on a GPU",
        }

    @property
    def template_pid(self) -> int | None:
        """The template that is ready now; tests kill it."""
        generation = self._generation
        return generation.process.pid if generation is not None and generation.ready else None

    def _find(self, token: int) -> tuple[_Generation | None, _Trainer | None]:
        generation = self._generation
        return generation, None if generation is None else generation.trainers.get(token)

    def _run(self) -> None:
        back_off_s = FIRST_BACK_OFF_S
        while not self._closing.is_set():
            generation = self._start_template()
            was_ready = self._serve(generation)
            self._ready.clear()
            self._bury(generation)
            back_off_s = FIRST_BACK_OFF_S if was_ready else min(2 * back_off_s, LONGEST_BACK_OFF_S)
            if not self._closing.is_set():
                _log.warning("template_died", code=generation.process.returncode, again_in_s=back_off_s)
                self._closing.wait(back_off_s)

    def _start_template(self) -> _Generation:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.template", str(os.getpid()), str(theirs.fileno()), self._trainer],
                pass_fds=[theirs.fileno()],
                env=training_environment(),
                stdin=subprocess.DEVNULL,
                cwd="/",
            )
        generation = _Generation(process, ours)
        with self._lock:
            self._generation = generation
        if self._closing.is_set():
            ours.shutdown(socket.SHUT_RDWR)
        return generation

    def _serve(self, generation: _Generation) -> bool:
        """Hand what the template says to the attempts, until it ends; whether it was ever ready."""
        while True:
            try:
                packet, fds, _, _ = socket.recv_fds(generation.control, MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                packet, fds = b"", []
            if not packet:
                return generation.ready
            self._hear(generation, json.loads(packet), fds)

    def _hear(self, generation: _Generation, message: dict[str, Any], fds: list[int]) -> None:
        if message["type"] == "ready":
            generation.ready = True
            self._ready.set()
            _log.info("template_ready", pid=message["pid"], warm_s=round(message["warm_s"], 2))
        elif message["type"] == "refused":
            _log.error("template_refused", reason=message["reason"])
        elif message["type"] == "spare":
            generation.spare = message["pid"]
        elif message["type"] == "forked":
            if message["pid"] == generation.spare:
                generation.spare = None
            trainer = generation.trainers[message["token"]]
            with self._lock:
                trainer.pid, trainer.pidfd = message["pid"], fds[0]
            trainer.notify(Forked(message["pid"]))
        else:
            with self._lock:
                trainer = generation.trainers.pop(message["token"])
                _close_pidfd(trainer)
            trainer.notify(Exited(message["code"], message["cpu_s"], message["max_rss_kb"]))

    def _bury(self, generation: _Generation) -> None:
        generation.process.kill()
        generation.process.wait()
        with self._lock:
            self._generation = None
            left = list(generation.trainers.values())
            generation.trainers.clear()
            generation.control.close()
        if generation.spare is not None:  # this process adopted it; its leash kills it
            with suppress(ChildProcessError):
                os.waitpid(generation.spare, 0)
        for trainer in left:
            exited = None if trainer.pid is None else _reap_adopted(trainer.pid, trainer.pidfd)
            _close_pidfd(trainer)
            trainer.notify(LauncherDied(exited))


def _send(generation: _Generation, message: dict[str, Any], fds: list[int] | None = None) -> None:
    # Never waits: a template that does not empty its socket is frozen, and its callers keep clocks.
    socket.send_fds(generation.control, [json.dumps(message).encode()], fds or [], socket.MSG_DONTWAIT)


def _is_dead(pidfd: int) -> bool:
    """A pidfd is readable once its process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _close_pidfd(trainer: _Trainer) -> None:
    if trainer.pidfd is not None:
        os.close(trainer.pidfd)
        trainer.pidfd = None


def _reap_adopted(pid: int, pidfd: int | None) -> Exited:
    """The end of a trainer whose template died: this process adopted it, if the template had not reaped it."""
    lost = Exited(code=-signal.SIGKILL, cpu_s=0.0, max_rss_kb=0)
    if pidfd is None:
        return lost
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return lost
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return Exited(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
