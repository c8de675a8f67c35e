"""Programs that end with the process that started them, however that one ends.

Where the system tells nobody, as Windows, they go on to their own end.
"""

import os
import runpy
import sys
import threading
import time

POLL = 0.5  # seconds between looks at the parent


def bound(module: str) -> list[str]:
    """The beginning of the command ``python -m MODULE`` for a program bound to this process."""
    return [sys.executable, "-m", __name__, module]


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)


if __name__ == "__main__":
    del sys.argv[0]
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
