#!/usr/bin/env bash
# river 0.26.1: ADWIN.n_detections, "the total number of detected changes", is never more than one, and a change's window
# is thrown away with the next value.
#
# Seen with river 0.26.1, narwhals 2.9.0, numpy 2.3.5, CPython 3.11, Linux x86_64; 200 values around 0, 200 around 3, and
# so on, three changes:
#
#   drift_detected was true 3 times
#   n_detections after the last value: 0
#   width of the window where a change was found: more than one; with the next value: 1
#
# Expected, from its documentation: n_detections 3, and that where a change is found the older part of the window is
# dropped ("W0 is replaced by W1"), so that the window then grows by one. Instead update() makes a new detector whenever
# the update before found a change, and with it go the count and the newer part of the window. Whoever feeds many values
# and looks afterwards, by n_detections or by drift_detected, which holds for one update only, never hears of a change.
#
# Source: the methods update and _reset of river/drift/adwin.py in github.com/online-ml/river, which says the above of
# n_detections and of W0.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/changes.py" <<'PYTHON'
import random

from river.drift import ADWIN

made, values = ADWIN(delta=0.01, clock=1), random.Random(0)
found, widths, before = 0, [], False
for level in (0.0, 3.0, 0.0, 3.0):
    for _ in range(200):
        made.update(values.gauss(level, 1.0))
        if before:
            widths.append(int(made.width))
        before = made.drift_detected
        found += before
        if before:
            widths.append(int(made.width))
print(found, made.n_detections, min(widths[::2]) > 1, set(widths[1::2]))
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps river==0.26.1 narwhals==2.9.0 numpy==2.3.5 scipy==1.16.3
said="$("$folder/venv/bin/python" "$folder/changes.py")"
echo "changes found, n_detections, was the window longer than one, and with the next value: $said"
[ "$said" = "3 0 True {1}" ]
