"""The one thing in which two releases of this service differ: what the column with the note is called."""

import os
import sqlite3

COLUMN = "text"


def connect():
    return sqlite3.connect(os.environ["DATABASE"], timeout=5, isolation_level=None)


def columns(database):
    return [row[1] for row in database.execute("PRAGMA table_info(notes)")]
