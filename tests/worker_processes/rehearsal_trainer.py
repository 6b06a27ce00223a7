"""A trainer that plays the part its job's name asks for: the frames are real, the mathematics is not there."""

import hashlib
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from worker import frames
from worker.frames import Frame


def warm_up() -> None:
    """Nothing to import."""


def run(up: int, down: int) -> int:
    order = frames.read(down)
    assert order is not None and order.type == "work"
    part = order.fields["spec"]["name"].replace("-", "_")
    play: Callable[[Frame, int, int], int] = globals()[f"play_{part}"]
    return play(order, up, down)


def play_complete(order: Frame, up: int, down: int) -> int:
    """Ten steps with a series, a checkpoint, an odd number and a result."""
    _start(order, up)
    for step in range(1, 11):
        _report(up, step)
    frames.send(up, "event", event="evaluation", detail={"loss": float("nan"), "note": "a\0b"})
    _checkpoint(up, 10)
    print("trained")
    weights = Path("weights.safetensors")
    weights.write_bytes(b"weights")
    frames.send(
        up,
        "result",
        step=10,
        metrics={"test": {"loss": 0.5, "accuracy": float("inf")}},
        cost={"wall_s": 1.0},
        artifacts={"weights.safetensors": str(weights)},
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    return 0


def play_go_on(order: Frame, up: int, down: int) -> int:
    """Steps until asked to stop; then a checkpoint."""
    step = _start(order, up)
    for frame in _mail(down):
        if frame is not None and frame.type == "stop":
            _checkpoint(up, step)
            frames.send(up, "stopped", reason=frame.fields["reason"], step=step)
            return 0
        step += 1
        _report(up, step)
    return 0


def play_deaf(order: Frame, up: int, down: int) -> int:
    """Steps, and does not listen."""
    step = _start(order, up)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        step += 1
        _report(up, step)
        time.sleep(0.02)


def play_stall(order: Frame, up: int, down: int) -> int:
    """One step and no more, though every lease is read."""
    _start(order, up)
    _report(up, 1)
    for _ in _mail(down):
        pass
    return 0


def play_die(order: Frame, up: int, down: int) -> int:
    _start(order, up)
    _report(up, 1)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def play_garbage(order: Frame, up: int, down: int) -> int:
    _start(order, up)
    os.write(up, b"this is no frame at all")
    time.sleep(60)
    return 0


def play_unknown_report(order: Frame, up: int, down: int) -> int:
    _start(order, up)
    frames.send(up, "greeting", text="hello")
    time.sleep(60)
    return 0


def play_foreign_file(order: Frame, up: int, down: int) -> int:
    """Names a file that is not its own as a checkpoint."""
    _start(order, up)
    frames.send(up, "checkpoint", path="/etc/passwd", step=1)
    time.sleep(60)
    return 0


def play_flood(order: Frame, up: int, down: int) -> int:
    """More series than a database takes, then an end as it should be."""
    _start(order, up)
    for _ in range(40):
        for number in range(20):
            _series(up, [number + 1] * 10_000)
    return play_complete(order, up, down)


def play_diverge(order: Frame, up: int, down: int) -> int:
    _start(order, up)
    _report(up, 1)
    for last_step in (1, 1):
        frames.send(up, "verdict", finding=_finding(last_step))
    frames.send(up, "error", kind="diverged", fault="user", message="loss is NaN", step=1, layer="blocks.0")
    return 0


def _finding(last_step: int) -> dict[str, Any]:
    """As no database can hold it: a NUL, and a number that is not finite."""
    evidence = {"quantity": "gradient", "value": float("nan"), "facts": {"part": "a\0b"}}
    return {
        "code": "nonfinite",
        "severity": "error",
        "layer": "blocks.0",
        "first_step": 1,
        "last_step": last_step,
        "evidence": evidence,
    }


def _start(order: Frame, up: int) -> int:
    resume = order.fields["resume"]
    step = 0 if resume is None else int(resume["step"])
    frames.send(up, "started", step=step, device=order.fields["device"], receipt={"pid": os.getpid()})
    return step


def _report(up: int, step: int) -> None:
    frames.send(up, "step", step=step, epoch=1)
    _series(up, [step])


def _series(up: int, steps: list[int]) -> None:
    block: dict[str, Any] = {"split": "train", "quantities": ["loss"], "units": [""], "count": len(steps)}
    payload = struct.pack(f"<{len(steps)}i", *steps) + struct.pack(f"<{len(steps)}f", *steps)
    frames.send(up, "series", payload, blocks=[block])


def _checkpoint(up: int, step: int) -> None:
    path = Path(f"checkpoint-{step}.safetensors")
    path.write_bytes(f"state {step}".encode())
    frames.send(up, "checkpoint", path=str(path.resolve()), step=step)


def _mail(down: int) -> Iterator[Frame | None]:
    """Frames as they come, and None every 20 ms; ends with the pipe."""
    while True:
        if select.select([down], [], [], 0.02)[0]:
            frame = frames.read(down)
            if frame is None:
                return
            yield frame
        else:
            yield None
