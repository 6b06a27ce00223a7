"""A trainer without mathematics: it says what it may do, then does what its order asks."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker import frames


def warm_up() -> None:
    """Nothing to import."""


def run(up: int, down: int) -> int:
    order = frames.read(down)
    assert order is not None and order.type == "work"
    frames.send(up, "started", step=0, pid=os.getpid(), what=_what_stands(), environment=sorted(os.environ))
    act: Callable[[dict[str, Any], int, int], int] = globals()[order.fields["act"]]
    return act(order.fields, up, down)


def leave(order: dict[str, Any], up: int, down: int) -> int:
    return int(order["code"])


def attempt_escape(order: dict[str, Any], up: int, down: int) -> int:
    """Tries what the filter forbids and what it must allow."""
    tries: dict[str, Callable[[], object]] = {
        "inet socket": lambda: socket.socket(socket.AF_INET).close(),
        "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "netlink socket": lambda: socket.socket(socket.AF_NETLINK).close(),
        "fork": lambda: os.fork() or os._exit(0),
        "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "subprocess": lambda: subprocess.run(["/bin/true"], check=True),
        "setsid": os.setsid,
        "setpgid": lambda: os.setpgid(0, 0),
        "thread": lambda: threading.Thread(target=int).start(),
        "socketpair": lambda: [end.close() for end in socket.socketpair()],
    }
    refused = {}
    for name, act in tries.items():
        try:
            act()
        except OSError as error:
            refused[name] = error.errno
    frames.send(up, "event", refused=refused, tried=list(tries))
    return 0


def wait_for_a_signal(order: dict[str, Any], up: int, down: int) -> int:
    while frames.read(down) is not None:  # the end of the pipe is the end of the worker
        pass
    return 3


def ignore_everything(order: dict[str, Any], up: int, down: int) -> int:
    time.sleep(60)
    return 0


def leave_a_grandchild(order: dict[str, Any], up: int, down: int) -> int:
    """A child in a session of its own, which holds every pipe and outlives its parent."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True, pass_fds=[up, down])
    frames.send(up, "event", grandchild=child.pid)
    return 0


def _what_stands() -> dict[str, Any]:
    return {
        "leads_its_session": os.getsid(0) == os.getpid(),
        "terminates_by_default": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "folder": str(Path.cwd()),
        "threads": os.environ["OMP_NUM_THREADS"],
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), int(sys.argv[2])))
