"""The embedded stack: broker, migrations, API and workers as processes, in the foreground, with nothing installed.

The main thread creates every process, restarts included: their leashes are tied to it.
"""

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple, final

from afterprop import broker
from afterprop.address import BACKLOG, is_ready, listen, url_of
from afterprop.children import Child
from afterprop.state_folder import StateFolder

TICK_S = 0.05
BROKER_WITHIN_S = 20.0
MIGRATED_WITHIN_S = 120.0
READY_WITHIN_S = 120.0
WORKER_GRACE_S = 25.0
API_GRACE_S = 5.0
BROKER_GRACE_S = 2.0
API_COMMAND = [
    *("-m", "uvicorn", "api.app:app", "--limit-concurrency", "8000", "--backlog", str(BACKLOG)),
    *("--timeout-keep-alive", "15", "--h11-max-incomplete-event-size", "16384", "--no-server-header"),
    # Who connects is who connects: a header may not say otherwise, since addresses with bad keys are held off.
    "--no-proxy-headers",
    # Short, for the person at Ctrl-C: open event streams end here, and their clients resume them.
    *("--log-level", "warning", "--timeout-graceful-shutdown", "3"),
]


class CannotStart(Exception):
    """The stack could not start; the text says which part, and what it wrote last."""


class Options(NamedTuple):
    """What `afterprop up` was asked for."""

    state_dir: Path
    data_dir: Path | None
    host: str
    port: int
    workers: int


def source_tree() -> Path:
    """The folder of `api/`, `worker/` and `migrations/`. The published client comes without them."""
    found = importlib.util.find_spec("api")
    if found is None or found.origin is None:
        raise CannotStart("The service itself is not installed here: clone the repository and run `make install`.")
    return Path(found.origin).resolve().parent.parent


@final
class Stack:
    """The processes of one state folder, from start to stop. Making one takes the folder and the port."""

    def __init__(self, options: Options, *, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._source = source_tree()
        self._folder = StateFolder(options.state_dir)
        self._folder.hold()
        self._listener = listen(options.host, options.port)
        self.url = url_of(options.host, self._listener.getsockname()[1])
        self._environment = self._settings()
        self._children: list[Child] = []
        self._stopped_by: int | None = None
        self._in_a_hurry = False

    def run(self, *, ready: Callable[[str], None]) -> int:
        """Start everything, call ``ready`` with the address, serve until a signal. The signal's number."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(signal.SIGHUP, self._on_signal)
        try:
            for name in self._folder.reap():
                self._say(f"Ended what an earlier start left behind: {name}")
            self._start()
            if self._stopped_by is None:
                ready(self.url)
            while self._stopped_by is None:
                time.sleep(TICK_S)
                self._revive()
        finally:
            self._stop()
            self._folder.release()
        return self._stopped_by

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._in_a_hurry = self._stopped_by is not None
        self._stopped_by = number

    def _settings(self) -> dict[str, str]:
        """The environment of every child."""
        settings = dict(os.environ)
        settings["AFTERPROP_STATE_DIR"] = str(self._folder.path)
        settings["AFTERPROP_HOST"] = self._options.host
        settings["PYTHONUNBUFFERED"] = "1"
        if self._options.data_dir is not None:
            settings["AFTERPROP_DATA_DIR"] = str(self._options.data_dir.resolve())
        return settings

    def _start(self) -> None:
        """Broker, database, then API and workers, which start side by side."""
        if "AFTERPROP_BROKER_URL" not in os.environ:
            server = broker.embedded(self._folder.path / "broker")
            self._environment["AFTERPROP_BROKER_URL"] = server.url
            started = self._launch("broker", server.command)
            self._wait_until(server.answers, within_s=BROKER_WITHIN_S, watching=started)
        self._migrate()
        listener = self._listener.fileno()
        self._launch("api", [sys.executable, *API_COMMAND, "--fd", str(listener)], descriptors=(listener,))
        for number in range(1, self._options.workers + 1):
            self._launch(f"worker-{number}", [sys.executable, "-m", "worker.main"])
        host, port = self._options.host, self._listener.getsockname()[1]
        self._wait_until(lambda: is_ready(host, port), within_s=READY_WITHIN_S)

    def _launch(self, name: str, command: list[str], *, descriptors: tuple[int, ...] = ()) -> Child:
        child = self._child(name, command, descriptors=descriptors)
        self._children.append(child)
        child.start()
        self._write_down()
        return child

    def _child(self, name: str, command: list[str], *, descriptors: tuple[int, ...] = ()) -> Child:
        logs = self._folder.path / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        return Child(
            name,
            command=command,
            environment=self._environment,
            folder=self._source,
            log=log,
            descriptors=descriptors,
        )

    def _write_down(self) -> None:
        self._folder.record(url=self.url, children={c.name: c.pid for c in self._children if c.pid is not None})

    def _migrate(self) -> None:
        migration = self._child("migrations", [sys.executable, "-m", "migrations"])
        migration.start()
        deadline = time.monotonic() + MIGRATED_WITHIN_S
        while migration.exit_status is None and self._stopped_by is None and time.monotonic() < deadline:
            time.sleep(TICK_S)
        migration.kill()
        if self._stopped_by is None and migration.exit_status != 0:
            raise CannotStart(f"The database could not be migrated ({migration.log}):\n{migration.log_tail()}")

    def _wait_until(self, holds: Callable[[], bool], *, within_s: float, watching: Child | None = None) -> None:
        """Wait for the condition. A child that ends before it holds is a failed start."""
        deadline = time.monotonic() + within_s
        while self._stopped_by is None and not holds():
            for child in [watching] if watching else self._children:
                if child.exit_status is not None:
                    raise CannotStart(f"{child.name} ended while starting ({child.log}):\n{child.log_tail()}")
            if time.monotonic() > deadline:
                names = ", ".join(child.name for child in self._children)
                raise CannotStart(f"Not ready within {within_s:.0f} s; running: {names}. See {self._folder.path}/logs")
            time.sleep(TICK_S)

    def _revive(self) -> None:
        for child in self._children:
            status = child.exit_status
            if child.revive():
                self._say(f"{child.name} ended ({status}) and was started again; its log: {child.log}")
                self._write_down()

    def _stop(self) -> None:
        """Workers first, so that they hand their jobs back while API and broker still stand."""
        workers = [child for child in self._children if child.name.startswith("worker-")]
        api = [child for child in self._children if child.name == "api"]
        brokers = [child for child in self._children if child.name == "broker"]
        for children, grace_s in ((workers, WORKER_GRACE_S), (api, API_GRACE_S), (brokers, BROKER_GRACE_S)):
            for child in children:
                child.ask_to_stop()
            deadline = time.monotonic() + grace_s
            while any(child.exit_status is None for child in children) and time.monotonic() < deadline:
                if self._in_a_hurry:
                    break
                time.sleep(TICK_S)
            for child in children:
                child.kill()
        self._listener.close()
