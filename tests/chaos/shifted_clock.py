"""A wall clock that can be set for chosen processes, by a small library that is built here and preloaded."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class ShiftedClock:
    """``environment`` is for the processes that look at it; ``set_ahead`` sets it for all of them at once."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler, which builds the clock")
        library, self._file = folder / "shifted_clock.so", folder / "shifted_clock"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], check=True)
        self.set_ahead(0)
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(self._file)}

    def set_ahead(self, seconds: int) -> None:
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(str(seconds))
        unfinished.replace(self._file)
