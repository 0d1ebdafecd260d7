"""Keeps notes: GET / for people; GET and POST /notes, GET and DELETE /notes/ID for programs. Whoever writes needs a token.

The variable `BUG` makes it wrong in a way that one of its gates finds.
"""

import hmac
import html
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from schema import COLUMN, columns, connect

BUG = os.environ["BUG"]
AUTHORIZED = f"Bearer {os.environ['NOTES_TOKEN'].strip()}"
LONGEST = 10_000


def is_live():
    return Path(os.environ["CUTOVER_LIVE_FILE"]).read_text().strip() == "live"


class Notes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, "ok\n")
        if BUG == "late" and self.path == "/" and is_live():
            raise RuntimeError("nobody has seen this before there were users")
        if BUG == "slow" and self.path == "/notes":
            time.sleep(1)
        if self.path == "/":
            items = "".join(f"<li>{html.escape(note['note'])}</li>\n" for note in self.notes())
            title = "Nots" if BUG == "typo" else "Notes"
            page = f"<!doctype html>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n"
            return self.answer(200, page, {"content-type": "text/html; charset=utf-8"})
        if self.path == "/notes":
            return self.json(200, self.notes())
        found = self.notes(f"WHERE id = {self.id()}") if self.id() else []
        return self.json(200, found[0]) if found else self.json(404, {"error": "no such note"})

    def do_POST(self):
        # What was sent is read in any case: the next request follows it.
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), LONGEST))
        if not self.is_authorized():
            return self.json(401, {"error": "a token is needed"})
        note = json.loads(body)["note"]
        database = connect()
        key = database.execute(f"INSERT INTO notes ({COLUMN}) VALUES (?)", [note]).lastrowid
        if BUG == "forgetful":
            database.execute("DELETE FROM notes WHERE id = ?", [key])
        self.json(201, {"id": key, "note": note}, {"location": f"/notes/{key}"})

    def do_DELETE(self):
        if not self.is_authorized():
            return self.json(401, {"error": "a token is needed"})
        connect().execute(f"DELETE FROM notes WHERE id = {self.id() or 0}")
        self.answer(204, "")

    def notes(self, which=""):
        order = "ASC" if BUG == "unsorted" else "DESC"
        rows = connect().execute(f"SELECT id, {COLUMN} FROM notes {which} ORDER BY id {order} LIMIT 100")
        return [{"id": key, "note": note} for key, note in rows]

    def id(self):
        word = self.path.removeprefix("/notes/")
        return int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None

    def is_authorized(self):
        sent = self.headers.get("authorization", "")
        return hmac.compare_digest(sent.encode(), AUTHORIZED.encode())

    def json(self, status, value, fields={}):
        self.answer(status, json.dumps(value) + "\n", {"content-type": "application/json", **fields})

    def answer(self, status, text, fields={}):
        self.send_response(status)
        for name, value in {**fields, "x-version": os.environ["CUTOVER_VERSION"]}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            self.close_connection = True
            self.answer(500, f"{error}\n", {"connection": "close"})

    def log_message(self, *_):
        pass


# It looks at its schema when it starts: `expand` has run by then.
if COLUMN not in columns(connect()):
    sys.exit(f"the table has no column `{COLUMN}`")
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Notes).serve_forever()
