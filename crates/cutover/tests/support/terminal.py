"""Drives a command on a terminal: TERMINAL.py COMMAND… reads steps from standard input, one a line.

`send TEXT` types (with escapes), `expect TEXT` waits for it, `until TEXT => WANTED` types again and again until it is answered so, `resize ROWS
COLUMNS` changes the size, `hang up` closes the terminal. Prints what was seen, and at the end `ended with STATUS`.
"""
import fcntl, os, pty, select, signal, struct, sys, termios, time

PATIENCE = 30


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


child, terminal = pty.fork()
if child == 0:
    resize(0, 33, 99)
    os.environ["TERM"] = "xterm-256color"
    os.execv(sys.argv[1], sys.argv[1:])

seen = b""
consumed = 0


def look(seconds):
    global seen
    if not select.select([terminal], [], [], seconds)[0]:
        return True
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        piece = b""
    seen += piece
    return bool(piece)


def expect(wanted, patience=PATIENCE):
    global consumed
    deadline = time.monotonic() + patience
    while wanted.encode() not in seen[consumed:]:
        if time.monotonic() > deadline or not look(0.1):
            return False
    consumed = seen.index(wanted.encode(), consumed) + len(wanted.encode())
    return True


for step in sys.stdin.read().splitlines():
    verb, _, rest = step.partition(" ")
    if verb == "send":
        os.write(terminal, rest.encode().decode("unicode_escape").encode())
    elif verb == "expect":
        if not expect(rest):
            print(f"never seen: {rest!r}")
            os.kill(child, signal.SIGKILL)
            break
    elif verb == "until":
        typed, _, wanted = rest.partition(" => ")
        deadline = time.monotonic() + PATIENCE
        while True:
            os.write(terminal, (typed + "\n").encode())
            if expect(wanted, 0.5):
                break
            if time.monotonic() > deadline:
                print(f"never answered: {wanted!r}")
                os.kill(child, signal.SIGKILL)
                break
    elif verb == "resize":
        resize(terminal, *map(int, rest.split()))
    elif step == "hang up":
        os.close(terminal)
        terminal = None
        break

deadline = time.monotonic() + PATIENCE
while terminal is not None and time.monotonic() < deadline and look(1):
    pass
_, status = os.waitpid(child, 0)
sys.stdout.write(seen.decode(errors="replace"))
print(f"\nended with {os.waitstatus_to_exitcode(status)}")
