"""When the instances are healthy: the first requests, which fill caches where there are some."""

import os
import urllib.request

TARGET = os.environ["CUTOVER_TARGET_URL"].rstrip("/")
for path in ("/", "/notes"):
    with urllib.request.urlopen(TARGET + path, timeout=10) as answer:
        print(f"{path} {answer.status}, {len(answer.read())} bytes from {answer.headers['x-version']}")
