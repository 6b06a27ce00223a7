"""A leash: runs a command that ends when the process that started it ends, however that one ends.

    python -S leash.py PARENT_PID SIGNAL COMMAND...

On Linux the kernel sends SIGNAL when the parent's creating thread dies, and this process becomes the command.
Elsewhere this process stays, and a thread of it watches the parent.
"""

import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
WATCH_S = 0.2
PARENT_IS_GONE = 75


def become(command: list[str], *, parent: int, number: int) -> None:
    """Replace this process by the command, which the kernel signals when the parent dies."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(PARENT_IS_GONE)
    os.execvp(command[0], command)  # noqa: S606


def accompany(command: list[str], *, parent: int, number: int, inherited: tuple[int, ...]) -> int:
    """Run the command as a child, pass signals on, and signal it when the parent is gone."""
    child = subprocess.Popen(command, pass_fds=inherited)
    for passed_on in (signal.SIGTERM, signal.SIGINT):
        signal.signal(passed_on, lambda received, _frame: child.send_signal(received))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        child.send_signal(number)

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


def open_descriptors() -> tuple[int, ...]:
    """The descriptors beyond the standard three that were passed to this process."""

    def is_inheritable(descriptor: int) -> bool:
        try:
            return os.get_inheritable(descriptor)
        except OSError:
            return False

    return tuple(descriptor for descriptor in range(3, 256) if is_inheritable(descriptor))


def main(arguments: list[str]) -> int:
    parent, number, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        become(command, parent=parent, number=number)
    return accompany(command, parent=parent, number=number, inherited=open_descriptors())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
