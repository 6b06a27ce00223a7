"""``python -m worker.main``: one worker process. Celery's consumer in the main thread, the workshop around it.

It never imports torch: the template and the trainers do.
"""

import os
import platform
import signal
import socket
import sys
import warnings
from importlib.metadata import version
from typing import Any

import structlog
from celery import Celery, signals
from celery.platforms import SecurityWarning
from celery.worker import state

from specs.version import VERSION
from store import workers
from store.database import connect
from store.identifiers import new_id
from store.queue import Bell, celery_app
from store.settings import Settings, settings
from worker import leash, tasks, transactions
from worker.comparison.conductor import Conductor
from worker.deliverer import Deliverer
from worker.devices import gpus
from worker.estimator import Estimator
from worker.keeper import Keeper
from worker.launcher import Launcher
from worker.merger import merging_rounds
from worker.places import CPU, GPU, Places
from worker.poller import Poller
from worker.prober import Prober
from worker.reconciler import Reconciler
from worker.spawn_launcher import SpawnLauncher
from worker.verifier import Verifier
from worker.watcher import Watcher
from worker.workshop import Workshop

_BUSY_TIMEOUT_S = 5.0

_log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT; running jobs are checkpointed and given back without a charge."""
    leash.hide_memory_and_environment()
    shop, devices = open_workshop(settings())
    watcher = Watcher(shop)
    reconciler = Reconciler(shop, watcher)
    poller = Poller(shop, watcher)
    conductor = Conductor(shop)
    merger = merging_rounds(shop)
    estimator = Estimator(shop)
    prober = Prober(shop)
    verifier = Verifier(shop)
    deliverer = Deliverer(shop)
    _stop_on_signals(shop)
    shop.launcher.start()
    if not _register(shop, devices):
        return 0
    for thread in (watcher, reconciler, poller, conductor, merger, estimator, prober, verifier, deliverer):
        thread.start()
    app = celery_app(shop.settings)
    tasks.register(app, poller, prober.wake, verifier.wake, estimator.wake)
    code = _consume(app, shop)
    shop.stopping.set()
    deliverer.close()
    prober.close()
    verifier.close()
    poller.close()
    conductor.close()
    estimator.close()
    merger.close()
    reconciler.close()
    watcher.close()
    shop.launcher.close()
    _say_goodbye(shop)
    shop.bell.close()
    return code


def open_workshop(chosen: Settings) -> tuple[Workshop, list[dict[str, Any]]]:
    """The workshop of this process, and the GPUs it offers."""
    found = gpus()
    classes = (chosen.worker_classes or (f"{CPU},{GPU}" if found else CPU)).split(",")
    devices = found if GPU in classes else []
    shop = Workshop(
        worker_id=new_id("wrk"),
        settings=chosen,
        # Waiting for a lock must end well before the lease does.
        database=connect(
            chosen.resolved_database_url, role="worker", busy_timeout_s=min(_BUSY_TIMEOUT_S, 0.8 * chosen.beat_s)
        ),
        launcher=_launcher(chosen),
        places=Places(
            cpu_slots=chosen.worker_slots if CPU in classes else 0, gpu_uuids=[gpu["uuid"] for gpu in devices]
        ),
        bell=Bell(chosen),
    )
    return shop, devices


def _launcher(chosen: Settings) -> Launcher:
    forks = chosen.launcher == "fork" or (chosen.launcher == "auto" and leash.LINUX)
    return Keeper() if forks else SpawnLauncher()


def _stop_on_signals(shop: Workshop) -> None:
    """Before Celery takes the signals over, and by Celery's own signal once it has."""

    def stop(*_: object) -> None:
        shop.stopping.set()
        state.should_stop = os.EX_OK  # Celery looks at it, also when the signal came before its own handlers stood

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signals.worker_shutting_down.connect(lambda **_: stop(), weak=False)


def _register(shop: Workshop, devices: list[dict[str, Any]]) -> bool:
    """Write this worker's row, waiting for the database; False when told to stop meanwhile."""
    try:
        transactions.commit(
            shop.database,
            lambda session: workers.register(
                session,
                worker_id=shop.worker_id,
                host=shop.host,
                pid=shop.pid,
                classes=shop.places.classes,
                slots=len(shop.places.all),
                devices=devices,
                launcher=shop.launcher.describe(),
                versions=_versions(),
            ),
            give_up=shop.stopping.is_set,
        )
    except transactions.GaveUp:
        return False
    _log.info("worker_registered", worker_id=shop.worker_id, pid=shop.pid, launcher=shop.launcher.describe()["kind"])
    return True


def _versions() -> dict[str, Any]:
    return {
        "afterprop": VERSION,
        "python": platform.python_version(),
        "torch": version("torch"),  # read from its metadata, not imported
        "celery": version("celery"),
        "system": platform.platform(),
    }


def _consume(app: Celery, shop: Workshop) -> int:
    """Answer bells until a signal; Celery waits for the attempts that run in its pool."""
    if shop.stopping.is_set():
        return 0
    # What the warning is about, pickled messages, is switched off.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    consumer = app.Worker(
        hostname=f"{shop.worker_id}@{socket.gethostname()}",
        pool="threads",
        concurrency=len(shop.places.all),
        queues=list(shop.places.classes),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )
    consumer.start()
    # Celery calls Ctrl-C a failure; here it is an order like SIGTERM.
    return 0 if shop.stopping.is_set() else int(consumer.exitcode or 0)


def _say_goodbye(shop: Workshop) -> None:
    try:
        with shop.database.writing.begin() as session:
            workers.say_goodbye(session, shop.worker_id)
    except Exception as error:  # the outer door: the row's last heartbeat says it too
        _log.warning("goodbye_failed", error=repr(error))


if __name__ == "__main__":
    sys.exit(main())
