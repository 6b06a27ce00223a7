"""``python -m worker.health``: exit code 0 when a worker of this host was heard of within a lease."""

import socket
import sys

from store import workers
from store.database import connect
from store.settings import settings


def main() -> int:
    """Asks the database, which is where everybody else sees the worker too."""
    database = connect(settings().resolved_database_url, role="worker", busy_timeout_s=3)
    with database.reading() as session:
        here = [row for row in workers.living(session, lease_s=settings().lease_s) if row.host == socket.gethostname()]
    return 0 if here else 1


if __name__ == "__main__":
    sys.exit(main())
