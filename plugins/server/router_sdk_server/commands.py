"""``router serve`` and ``router keys``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli import Invocation, command
from router_sdk.errors import InvalidInputError
from router_sdk_server.settings import Unfinished

if TYPE_CHECKING:
    from router_sdk.records import AccessKey

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys that callers of a service show.")


def serve(
    invocation: Invocation,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the port and the store.")] = 1,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Callers on this machine need no key; on a loopback address alone.")
    ] = False,
    per_minute: Annotated[
        int,
        typer.Option(min=0, help="Most requests a minute of keys without a limit of their own; 0 sets none."),
    ] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest that a request may take, in seconds.")] = 60.0,
    max_body: Annotated[int, typer.Option(min=1_024, metavar="BYTES", help="Largest body of a request.")] = 4 << 20,
    attempts: Annotated[
        int, typer.Option(min=1, max=100, help="Agents that a chat completion is asked of while they fail.")
    ] = 3,
    cancelled: Annotated[
        Unfinished, typer.Option(help="What a completion counts as whose client went away.")
    ] = "unknown",
    cut_off: Annotated[Unfinished, typer.Option(help="What a completion counts as that broke off.")] = "unknown",
) -> None:
    """Answer over HTTP, with everything that Python callers have.

    Callers show a key, see router keys. It ends at Ctrl-C or SIGTERM, once what was asked is answered.
    """
    from router_sdk_server.access import is_loopback
    from router_sdk_server.logs import log_config
    from router_sdk_server.serving import run
    from router_sdk_server.settings import ServiceSettings

    if insecure and not is_loopback(host):
        raise InvalidInputError(
            f"--insecure lets everybody in who reaches {host}: it is for 127.0.0.1 and ::1; elsewhere make keys with "
            "router keys create"
        )
    config = invocation.config  # read here, so that what is wrong with it is said once and by this process
    settings = ServiceSettings(
        config=invocation.config_path,
        store=str(config.store),
        insecure=insecure,
        per_minute=per_minute,
        timeout_s=timeout,
        workers=workers,
        most_body_bytes=max_body,
        attempts=attempts,
        cancelled=cancelled,
        cut_off=cut_off,
    )
    log = log_config(as_json=invocation.as_json, verbose=invocation.verbose, log_file=invocation.log_file)
    run(settings, host, port, log)


@keys.command("create")
@command
def create(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(help="Who it is for; the actor of outcomes that come with it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="route, record, admin or metrics; several times. Default: route and record."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Whose decisions alone it sees and makes.")] = None,
    origin: Annotated[
        str | None,
        typer.Option(metavar="ORIGIN", help="Origin of its outcomes: user, tool, judge, signal, horizon or import."),
    ] = None,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Most requests a minute.")] = None,
) -> None:
    """Make a key, and show it: the store keeps a hash of it alone."""
    with invocation.router() as router:
        made, key = router.keys.create(
            name,
            scopes=scope or ("route", "record"),  # type: ignore[arg-type]
            tenant=tenant,
            origin=origin,  # type: ignore[arg-type]
            per_minute=per_minute,
        )
    told = {**made.to_dict(), "key": key}
    invocation.screen.show(told, lambda: [f"{key}\nKey {made.key_id} of {name}. It is not shown again."])


@keys.command("list")
@command
def list_keys(invocation: Invocation) -> None:
    """Show the keys there are and were, without the keys themselves."""
    with invocation.router(new=False, read_only=True) as router:
        found = router.keys.all()
    invocation.screen.show(
        {"keys": [key.to_dict() for key in found]}, lambda: ["\n".join(map(_line, found)) or "No keys yet."]
    )


@keys.command("revoke")
@command
def revoke(invocation: Invocation, key_id: Annotated[str, typer.Argument(help="Which, see router keys list.")]) -> None:
    """Let a key open nothing any more; services that run refuse it a second later."""
    with invocation.router(new=False) as router:
        router.keys.revoke(key_id)
    invocation.screen.show({"revoked": key_id}, lambda: [f"Revoked {key_id}."])


def _line(key: AccessKey) -> str:
    told = [key.key_id, key.name, " ".join(key.to_dict()["scopes"])]
    told += [f"tenant {key.tenant}"] if key.tenant else []
    told += [f"origin {key.origin}"] if key.origin else []
    told += [f"{key.per_minute:,} a minute"] if key.per_minute else []
    told += ["revoked"] if key.revoked_at is not None else []
    return "  ".join(told)
