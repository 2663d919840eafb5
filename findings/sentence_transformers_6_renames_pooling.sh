#!/usr/bin/env bash
# sentence-transformers 6.2.0: the same pooling is saved under other keys than up to 5, and 5 cannot load what 6 saved.
#
# Seen with sentence-transformers 5.1.2 and 6.2.0, CPython 3.11, Linux x86_64; Pooling of 8 dimensions, mode "mean", saved by
# save() and loaded by load() of the modules themselves, with stand-ins for torch and transformers, which neither needs for that:
#
#   5.1.2 writes 1_Pooling/config.json: word_embedding_dimension, pooling_mode_mean_tokens: true, five more pooling_mode_*
#   6.2.0 writes                      : embedding_dimension, pooling_mode: "mean"
#   5.1.2 loads what 5.1.2 wrote: yes, what 6.2.0 wrote: TypeError
#
# Expected: a file that says the same to whoever reads it, or one that says of which format it is. Nothing in a saved folder
# states a format; who looks for pooling_mode_mean_tokens, as many other readers of these folders do, finds no pooling, and
# one that then falls back to the first token serves other vectors than the model's makers did, without any error.
#
# Source: config_keys, config_key_renames and _LEGACY_POOLING_MODE_KWARGS in
# sentence_transformers/sentence_transformer/modules/pooling.py (6.2.0), config_keys in sentence_transformers/models/Pooling.py
# (5.1.2) of github.com/huggingface/sentence-transformers.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/pooling.py" <<'PYTHON'
import importlib.util
import json
import os
import sys
import types
from unittest.mock import MagicMock

site, target, command = sys.argv[1:]
for name in ("torch", "safetensors", "safetensors.torch", "transformers", "transformers.utils", "packaging", "packaging.version"):
    sys.modules[name] = MagicMock()


class Plain:
    def __init__(self, *args, **kwargs):
        pass


sys.modules["torch"].nn = types.SimpleNamespace(Module=Plain)
packages = ["sentence_transformers", "sentence_transformers.models", "sentence_transformers.base"]
packages += ["sentence_transformers.base.modules", "sentence_transformers.util"]
for name in packages:  # Without what stands in their __init__, which imports everything else.
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(site, *name.split("."))]
    sys.modules[name] = package
sys.modules["sentence_transformers.util"].load_dir_path = None
sys.modules["sentence_transformers.util"].load_file_path = (
    lambda model_name_or_path, filename, subfolder="", **_: os.path.join(model_name_or_path, subfolder, filename)
)
paths = ("sentence_transformer/modules/pooling.py", "models/Pooling.py")
path = next(path for path in (os.path.join(site, "sentence_transformers", path) for path in paths) if os.path.exists(path))
spec = importlib.util.spec_from_file_location("pooling_of_this_release", path)
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
if command == "save":
    os.makedirs(target, exist_ok=True)
    made.Pooling(8, "mean").save(target)
    with open(os.path.join(target, "config.json")) as file:
        said = json.load(file)
    print(" ".join(sorted(key for key, value in said.items() if value is not False)))
else:
    try:
        made.Pooling.load(target)
        print("yes")
    except TypeError:
        print("TypeError")
PYTHON
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$@"; }
install "$folder/5.1.2" sentence-transformers==5.1.2
install "$folder/6.2.0" sentence-transformers==6.2.0
old="$("$folder/venv/bin/python" "$folder/pooling.py" "$folder/5.1.2" "$folder/by-5" save)"
new="$("$folder/venv/bin/python" "$folder/pooling.py" "$folder/6.2.0" "$folder/by-6" save)"
own="$("$folder/venv/bin/python" "$folder/pooling.py" "$folder/5.1.2" "$folder/by-5" load)"
other="$("$folder/venv/bin/python" "$folder/pooling.py" "$folder/5.1.2" "$folder/by-6" load)"
echo "5.1.2 writes: $old; 6.2.0 writes: $new; 5.1.2 loads its own: $own, that of 6.2.0: $other"
[ "$old" = "include_prompt pooling_mode_mean_tokens word_embedding_dimension" ]
[ "$new" = "embedding_dimension include_prompt pooling_mode" ]
[ "$own $other" = "yes TypeError" ]
