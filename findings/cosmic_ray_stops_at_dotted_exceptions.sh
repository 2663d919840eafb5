#!/usr/bin/env bash
# cosmic-ray: the operator that replaces exceptions cannot read one that is named with its module.
#
# Seen with cosmic-ray 8.7.0, CPython 3.11; the handler of each line, and what the first mutant makes of it:
#
#   ValueError               -> CosmicRayTestingException
#   sqlite3.Error            -> sqlite3CosmicRayTestingExceptionError   (the dot is replaced: a name that nobody has defined)
#   (sqlite3.Error, OSError) -> AttributeError: 'PythonNode' object has no attribute 'value'
#
# Expected: the whole name replaced. A project that writes module.Name has mutants that only die where the handler is
# reached, by a NameError, and a run that ends where a tuple of such names comes up, unless those places are left out.
#
# Source: core/ExceptionReplacer in cosmic_ray/operators/exception_replacer.py of the package (github.com/sixty-north/
# cosmic-ray); its documentation names no such limit.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cosmic-ray==8.7.0
cat > "$folder/try.py" <<'PYTHON'
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

for handler in ("ValueError", "sqlite3.Error", "(sqlite3.Error, OSError)"):
    code = f"import sqlite3\ntry:\n    pass\nexcept {handler}:\n    pass\n"
    try:
        changed = mutate_code(code, get_operator("core/ExceptionReplacer")(), 0)
        print(handler, "->", changed.partition("except ")[2].partition(":")[0])
    except AttributeError as error:
        print(handler, "-> AttributeError:", error)
PYTHON
told="$("$folder/venv/bin/python" "$folder/try.py")"
echo "$told"
[ "$told" = "ValueError -> CosmicRayTestingException
sqlite3.Error -> sqlite3CosmicRayTestingExceptionError
(sqlite3.Error, OSError) -> AttributeError: 'PythonNode' object has no attribute 'value'" ]
