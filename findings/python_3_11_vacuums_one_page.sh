#!/usr/bin/env bash
# sqlite3 of CPython 3.11: PRAGMA incremental_vacuum(N) frees one page, whatever N is and whether or not rows are fetched.
#
# Seen with CPython 3.11.2 and 3.11.7, SQLite 3.40.1; 200 pages free, 50 asked for:
#
#   execute(...)              pages freed: 1
#   execute(...).fetchall()   pages freed: 1      (50 in CPython 3.10.13, 3.12.1 and 3.13.0)
#   executescript(...)        pages freed: 50
#
# Expected: as many as were asked for once the cursor is exhausted, as SQLite's documentation of the pragma says
# (sqlite.org/pragma.html#pragma_incremental_vacuum). SQLite frees a page with each step of the statement; 3.11 gives up a
# statement that has no columns after its first step. executescript is no way out inside a transaction: it commits first.
#
# Source: Modules/_sqlite/cursor.c of github.com/python/cpython, branch 3.11, in comparison with its neighbours.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/pages.py" <<'PYTHON'
import sqlite3
import sys

WAYS = {
    "execute": lambda connection, order: connection.execute(order),
    "fetchall": lambda connection, order: connection.execute(order).fetchall(),
    "executescript": lambda connection, order: connection.executescript(order),
}
for name, vacuum in WAYS.items():
    connection = sqlite3.connect(f"{sys.argv[1]}/{name}.db", isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("CREATE TABLE filler (content)")
    connection.executemany("INSERT INTO filler VALUES (zeroblob(4000))", [()] * 200)
    connection.execute("DELETE FROM filler")
    count = "PRAGMA freelist_count"
    before = connection.execute(count).fetchone()[0]
    vacuum(connection, "PRAGMA incremental_vacuum(50)")
    print(name, before - connection.execute(count).fetchone()[0], end="; ")
    connection.close()
PYTHON
told="$(python3.11 "$folder/pages.py" "$folder")"
echo "$told"
[ "$told" = "execute 1; fetchall 1; executescript 50; " ]
