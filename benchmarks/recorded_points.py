"""A job with many points, brought in by the worker's own reader and recorder, as if a trainer sent them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from alembic import command
from sqlalchemy import text

from migrations.__main__ import configuration
from specs.reports import Series, SeriesBlock
from store import attempts, jobs
from store.attempts import Claim
from store.database import Database, connect
from store.queue import Bell
from store.settings import Settings
from worker import frames
from worker.merger import merge_some
from worker.places import Places
from worker.reader import MAX_SERIES_BYTES, Buffer, Reader
from worker.recorder import Recorder
from worker.spawn_launcher import SpawnLauncher
from worker.work_order import AttemptFolder
from worker.workshop import Workshop

QUANTITIES = ("grad_norm", "weight_norm", "update_norm", "update_ratio", "grad_rms", "clipped_share")
STEPS_OF_A_FLUSH = 64
TABLES = ("series_blocks", "series_segments", "series_rollups")


class Shape(NamedTuple):
    """So many layers, each with all quantities, logged at so many steps."""

    layers: int
    steps: int

    @property
    def points(self) -> int:
        return self.layers * self.steps * len(QUANTITIES)


class Ingest(NamedTuple):
    """What came of bringing points in."""

    seconds: float
    cpu_seconds: float
    points: int
    dropped: int


def migrated(url: str) -> Database:
    """The database, as a worker opens it, with all tables."""
    database = connect(url, role="worker", busy_timeout_s=4.0)
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        connection.commit()
    return database


def started_job(database: Database) -> Claim:
    """A job that trains, by an attempt of a worker."""
    resolved = {"learner": {"kind": "backprop"}, "network": {"kind": "mlp"}, "limits": {"max_attempts": 1}}
    with database.writing.begin() as session:
        jobs.create(session, spec=resolved, resolved_spec=resolved, resource_class="cpu", dataset="digits")
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="wrk_1", host="here", worker_pid=1, resource_class="cpu", lease_s=9e9)
        assert claim is not None
        attempts.mark_started(session, claim.job_id, claim.attempt, step=0, device="cpu", trainer_pid=1, receipt={})
    return claim


def sent(shape: Shape) -> Iterator[bytes]:
    """The frames of the job, one a flush: 64 logged steps of every layer, spikes and a NaN among them."""
    generator = np.random.default_rng(0)
    for start in range(0, shape.steps, STEPS_OF_A_FLUSH):
        steps = 10 * np.arange(start + 1, min(start + STEPS_OF_A_FLUSH, shape.steps) + 1)
        blocks, payload = [], []
        for layer in range(shape.layers):
            values = generator.lognormal(size=(len(QUANTITIES), len(steps))).astype("<f4")
            if generator.random() < 0.02:
                values[0, 3], values[1, 5] = 1e9, np.nan
            payload += [steps.astype("<i4").tobytes(), values.tobytes()]
            blocks.append(
                SeriesBlock(
                    layer=f"blocks.{layer}",
                    layer_index=layer,
                    split="train",
                    quantities=QUANTITIES,
                    units=("1",) * len(QUANTITIES),
                    count=len(steps),
                )
            )
        kind, fields, raw = Series(blocks=tuple(blocks), payload=b"".join(payload)).frame()
        yield frames.encode(kind, raw, **fields)


def record(database: Database, claim: Claim, made: list[bytes], folder: Path, *, points: int) -> Ingest:
    """Frames through a pipe, the reader, the buffer and the recorder into the database: seconds until all is written.

    The sender waits while the buffer is half full, so that nothing is dropped; a trainer would not.
    """
    settings = Settings(state_dir=folder)
    shop = Workshop("wrk_1", settings, database, SpawnLauncher(), Places(cpu_slots=1, gpu_uuids=[]), Bell(settings))
    buffer = Buffer()
    up, mouth = os.pipe()
    reader = Reader(up, buffer=buffer, notify=lambda _: None)
    attempt_folder = AttemptFolder.create(settings, claim)
    recorder = Recorder(shop, claim, attempt_folder, buffer, notify=lambda _: None, give_up=lambda: False)
    began, cpu_before = time.perf_counter(), time.process_time()
    reader.start()
    recorder.start()
    for frame in made:
        while buffer.waiting_bytes > MAX_SERIES_BYTES // 2:
            time.sleep(0.002)
        rest = memoryview(frame)
        while rest:
            rest = rest[os.write(mouth, rest) :]
    os.close(mouth)
    reader.close()
    recorder.finish()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_before
    assert recorder.state == "written", recorder.state
    return Ingest(seconds, cpu_seconds, points, buffer.dropped)


def end(database: Database, claim: Claim) -> float:
    """The job is over and merged; the seconds that merging took. PostgreSQL is vacuumed in between, as in ``store``."""
    with database.writing.begin() as session:
        error = {"kind": "stopped", "fault": "user", "message": "the benchmark is over", "step": None}
        assert attempts.fail(session, claim.job_id, claim.attempt, error=error)
    seconds = 0.0
    while True:
        began = time.perf_counter()
        found = merge_some(database)
        seconds += time.perf_counter() - began
        if not found:
            return seconds
        vacuum(database)


def vacuum(database: Database, *, full: bool = False) -> None:
    """What PostgreSQL does by itself within a minute, which is longer than this job takes: dead rows are used again."""
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            for table in TABLES:
                connection.execute(text(f"VACUUM {'(FULL)' if full else ''} {table}"))


def store(database: Database, claim: Claim, shape: Shape, folder: Path) -> Ingest:
    """The whole job in eight parts, PostgreSQL vacuumed after each: the sum of what they took."""
    made = list(sent(shape))
    part = -(-len(made) // 8)
    seconds, cpu_seconds, dropped = 0.0, 0.0, 0
    for start in range(0, len(made), part):
        ingest = record(database, claim, made[start : start + part], folder, points=shape.points)
        seconds, cpu_seconds = seconds + ingest.seconds, cpu_seconds + ingest.cpu_seconds
        dropped += ingest.dropped
        vacuum(database)
    return Ingest(seconds, cpu_seconds, shape.points, dropped)


def size_bytes(database: Database, *, full_vacuum: bool = False) -> int:
    """What the tables of series take: of SQLite the whole file, of PostgreSQL these tables with indexes and TOAST."""
    if database.is_sqlite:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")  # the engine begins a transaction by itself
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(str(database.engine.url.database)).stat().st_size
    vacuum(database, full=full_vacuum)
    sizes = [text(f"SELECT pg_total_relation_size('{table}')") for table in TABLES]
    with database.engine.connect() as connection:
        return sum(connection.execute(size).scalar_one() for size in sizes)
