"""``python -m router_sdk_bert.encoding.export_child``: exports one checkpoint, as asked on stdin."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Export as asked; on failure the last line on stderr says why."""
    if hasattr(os, "nice"):
        os.nice(10)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
    from router_sdk_bert.encoding.exporting import export_encoder
    from router_sdk_bert.encoding.settings import EncoderSettings

    request = json.load(sys.stdin)
    try:
        export_encoder(Path(request["checkpoint"]), Path(request["folder"]), EncoderSettings(**request["settings"]))
    except (EncoderUnavailableError, CorruptArtifactError, OSError, MemoryError) as error:
        sys.stderr.write(f"\n{' '.join(str(error).split()) or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
