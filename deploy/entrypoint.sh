#!/bin/sh
# What a variable holds may stand in a file instead, which NAME_FILE names: secrets are mounted so.
set -eu
for name in PGPASSWORD ROUTER_STORE; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ]; then
        value="$(cat "$file")"
        export "$name=$value"
        unset "${name}_FILE"
    fi
done
exec router "$@"
