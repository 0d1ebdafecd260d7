"""Takes jobs from a table, one at a time, and finishes the one it has when it is told to stop.

The deed is a line in a file, outside of the transaction: whoever is killed between deed and commit leaves a job that
somebody else does again, and whoever runs beside another version is seen by the order of the lines.
"""

import os
import signal
import subprocess
import time

stopping = False


def stop(*_):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
version = os.environ["CUTOVER_VERSION"]
events = os.open(os.environ["EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(line):
    os.write(events, f"{line} {version}\n".encode())


# In a group of its own: the signal that asks to stop is for this program alone.
database = subprocess.Popen(
    ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1", "-U", "queue", "-d", "postgres", "-h", os.environ["QUEUE"]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, process_group=0,
)


def ask(sql):
    database.stdin.write(f"{sql};\n\\echo .\n")
    answer = []
    for line in database.stdout:
        if line == ".\n":
            return answer
        answer.append(line.strip())
    raise SystemExit("the database is gone")


note("start")
while not stopping:
    ask("BEGIN")
    job = ask("SELECT id FROM jobs WHERE NOT done ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
    if job:
        note(f"job:{job[0]}")
        time.sleep(0.005)
        ask(f"UPDATE jobs SET done = true WHERE id = {job[0]}")
    ask("COMMIT")
    if not job:
        time.sleep(0.01)
# Who stays until another version has started shows that both were there at once.
while os.environ.get("STAYS") == version and not any(
    line.startswith("start") and version not in line for line in open(os.environ["EVENTS"])
):
    time.sleep(0.01)
database.stdin.close()
database.wait()
note("stop")
