"""Jobs followed live: bars on a terminal, lines elsewhere."""

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from afterprop.answers import Event, Job
from afterprop.client import Client
from afterprop.errors import AfterpropError
from afterprop.printing import number

LOOK_S = 0.5
LINE_EVERY_S = 5.0


class Display(ABC):
    """Where the events of jobs are shown."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def show(self, job: Job, event: Event) -> None: ...


@final
class Bars(Display):
    """A progress bar per job, for a terminal."""

    def __init__(self, console: Console, jobs: Sequence[Job]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("{task.fields[score]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            job["id"]: self._progress.add_task(escape(job.get("name") or job["id"]), total=None, status="", score="")
            for job in jobs
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: Job, event: Event) -> None:
        task = self._tasks[job["id"]]
        if event.type in ("status", "end"):
            self._progress.update(task, status=str(event.content.get("status", "")))
        elif event.type == "progress":
            self._progress.update(task, completed=event.content.get("step"), total=event.content.get("steps"))
        elif event.type == "evaluation":
            self._progress.update(task, score=scores(event.content))


@final
class Lines(Display):
    """A line per change, and now and then one for progress; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def show(self, job: Job, event: Event) -> None:
        title = job.get("name") or job["id"]
        if event.type in ("status", "warning", "verdict"):
            text = event.content.get("status") or event.content.get("message") or fault(event.content)
            self._console.print(f"{title}: {text}", highlight=False, markup=False)
        elif event.type in ("progress", "evaluation"):
            now = time.monotonic()
            if now - self._said_at.get(job["id"], now) >= LINE_EVERY_S:
                del self._said_at[job["id"]]
                step = event.content.get("step")
                self._console.print(f"{title}: step {step} {scores(event.content)}", highlight=False, markup=False)
            self._said_at.setdefault(job["id"], now)


def display_for(console: Console, jobs: Sequence[Job]) -> Display:
    return Bars(console, jobs) if console.is_terminal else Lines(console)


def scores(content: dict[str, Any]) -> str:
    """The metrics of an evaluation event in one line: ``validation accuracy 0.98``."""
    metrics = content.get("metrics") or {}
    wanted = [name for name in ("accuracy", "mse") if name in metrics] or list(metrics)
    return " · ".join(f"{content.get('split')} {name} {number(metrics[name])}" for name in wanted)


def fault(content: dict[str, Any]) -> str:
    """A verdict's event in one line: ``lr_too_high in blocks.0: Lower the learning rate.``"""
    where = content.get("layer") or "the whole network"
    return f"{content.get('code')} in {where}: {content.get('remedy') or content.get('severity')}"


def follow(client: Client, jobs: Sequence[Job], *, display: Display) -> list[Job]:
    """Show the events of all jobs until each has ended; the jobs as they then are, in the given order."""
    arrived: queue.Queue[tuple[Job, Event] | AfterpropError | None] = queue.Queue()

    def listen(job: Job) -> None:
        try:
            for event in client.jobs.events(job["id"]):
                arrived.put((job, event))
        except AfterpropError as error:
            arrived.put(error)
        finally:
            arrived.put(None)

    for job in jobs:
        threading.Thread(target=listen, args=(job,), daemon=True).start()
    running = len(jobs)
    with display:
        while running:
            try:
                item = arrived.get(timeout=LOOK_S)  # with a limit, so that Ctrl-C is heard at once
            except queue.Empty:
                continue
            if isinstance(item, AfterpropError):
                raise item
            if item is None:
                running -= 1
            else:
                display.show(*item)
    return [client.jobs.retrieve(job["id"]) for job in jobs]
