"""Sends the letters in the directory `QUEUE`, the oldest first; told to stop, it finishes the one it has."""

import os
import signal
import time
from pathlib import Path

QUEUE = Path(os.environ["QUEUE"])
stopping = False


def stop(*_):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
QUEUE.mkdir(exist_ok=True)
while not stopping:
    letters = sorted(QUEUE.glob("*.letter"), key=lambda letter: letter.stat().st_mtime)
    if not letters:
        time.sleep(0.2)
        continue
    time.sleep(0.5)  # sending takes a while
    print(f"{os.environ['CUTOVER_VERSION']} sends {letters[0].stem}", flush=True)
    letters[0].rename(letters[0].with_suffix(".sent"))
