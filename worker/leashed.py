"""``python -m worker.leashed PARENT MODULE``: runs a module that dies with the process that started it."""

import runpy
import sys

from worker import leash


def main() -> None:
    """Take the leash, then become the module."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    leash.die_with_parent(parent)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
