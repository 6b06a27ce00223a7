"""A trainer whose warm-up leaves a thread behind, which no template may fork."""

import threading
import time


def warm_up() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
