"""A service of its own for a benchmark: the embedded stack in a folder that is thrown away."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def fresh_stack(data_dir: Path) -> Iterator[str]:
    """The address of a service that starts with nothing and reads ``data_dir``."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "afterprop.cli", "up", "--state-dir", state, "--port", "0"]
        up = subprocess.Popen([*command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, text=True)
        try:
            assert up.stdout is not None
            yield next(found.group() for line in up.stdout if (found := re.search(r"http://[\w.:]+", line)))
        finally:
            up.terminate()
            up.wait()
