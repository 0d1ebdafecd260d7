"""Before anything is done: a copy of the database, under the name of the deployment. Without one nothing is done."""

import json
import os
import sqlite3
import sys
from pathlib import Path

told = json.load(sys.stdin)  # what every hook is told of its deployment
database = Path(os.environ["DATABASE"])
if not database.exists():
    sys.exit(print("there is nothing to keep a copy of yet"))
copy = database.with_name(f"before-{told['deployment']}.backup")
with sqlite3.connect(database) as source, sqlite3.connect(copy) as target:
    source.backup(target)
print(f"{told['actor']} brings {told['version']} to {told['environment']}; {copy} is as it was before")
