"""The wake-up bell: a Celery message that says "look", and nothing else.

The database is the truth. A bell may be lost, doubled or late at no harm: workers also look every second.
"""

import queue
import threading
from dataclasses import dataclass

import structlog
from celery import Celery
from kombu.entity import Queue

from store.settings import Settings

WAKE = "afterprop.wake"
CLASSES = ("cpu", "gpu")

_log = structlog.get_logger(__name__)


def celery_app(settings: Settings) -> Celery:
    """The Celery application of API and worker: JSON only, no result backend, early acknowledgement."""
    app = Celery("afterprop", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,  # the database owns redelivery
        task_reject_on_worker_lost=False,
        task_publish_retry=False,
        task_create_missing_queues=False,
        task_default_queue="cpu",
        task_queues=[Queue(name) for name in CLASSES],  # type: ignore[no-untyped-call]
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=False,  # True costs 0.7 s of latency: nothing wakes the consumer when a task ends
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "retry_on_timeout": True,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "global_keyprefix": settings.broker_key_prefix,
        },
    )
    return app


def publishing_app(settings: Settings) -> Celery:
    """The same application for ringing: it gives up at once, since a worker looks by itself anyway."""
    app = celery_app(settings)
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "max_retries": 0,
        "socket_timeout": 2,
        "socket_connect_timeout": 1,
        "retry_on_timeout": False,
    }
    return app


@dataclass
class BellCounts:
    """How many bells were rung, and how many were dropped because the broker did not take them."""

    rung: int = 0
    dropped: int = 0


class Bell:
    """One thread that rings for everybody: ``ring`` never blocks and never fails."""

    def __init__(self, settings: Settings) -> None:
        self.counts = BellCounts()
        self._app = publishing_app(settings)
        self._wanted: queue.Queue[str | None] = queue.Queue(maxsize=1000)
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def ring(self, resource_class: str) -> None:
        """Wakes one idle worker of the class, if the broker is there."""
        try:
            self._wanted.put_nowait(resource_class)
        except queue.Full:
            self.counts.dropped += 1

    def close(self) -> None:
        self._wanted.put(None)
        self._thread.join(timeout=3)

    def _run(self) -> None:
        while (resource_class := self._wanted.get()) is not None:
            try:
                self._app.send_task(WAKE, queue=resource_class, ignore_result=True, retry=False)
                self.counts.rung += 1
            except Exception as error:  # the outer door to a broker that may be anything but there
                self.counts.dropped += 1
                _log.warning("bell_dropped", resource_class=resource_class, error=repr(error))
