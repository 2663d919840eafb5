"""``python -m router_sdk_bert.encoding.export_child``: finds one model's weights and exports them, as asked on stdin.

In a process of its own, that can be ended at any moment: downloads and exports take as long as they like.
"""

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
    from router_sdk_bert.config import EncoderSettings
    from router_sdk_bert.encoding.export import export_encoder
    from router_sdk_bert.encoding.opening import NO_WEIGHTS
    from router_sdk_bert.encoding.weights import find_weights

    request = json.load(sys.stdin)
    settings = EncoderSettings(**request["settings"])
    try:
        weights = find_weights(settings)
    except EncoderUnavailableError as error:
        return _failed(error, NO_WEIGHTS)
    except (CorruptArtifactError, OSError) as error:
        return _failed(error, 1)
    try:
        export_encoder(weights, Path(request["folder"]), settings)
    except (EncoderUnavailableError, CorruptArtifactError, OSError, MemoryError) as error:
        return _failed(error, 1)
    return 0


def _failed(error: Exception, code: int) -> int:
    sys.stderr.write(f"\n{' '.join(str(error).split()) or type(error).__name__}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
