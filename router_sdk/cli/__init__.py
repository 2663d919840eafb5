"""The command line ``router``; no command decides anything itself."""

import atexit
import gc


def main() -> None:
    """Run the command line; nothing of it is imported before."""
    # Most of what a short process makes is what it imports, and that stays: to look through it for garbage, while it
    # grows and once more at the end, takes a quarter of such a process.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    from router_sdk.cli.app import app

    app(prog_name="router")
