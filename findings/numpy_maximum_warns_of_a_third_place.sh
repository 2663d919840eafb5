#!/usr/bin/env bash
# numpy 2.4: of the binary functions only maximum and minimum warn where the output is given by place.
#
# Seen with numpy 2.4.6, CPython 3.11, Linux x86_64; x = numpy.ones(2), each called as f(x, x, x), warnings shown:
#
#   add, multiply, fmax, hypot: nothing
#   maximum, minimum:           DeprecationWarning, which asks for the keyword out
#
# Expected, from the form of every ufunc, f(x1, x2, out): that all warn, or none. A program that turns warnings into errors fails
# in the one branch that clips in place, however often its sums and products went well with the same form.
#
# Source: the warning's own words say that a third place might be meant as a third input; it is raised in numpy/_core, since 2.4.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/places.py" <<'PYTHON'
import warnings

import numpy as np

for name in ("add", "multiply", "fmax", "hypot", "maximum", "minimum"):
    x = np.ones(2)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        getattr(np, name)(x, x, x)
    print(name, *(each.category.__name__ for each in seen), end="; ")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6
said="$("$folder/venv/bin/python" "$folder/places.py")"
echo "$said"
[ "$said" = "add; multiply; fmax; hypot; maximum DeprecationWarning; minimum DeprecationWarning; " ]
