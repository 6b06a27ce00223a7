"""The system calls that a trainer may not make: no network, no processes of its own, no look into others.

A BPF program of the kernel's seccomp, installed by prctl; no package is needed. What follows from it: a trainer
has no DataLoader workers, no compiler and no subprocess. ``clone3`` answers ENOSYS, so that the C library falls
back to ``clone``, whose flags a filter can read: threads stay allowed.
"""

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass
from typing import Final

from worker.leash import LINUX, prctl

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_CLONE_THREAD: Final = 0x00010000

# Offsets in struct seccomp_data; the low half of the first argument on a little-endian machine.
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16

# Instruction classes and modes of linux/bpf_common.h, already combined.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_REFUSE: Final = 0x00050000 | errno.EPERM
_UNKNOWN_CALL: Final = 0x00050000 | errno.ENOSYS


@dataclass(frozen=True)
class Architecture:
    """The numbers of one machine: its audit name, its forbidden calls, the two clones."""

    audit: int
    forbidden: dict[str, int]
    clone: int
    clone3: int = 435
    x32_from: int | None = None


_EVERYWHERE: Final = {"io_uring_setup": 425, "pidfd_getfd": 438}
# fmt: off
ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000003E, clone=56, x32_from=0x40000000,
        forbidden={
            "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288,
            "fork": 57, "vfork": 58, "ptrace": 101, "setpgid": 109, "setsid": 112,
            "process_vm_readv": 310, "process_vm_writev": 311, **_EVERYWHERE,
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7, clone=220,
        forbidden={
            "socket": 198, "bind": 200, "listen": 201, "accept": 202, "connect": 203, "accept4": 242,
            "ptrace": 117, "setpgid": 154, "setsid": 157,
            "process_vm_readv": 270, "process_vm_writev": 271, **_EVERYWHERE,
        },
    ),
}
# fmt: on


def unavailable() -> str | None:
    """Why the filter cannot be installed here, or None."""
    if not LINUX:
        return "seccomp is a Linux feature"
    if platform.machine() not in ARCHITECTURES:
        return f"no system call table for {platform.machine()}"
    return None


def install() -> None:
    """Install the filter in the calling thread and everything it will create; it cannot be taken off."""
    program = _program(ARCHITECTURES[platform.machine()])
    instructions = ctypes.create_string_buffer(program, len(program))
    header = _Header(len(program) // 8, ctypes.addressof(instructions))
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


class _Header(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _program(machine: Architecture) -> bytes:
    parts = [
        _instruction(_LOAD, _ARCH),
        _instruction(_JUMP_EQUAL, machine.audit, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
    ]
    if machine.x32_from is not None:
        parts += [_instruction(_JUMP_AT_LEAST, machine.x32_from, if_false=1), _instruction(_RETURN, _REFUSE)]
    parts += [_instruction(_JUMP_EQUAL, machine.clone3, if_false=1), _instruction(_RETURN, _UNKNOWN_CALL)]
    for number in machine.forbidden.values():
        parts += [_instruction(_JUMP_EQUAL, number, if_false=1), _instruction(_RETURN, _REFUSE)]
    parts += [
        _instruction(_JUMP_EQUAL, machine.clone, if_false=3),
        _instruction(_LOAD, _FIRST_ARGUMENT),
        _instruction(_JUMP_ANY_BIT, _CLONE_THREAD, if_true=1),
        _instruction(_RETURN, _REFUSE),
        _instruction(_RETURN, _ALLOW),
    ]
    return b"".join(parts)


def _instruction(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
