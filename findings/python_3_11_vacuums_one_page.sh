#!/usr/bin/env bash
# sqlite3 of CPython 3.11: PRAGMA incremental_vacuum(N) frees one page, whatever N is and whether or not rows are fetched;
# apsw, the other binding of SQLite, frees N in the same interpreter.
#
# Seen with CPython 3.11.7 (SQLite 3.40.1) and apsw 3.54.1.0; 200 pages written and deleted, 50 asked for:
#
#   sqlite3, execute(...)              pages freed: 1
#   sqlite3, execute(...).fetchall()   pages freed: 1      (50 in CPython 3.10.13, 3.12.1 and 3.13.0)
#   sqlite3, executescript(...)        pages freed: 50
#   apsw, execute(...).fetchall()      pages freed: 50
#
# Expected: as many as were asked for once the cursor is exhausted, as SQLite's documentation of the pragma says
# (sqlite.org/pragma.html#pragma_incremental_vacuum). SQLite frees a page with each step of the statement, and a statement
# without columns seems to get one step only in 3.11. executescript is no way out inside a transaction: it commits first.
#
# Source: runs of the versions named above; the module is Modules/_sqlite of github.com/python/cpython, branch 3.11.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cat > "$folder/pages.py" <<'PYTHON'
import sqlite3
import sys

import apsw


def freed(connection, vacuum):
    def ask(order):
        return list(connection.execute(order))

    ask("PRAGMA auto_vacuum = INCREMENTAL")
    ask("CREATE TABLE filler (content)")
    for _ in range(200):
        ask("INSERT INTO filler VALUES (zeroblob(4000))")
    ask("DELETE FROM filler")
    ((before,),) = ask("PRAGMA freelist_count")
    vacuum(connection, "PRAGMA incremental_vacuum(50)")
    ((after,),) = ask("PRAGMA freelist_count")
    connection.close()
    return before - after


def standard(name):
    return sqlite3.connect(f"{sys.argv[1]}/{name}.db", isolation_level=None)


print("execute", freed(standard("execute"), lambda connection, order: connection.execute(order)), end="; ")
print("fetchall", freed(standard("fetchall"), lambda connection, order: connection.execute(order).fetchall()), end="; ")
print("executescript", freed(standard("script"), lambda connection, order: connection.executescript(order)), end="; ")
print("apsw", freed(apsw.Connection(f"{sys.argv[1]}/apsw.db"), lambda connection, order: connection.execute(order).fetchall()))
PYTHON
told="$("$folder/venv/bin/python" "$folder/pages.py" "$folder")"
echo "$told"
[ "$told" = "execute 1; fetchall 1; executescript 50; apsw 50" ]
