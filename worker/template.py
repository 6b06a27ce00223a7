"""The process that has imported and warmed up everything, and forks a trainer for each attempt.

``python -m worker.template PARENT CONTROL MODULE``. It has one thread and never touches CUDA, so a fork of it is
safe and costs ten milliseconds instead of three seconds. CONTROL is a SOCK_SEQPACKET socket to the keeper; one
packet is one JSON object:

    -> fork    token, folder, threads, filtered  + descriptors up, down, log
    -> kill    token, signal                     to the trainer's group
    <- ready   pid, warm_s, threads    | refused  reason
    <- forked  token, pid                        + pidfd
    <- exited  token, pid, code, cpu_s, max_rss_kb
    <- spare   pid                                        or null: it died unused

In a quiet moment it forks a spare: a trainer without an order, which warms its own copy of the memory up and waits.
The next order then costs neither the fork nor the first touch of every page.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from worker import leash, trainer_process

MAX_PACKET_BYTES = 1 << 16
SPARE_AFTER_MS = 50


@dataclass(frozen=True)
class _Spare:
    """A trainer that waits for its order."""

    pid: int
    orders: socket.socket


class Template:
    """The parent of all trainers of one worker."""

    def __init__(self, control: socket.socket, module: str) -> None:
        self._control = control
        self._module = module
        self._tokens: dict[int, int] = {}  # by the pid of a trainer that is not reaped yet
        self._spare: _Spare | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Warm up, then fork and reap until the keeper closes the socket."""
        before = time.monotonic()
        trainer = import_module(self._module)
        trainer.warm_up()
        gc.collect()
        gc.freeze()
        threads = leash.count_threads()
        if threads != 1:  # a fork would copy their locks without their owners
            self._tell(type="refused", reason=f"{threads} threads after the warm-up")
            return
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._tell(type="ready", pid=os.getpid(), warm_s=time.monotonic() - before, threads=threads)
        self._loop()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(SPARE_AFTER_MS if self._spare is None else None)}
            if not ready:
                self._fork_spare()
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        for pid in self._tokens:
            _kill_group(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        """Take one order; False at the end of the socket."""
        packet, fds, _, _ = socket.recv_fds(self._control, MAX_PACKET_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        if not packet:
            return False
        order = json.loads(packet)
        if order["type"] == "fork":
            self._fork(order, fds)
        else:
            for pid, token in self._tokens.items():
                if token == order["token"]:
                    _kill_group(pid, order["signal"])
        return True

    def _fork(self, order: dict[str, Any], fds: list[int]) -> None:
        pid = self._hand_to_spare(order, fds)
        if pid is None:
            pid = self._fork_and(lambda: trainer_process.run(**self._arguments(order, fds)))
        self._tokens[pid] = order["token"]
        for fd in fds:  # the trainer is the only holder: its end is the end of its pipes
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._tell(type="forked", token=order["token"], pid=pid, fds=[pidfd])
        os.close(pidfd)

    def _fork_spare(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = self._fork_and(lambda: self._wait_as_spare(ours, theirs))
        self._spare = _Spare(pid, ours)
        self._tell(type="spare", pid=pid)

    def _hand_to_spare(self, order: dict[str, Any], fds: list[int]) -> int | None:
        """The pid of the spare that took the order, or None where there is none."""
        if self._spare is None:
            return None
        spare, self._spare = self._spare, None
        with spare.orders:
            try:
                socket.send_fds(spare.orders, [json.dumps(order).encode()], fds)
            except OSError:
                return None
        return spare.pid

    def _wait_as_spare(self, template_end: socket.socket, orders: socket.socket) -> NoReturn:
        """Runs in the spare."""
        template_end.close()  # so that the template's death is the end of the socket
        if not select.select([orders], [], [], SPARE_AFTER_MS / 1000)[0]:
            import_module(self._module).warm_up()
        packet, fds, _, _ = socket.recv_fds(orders, MAX_PACKET_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        orders.close()
        if not packet:
            os._exit(0)
        trainer_process.run(**self._arguments(json.loads(packet), fds))

    def _fork_and(self, live: Callable[[], NoReturn]) -> int:
        """Fork a process that stands alone and lives so; its pid."""
        # A TERM that came between fork and SIG_DFL would meet this process's SIG_IGN and be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        own_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                self._control.close()
                os.close(self._wake_read)
                os.close(self._wake_write)
                trainer_process.stand_alone(own_pid)
                live()
            except Exception:  # the outer door of a process: its end is its exit code, and the log says why
                traceback.print_exc()
            finally:
                os._exit(trainer_process.CRASHED)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return pid

    def _arguments(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        up, down, log = fds
        asked = {name: order[name] for name in ("folder", "threads", "filtered")}
        return {"module": self._module, "up": up, "down": down, "log": log, **asked}

    def _reap(self) -> None:
        while (pid := _ended_child()) is not None:
            if pid in self._tokens:  # its zombie still holds the number, so the group is surely its own
                _kill_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            if self._spare is not None and pid == self._spare.pid:
                self._spare.orders.close()
                self._spare = None
                self._tell(type="spare", pid=None)
            token = self._tokens.pop(pid, None)
            if token is not None:
                self._tell(
                    type="exited",
                    token=token,
                    pid=pid,
                    code=os.waitstatus_to_exitcode(status),
                    cpu_s=usage.ru_utime + usage.ru_stime,
                    max_rss_kb=usage.ru_maxrss,
                )
        known = self._tokens.keys() | ({self._spare.pid} if self._spare is not None else set())
        for orphan in set(leash.children()) - known:
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)

    def _tell(self, *, fds: list[int] | None = None, **message: Any) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], fds or [])
        except (BrokenPipeError, ConnectionResetError):
            sys.exit(1)  # the keeper is gone; PDEATHSIG takes the trainers


def _ended_child() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


def _kill_group(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)
    with suppress(ProcessLookupError):  # it may not lead its group yet
        os.kill(pid, signum)


def main() -> None:
    """Serve the keeper, whose process id and socket are the arguments."""
    parent, control, module = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    leash.die_with_parent(parent)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leash.adopt_orphans()
    with socket.socket(fileno=control) as endpoint:
        os.set_inheritable(control, False)
        Template(endpoint, module).serve()


if __name__ == "__main__":
    main()
