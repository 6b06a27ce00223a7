"""``python -m store.backup FOLDER``: a backup of a service that goes on running, and what one consists of.

The database is copied first, then the files that its rows name: a row never names a file that did not stand before it.
Checkpoints that were replaced meanwhile are listed as gone; their jobs go on from an older one, or begin again.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from specs.version import VERSION
from store.artifacts import file_sha256
from store.database import connect, now_s
from store.identifiers import new_id
from store.settings import Settings, settings
from store.snapshot import CannotBackUp, check, file_of, snapshot
from store.tables import Artifact, Checkpoint

MANIFEST: Final = "manifest.json"
FORM: Final = 1


@dataclass(frozen=True)
class BackedUpFile:
    """A file of the backup; its path is relative to the backup's folder."""

    path: str
    sha256: str
    size_bytes: int


@dataclass
class Manifest:
    """What a backup holds. It is written last: a folder without it is no backup."""

    form: int
    version: str
    made_at: float
    revision: str
    database: str
    artifacts_dir: str
    files: list[BackedUpFile] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a backup; CannotBackUp where there is none that can be read."""
        try:
            content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
            files = [BackedUpFile(**entry) for entry in content.pop("files")]
            manifest = cls(**content, files=files)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CannotBackUp(f"{folder} holds no complete backup: its {MANIFEST} cannot be read ({error}).") from None
        if manifest.form != FORM:
            raise CannotBackUp(f"{folder} is a backup of form {manifest.form}; this version reads form {FORM}.")
        return manifest

    def write(self, folder: Path) -> None:
        temporary = folder / f"{MANIFEST}.tmp"
        temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        _sync(temporary)
        temporary.replace(folder / MANIFEST)


def back_up(chosen: Settings, folder: Path) -> Manifest:
    """Copies database, artifacts, checkpoints and uploads into an empty folder."""
    if folder.exists() and any(folder.iterdir()):
        raise CannotBackUp(f"{folder} is not empty.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = chosen.resolved_database_url
    database = connect(url)
    held = chosen.artifacts_dir / f".{new_id('held')}"
    try:
        with snapshot(database, url, into=folder) as session:
            manifest = _manifest(session, chosen)
            if wrong := check(session):
                raise CannotBackUp(f"The copy of the database is damaged: {'; '.join(wrong)}")
            rows = list(_named(session, chosen))
            for relative, _ in rows:
                _hold(chosen.artifacts_dir / relative, held / relative)
        manifest.files.append(_entry(folder, file_of(database)))
        for relative, sha256 in rows:
            _take(manifest, held / relative, folder, f"artifacts/{relative}", sha256)
        _take_uploads(manifest, chosen.uploads_dir, folder)
    finally:
        shutil.rmtree(held, ignore_errors=True)
        database.dispose()
    manifest.write(folder)
    return manifest


def _manifest(session: Session, chosen: Settings) -> Manifest:
    return Manifest(
        form=FORM,
        version=VERSION,
        made_at=session.execute(select(now_s())).scalar_one(),
        revision=session.execute(text("SELECT version_num FROM alembic_version")).scalar_one(),
        database=session.get_bind().dialect.name,
        artifacts_dir=str(chosen.artifacts_dir),
    )


def _named(session: Session, chosen: Settings) -> Iterator[tuple[str, str]]:
    """The files that rows name, relative to the artifacts, with the digests of the rows."""
    for table in (Checkpoint, Artifact):
        for path, sha256 in session.execute(select(table.path, table.sha256)):
            if Path(path).is_relative_to(chosen.artifacts_dir):
                yield str(Path(path).relative_to(chosen.artifacts_dir)), sha256


def _hold(source: Path, target: Path) -> None:
    """A second name for the file, at once: however long the copying takes, it stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError, FileExistsError):
        os.link(source, target)


def _take(manifest: Manifest, source: Path, folder: Path, relative: str, sha256: str | None) -> None:
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        manifest.gone.append(relative)
        return
    _sync(target)
    entry = _entry(folder, relative)
    manifest.files.append(entry)
    if sha256 is not None and entry.sha256 != sha256:
        manifest.damaged.append(relative)


def _take_uploads(manifest: Manifest, uploads: Path, folder: Path) -> None:
    for source in sorted(uploads.rglob("*")) if uploads.is_dir() else ():
        if source.is_file() and not source.is_symlink() and not source.name.startswith("."):
            _take(manifest, source, folder, f"uploads/{source.relative_to(uploads)}", None)


def _entry(folder: Path, relative: str) -> BackedUpFile:
    path = folder / relative
    return BackedUpFile(relative, file_sha256(path), path.stat().st_size)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def main(arguments: list[str]) -> int:
    """0: made; 1: made, but files differ from their digests; 2: not made."""
    try:
        manifest = back_up(settings(), Path(arguments[0]).absolute())
    except CannotBackUp as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201  # the answer of this process
        return 2
    size = sum(entry.size_bytes for entry in manifest.files)
    said = {"files": len(manifest.files), "bytes": size, "gone": manifest.gone, "damaged": manifest.damaged}
    print(json.dumps(said))  # noqa: T201
    return 1 if manifest.damaged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
