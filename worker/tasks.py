"""The only Celery task: the bell. It carries nothing; the job is found in the database."""

from collections.abc import Callable
from typing import Any

from celery import Celery

from store.queue import WAKE
from worker.poller import Poller


def register(app: Celery, poller: Poller, *others: Callable[[], None]) -> None:
    """Make ``app`` answer bells. A task ends when the attempt ends, so Celery counts the places that are taken.

    ``others`` wake who looks for something else than jobs.
    """

    @app.task(name=WAKE, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]
    def wake(task: Any) -> None:
        for wakes in others:
            wakes()
        poller.answer_bell(task.request.delivery_info["routing_key"])
