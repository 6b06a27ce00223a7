"""``python -m tests.chaos.short_sighted_worker``: a worker whose broker takes messages back after five seconds."""

import sys

from celery import Celery

from store import queue
from store.settings import Settings
from worker import main

VISIBILITY_TIMEOUT_S = 5


def _celery_app(settings: Settings) -> Celery:
    app = queue.celery_app(settings)
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_interval": 1,
    }
    return app


if __name__ == "__main__":
    main.celery_app = _celery_app
    sys.exit(main.main())
