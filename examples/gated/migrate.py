"""Renames the column in two steps, with releases of both names at work in between.

    expand    adds the column of this release beside the old one, and has the database fill in whichever a writer
              leaves out: from now on old and new code work
    contract  takes the old column away: from now on only this release does

Each step is one transaction and may be run again, because after a crash of the controller it is.
"""

import os
import sys

from schema import COLUMN, columns, connect


def expand(database):
    database.execute(
        f"CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, {COLUMN} TEXT NOT NULL DEFAULT '')"
    )
    others = [name for name in columns(database) if name not in ("id", COLUMN)]
    if COLUMN not in columns(database):
        database.execute(f"ALTER TABLE notes ADD COLUMN {COLUMN} TEXT NOT NULL DEFAULT ''")
        database.execute(f"UPDATE notes SET {COLUMN} = {others[0]}")
    for other in others:
        for left_out, written in ((COLUMN, other), (other, COLUMN)):
            database.execute(
                f"CREATE TRIGGER IF NOT EXISTS fill_{left_out} AFTER INSERT ON notes WHEN new.{left_out} = '' "
                f"BEGIN UPDATE notes SET {left_out} = new.{written} WHERE id = new.id; END"
            )
    if os.environ["BUG"] == "hasty":
        # As if it were renamed at once: the release that is live does not survive it.
        contract(database)


def contract(database):
    for name in columns(database):
        database.execute(f"DROP TRIGGER IF EXISTS fill_{name}")
    for name in columns(database):
        if name not in ("id", COLUMN):
            database.execute(f"ALTER TABLE notes DROP COLUMN {name}")


step = {"expand": expand, "contract": contract}[sys.argv[1]]
database = connect()
database.execute("BEGIN IMMEDIATE")
step(database)
database.execute("COMMIT")
print(f"notes has the columns {', '.join(columns(database))}")
