"""Takes letters by POST and puts each as a file into the directory `QUEUE`; GET tells how many wait and how many were sent."""

import os
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

QUEUE = Path(os.environ["QUEUE"])


class Letters(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            return self.answer("well\n")
        waiting, sent = (len(list(QUEUE.glob(f"*.{state}"))) for state in ("letter", "sent"))
        self.answer(f"{os.environ['CUTOVER_VERSION']}: {waiting} waiting, {sent} sent\n")

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("content-length", 0)))
        draft = QUEUE / f"{uuid.uuid4()}.draft"
        draft.write_bytes(text)
        # Under this name it is whole: a worker never sees half a letter.
        draft.rename(draft.with_suffix(".letter"))
        self.answer("it will be sent\n")

    def answer(self, text):
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


QUEUE.mkdir(exist_ok=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Letters).serve_forever()
