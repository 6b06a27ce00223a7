"""``python -m store.restore FOLDER``: puts a backup into an empty place, and nowhere else.

Two steps, with the migrations between them: ``FOLDER`` alone verifies every digest and copies; ``FOLDER --settle``
then makes the database fit where it stands now. ``afterprop restore`` does all three.
"""

import json
import shutil
import sys
from pathlib import Path

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from store import settlement
from store.artifacts import file_sha256
from store.backup import Manifest
from store.database import connect
from store.settings import Settings, settings
from store.snapshot import POSTGRESQL_FILE, SQLITE_FILE, CannotBackUp, is_empty
from store.snapshot import restore as restore_database
from store.tables import Artifact, Checkpoint, Job


def copy_back(chosen: Settings, folder: Path) -> Manifest:
    """Verifies the whole backup before the first byte is written."""
    manifest = Manifest.read(folder)
    url = chosen.resolved_database_url
    _must_fit(manifest, url)
    _must_be_empty(chosen, url)
    for entry in manifest.files:
        if not _inside(folder, entry.path) or file_sha256(folder / entry.path) != entry.sha256:
            raise CannotBackUp(f"{entry.path} differs from its digest in the manifest: nothing was restored.")
    for entry in manifest.files:
        room, _, relative = entry.path.partition("/")
        if target := {"artifacts": chosen.artifacts_dir, "uploads": chosen.uploads_dir}.get(room):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / entry.path, target / relative)
    restore_database(url, folder / _copy(manifest))
    return manifest


def settle(session: Session, chosen: Settings, manifest: Manifest) -> dict[str, int]:
    """Rows name the files where they stand now; what did not come along is forgotten; what ran is queued again."""
    for table in (Artifact, Checkpoint):
        shift = func.length(manifest.artifacts_dir) + 1
        moved = str(chosen.artifacts_dir) + func.substr(table.path, shift)
        session.execute(update(table).where(table.path.startswith(manifest.artifacts_dir + "/")).values(path=moved))
    gone = [str(chosen.artifacts_dir / path.removeprefix("artifacts/")) for path in manifest.gone]
    lost = 0
    for path in gone:
        for table in (Artifact, Checkpoint):
            lost += len(session.execute(delete(table).where(table.path == path).returning(table.path)).all())
    newest = select(Checkpoint.id).where(Checkpoint.job_id == Job.id).order_by(Checkpoint.step.desc()).limit(1)
    session.execute(update(Job).where(Job.checkpoint_id.is_not(None)).values(checkpoint_id=newest.scalar_subquery()))
    given_back = settlement.give_back_all(
        session, code="restored", message="The service was restored from a backup while the job ran."
    )
    return {"jobs_given_back": len(given_back), "files_gone": lost}


def _must_fit(manifest: Manifest, url: str) -> None:
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    if manifest.database != kind:
        raise CannotBackUp(f"The backup is of {manifest.database}, and AFTERPROP_DATABASE_URL names {kind}.")


def _must_be_empty(chosen: Settings, url: str) -> None:
    folders = (chosen.artifacts_dir, chosen.uploads_dir)
    full = [path for path in folders if path.is_dir() and any(path.iterdir())]
    if full or not is_empty(url):
        where = ", ".join(map(str, full)) or "the database"
        raise CannotBackUp(f"Refused: {where} is not empty. A backup is restored into an empty place only.")


def _copy(manifest: Manifest) -> str:
    return SQLITE_FILE if manifest.database == "sqlite" else POSTGRESQL_FILE


def _inside(folder: Path, relative: str) -> bool:
    """Whether the manifest names a file of the backup itself, not one that it leads out to."""
    path = folder / relative
    return path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(folder.resolve())


def main(arguments: list[str]) -> int:
    """0: done; 2: refused, and nothing was written."""
    folder, chosen = Path(arguments[0]).absolute(), settings()
    try:
        if "--settle" not in arguments[1:]:
            manifest = copy_back(chosen, folder)
            print(json.dumps({"files": len(manifest.files), "made_at": manifest.made_at}))  # noqa: T201  # the answer
            return 0
        manifest = Manifest.read(folder)
        database = connect(chosen.resolved_database_url)
        with database.writing.begin() as session:
            said = settle(session, chosen, manifest)
        database.dispose()
    except CannotBackUp as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201
        return 2
    print(json.dumps(said))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
