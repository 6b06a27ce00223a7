"""``python -m migrations``: brings the database up to date; with ``down`` it takes everything away."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

configuration = Config()
configuration.set_main_option("script_location", str(Path(__file__).parent))
configuration.set_main_option("path_separator", "os")

if __name__ == "__main__":
    if sys.argv[1:] == ["down"]:
        command.downgrade(configuration, "base")
    else:
        command.upgrade(configuration, "head")
