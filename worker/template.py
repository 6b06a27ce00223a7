"""The process that has imported and warmed up everything, and forks a trainer for each attempt.

``python -m worker.template PARENT CONTROL MODULE``. It has one thread and never touches CUDA, so a fork of it is
safe and costs ten milliseconds instead of three seconds. CONTROL is a SOCK_SEQPACKET socket to the keeper; one
packet is one JSON object:

    -> fork    token, folder, threads, filtered  + descriptors up, down, log
    -> kill    token, signal                     to the trainer's group
    <- ready   pid, warm_s, threads    | refused  reason
    <- forked  token, pid                        + pidfd
    <- exited  token, pid, code, cpu_s, max_rss_kb
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from worker import leash, trainer_process

MAX_PACKET_BYTES = 1 << 16


class Template:
    """The parent of all trainers of one worker."""

    def __init__(self, control: socket.socket, module: str) -> None:
        self._control = control
        self._module = module
        self._tokens: dict[int, int] = {}  # by the pid of a trainer that is not reaped yet
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
            ready = {fd for fd, _ in poll.poll()}
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
        # A TERM that came between fork and SIG_DFL would meet this process's SIG_IGN and be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        own_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_trainer(order, fds, own_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._tokens[pid] = order["token"]
        for fd in fds:  # the trainer is the only holder: its end is the end of its pipes
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._tell(type="forked", token=order["token"], pid=pid, fds=[pidfd])
        os.close(pidfd)

    def _become_trainer(self, order: dict[str, Any], fds: list[int], parent: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        trainer_process.run(
            self._module,
            up=fds[0],
            down=fds[1],
            log=fds[2],
            folder=order["folder"],
            threads=order["threads"],
            filtered=order["filtered"],
            parent=parent,
        )

    def _reap(self) -> None:
        while (pid := _ended_child()) is not None:
            if pid in self._tokens:  # its zombie still holds the number, so the group is surely its own
                _kill_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
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
        for orphan in set(leash.children()) - self._tokens.keys():
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
