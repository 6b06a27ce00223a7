"""The only Celery task: the bell. It carries nothing; the job is found in the database."""

from typing import Any

from celery import Celery

from store.queue import WAKE
from worker.poller import Poller
from worker.prober import Prober


def register(app: Celery, poller: Poller, prober: Prober) -> None:
    """Make ``app`` answer bells. A task ends when the attempt ends, so Celery counts the places that are taken."""

    @app.task(name=WAKE, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]
    def wake(task: Any) -> None:
        prober.wake()
        poller.answer_bell(task.request.delivery_info["routing_key"])
