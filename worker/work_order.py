"""What a trainer is given: its folder, its pipes, and the order it reads first."""

import fcntl
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from specs.limits import Limits
from store import artifacts
from store.attempts import Claim
from store.settings import Settings
from worker import frames

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_F_SETPIPE_SZ: Final = getattr(fcntl, "F_SETPIPE_SZ", None)
_DEFAULT_PIPE_BYTES: Final = 1 << 16

_log = structlog.get_logger(__name__)


class OrderTooLarge(Exception):
    """The work order does not fit into a pipe."""


@dataclass(frozen=True)
class AttemptFolder:
    """Where one attempt writes, and where its files are taken to."""

    path: Path
    artifacts: Path

    @classmethod
    def create(cls, settings: Settings, claim: Claim) -> "AttemptFolder":
        """An empty folder with an empty log. Folders of earlier attempts, which are fenced, are removed."""
        of_job = settings.attempts_dir / claim.job_id
        shutil.rmtree(of_job, ignore_errors=True)
        path = of_job / str(claim.attempt)
        path.mkdir(parents=True)
        folder = cls(path, settings.artifacts_dir / claim.job_id / str(claim.attempt))
        folder.log.touch()
        return folder

    @property
    def log(self) -> Path:
        return self.path / "log"

    def artifact(self, name: str) -> Path:
        """Where an artifact of that name belongs. ValueError for a name that is a path."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for an artifact")
        return self.artifacts / name

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self.path.parent.rmdir()
        except OSError:
            return  # a later attempt is there already


@dataclass(frozen=True)
class Pipes:
    """Both pipes and the log; the trainer's ends are closed here once it has its own."""

    up_read: int
    up_write: int
    down_read: int
    down_write: int
    log: int

    @classmethod
    def open(cls, folder: AttemptFolder, order: bytes) -> "Pipes":
        """Pipes with the order already in the one that leads down. Raises ``OrderTooLarge``."""
        up_read, up_write = os.pipe()
        down_read, down_write = os.pipe()
        log = os.open(folder.log, os.O_WRONLY | os.O_APPEND)
        pipes = cls(up_read, up_write, down_read, down_write, log)
        os.set_blocking(down_write, False)
        if len(order) > _DEFAULT_PIPE_BYTES and _F_SETPIPE_SZ is not None:
            fcntl.fcntl(down_write, _F_SETPIPE_SZ, len(order))
        try:
            written = os.write(down_write, order)
        except BlockingIOError:
            written = 0
        if written != len(order):
            pipes.close_trainers_ends()
            os.close(up_read)
            os.close(down_write)
            raise OrderTooLarge(f"a work order of {len(order)} bytes")
        return pipes

    def close_trainers_ends(self) -> None:
        for fd in (self.up_write, self.down_read, self.log):
            os.close(fd)

    def close_ours(self) -> None:
        for fd in (self.up_read, self.down_write):
            os.close(fd)


def newest_checkpoint(claim: Claim) -> dict[str, Any] | None:
    """The newest checkpoint whose file stands as it was registered, for the order's ``resume``."""
    for checkpoint in claim.checkpoints:
        path = Path(checkpoint.path)
        if path.is_file() and artifacts.file_sha256(path) == checkpoint.sha256:
            return {"path": str(path), "sha256": checkpoint.sha256, "step": checkpoint.step}
        _log.warning("checkpoint_passed_over", job_id=claim.job_id, step=checkpoint.step, path=str(path))
    return None


def work_order(claim: Claim, *, dataset: dict[str, Any], device: str, lease_until: float, limits: Limits) -> bytes:
    """The first frame of the pipe that leads down."""
    return frames.encode(
        "work",
        job_id=claim.job_id,
        attempt=claim.attempt,
        spec=claim.resolved_spec,
        dataset=dataset,
        device=device,
        lease_until=lease_until,
        resume=newest_checkpoint(claim),
        limits=limits.model_dump(mode="json"),
    )
