"""A disk without space: how whoever meets it knows it, and how the job ends."""

import errno
import re
from typing import Final

from specs.reports import Failure

KIND: Final = "disk_full"
MESSAGE: Final = "The worker's disk has no space left. Nothing that was written before is harmed: free space, and fork."

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# Libraries written in Rust or C tell it in words only.
_IN_WORDS: Final = re.compile(rf"os error ({errno.ENOSPC}|{errno.EDQUOT})\b|\d+ requested and \d+ written")


def is_meant(error: BaseException) -> bool:
    """Whether this error says that the disk is full."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return _IN_WORDS.search(str(error)) is not None


def failure(step: int | None) -> Failure:
    """The end of the job, as its trainer reports it."""
    return Failure(kind=KIND, fault="resource", message=MESSAGE, step=step)
