#!/usr/bin/env bash
# onnxruntime on Linux: since 1.29, importing it is enough to start the thread of its usage reports.
#
# Seen with onnxruntime 1.28.0 and 1.31.1, numpy 2.3.5, CPython 3.11, Linux x86_64, no session made, nothing called:
#
#   1.28.0                           threads started by the import: 0
#   1.31.1                           threads started by the import: 1
#   1.31.1, disabled once imported   threads started by the import: 1
#   1.31.1, ORT_DISABLE_TELEMETRY=1  threads started by the import: 0
#
# Expected: an import that starts nothing, as up to 1.28, where the reports were for Windows alone. The function that turns
# the reports off, disable_telemetry_events(), can only be called after the import and leaves the thread where it is, so
# that a program that forks afterwards has it in the parent alone. The environment variable has to be set before.
#
# Source: the file onnxruntime/core/platform/posix/telemetry.cc of github.com/microsoft/onnxruntime, there from 1.29.0 on;
# its first appearance is worked out in pull request 749 of github.com/zilliztech/memsearch.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/threads.py" <<'PYTHON'
import os
import sys

import numpy  # its BLAS has threads of its own

before = set(os.listdir("/proc/self/task"))
import onnxruntime

if "off" in sys.argv:
    onnxruntime.disable_telemetry_events()
print(len(set(os.listdir("/proc/self/task")) - before))
PYTHON
for version in 1.28.0 1.31.1; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "onnxruntime==$version" numpy==2.3.5
done
unset ORT_DISABLE_TELEMETRY
old="$("$folder/1.28.0/bin/python" "$folder/threads.py")"
new="$("$folder/1.31.1/bin/python" "$folder/threads.py")"
late="$("$folder/1.31.1/bin/python" "$folder/threads.py" off)"
early="$(ORT_DISABLE_TELEMETRY=1 "$folder/1.31.1/bin/python" "$folder/threads.py")"
echo "1.28.0: $old, 1.31.1: $new, disabled once imported: $late, ORT_DISABLE_TELEMETRY=1: $early"
[ "$old $new $late $early" = "0 1 1 0" ]
