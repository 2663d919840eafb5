"""The command line ``router``: one file per command, and none of them decides anything itself."""


def main() -> None:
    """Run the command line; nothing of it is imported before."""
    from router_sdk.cli.app import app

    app(prog_name="router")
