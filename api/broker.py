"""Whether the broker answers. Nothing depends on it: workers also look by themselves."""

import redis

PATIENCE_S = 0.5


def broker_answers(url: str) -> bool:
    """One ping, with little patience. Celery writes a socket's address as ``redis+socket://``, the client ``unix://``."""
    client = redis.Redis.from_url(
        url.replace("redis+socket://", "unix://"), socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    )
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
