"""Before the switch: is it quick enough when several ask at once?"""

import os
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

TARGET = os.environ["CUTOVER_TARGET_URL"].rstrip("/")
REQUESTS, AT_ONCE, BOUND = 20, 4, 0.75


def ask(_):
    began = time.monotonic()
    with urllib.request.urlopen(TARGET + "/notes", timeout=10) as answer:
        answer.read()
    return time.monotonic() - began


with ThreadPoolExecutor(AT_ONCE) as clients:
    times = sorted(clients.map(ask, range(REQUESTS)))
median = times[REQUESTS // 2]
print(f"{REQUESTS} requests, {AT_ONCE} at once: half of them took less than {median * 1000:.0f} ms")
if median > BOUND:
    sys.exit(f"that is more than {BOUND * 1000:.0f} ms")
