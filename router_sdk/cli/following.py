"""A broker's stream on the command line: followed, asked about, and its events looked at before they are sent."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from router_sdk.cli.commands.loop import config_of, told_to_end
from router_sdk.cli.commands.models import labelled, watched
from router_sdk.cli.commands.soak import soak
from router_sdk.cli.loop_file import LoopFile, read_loop_file, told_of
from router_sdk.cli.stream import StreamReport as Lines
from router_sdk.cli.stream import lines_of
from router_sdk.cli.tables import note, pairs
from router_sdk.errors import InvalidConfigError, InvalidInputError, RouterError, StreamUnavailableError
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from router_sdk.cli.invocation import Invocation
    from router_sdk.exchange.ingest import StreamReport
    from router_sdk.exchange.outbox import Outbox
    from router_sdk.router import Router
    from router_sdk.streams.address import Address

NONE = "none"
SUFFIX = "-dead-letters"
_BROKERS = ("kafka", "nats", "redis", "rediss")
_TELL_S = 10.0
_IDLE_S = 2.0
_AWAY_S = 10.0
_VARIABLES = {
    "MODEL_BATCH_SIZE": "batch_events",
    "MODEL_BATCH_TIMEOUT": "batch_seconds",
    "MODEL_SAVE_INTERVAL": "snapshot_seconds",
}
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A checkpoint to begin with, and the labelled tasks that it is measured on."""

    checkpoint: Path
    data: Path

    @classmethod
    def of(cls, checkpoint: Path | None, data: Path | None, told: LoopFile | None) -> WarmUp | None:
        """What the command line, or else a neighbour's file, asks for.

        Raises:
            InvalidInputError: if one of the two is missing.
        """
        given = {} if told is None else told.stream
        folder, file = checkpoint or given.get("warmup_from"), data or given.get("warmup_data")
        if folder is None and file is None:
            return None
        if folder is None or file is None:
            raise InvalidInputError("a warm-up needs both --warmup-from DIR and --warmup-data FILE, its labelled tasks")
        return cls(Path(folder), Path(file))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be followed, and how.

    Attributes:
        address: Where events come from.
        mapping: What those of other forms mean.
        dead_letters: Where messages go that nobody understands; None is beside the topic, ``none`` nowhere.
        new_agents: Whether unknown names become agents.
        once: Whether to end once nothing more comes.
        warm_up: What to begin with, or None.
        told: A neighbour's file with settings, or None.
    """

    address: str
    mapping: Path | None
    dead_letters: str | None
    new_agents: bool
    once: bool
    warm_up: WarmUp | None = None
    told: LoopFile | None = None


def told_by(invocation: Invocation) -> LoopFile | None:
    """The file of a neighbour's online learner, where ``--config`` names one; each key is answered."""
    found = read_loop_file(invocation.config_file)
    for line in [] if found is None else told_of(found):
        invocation.screen.event({"event": "configuration", "reason": line}, line)
    return found


def address_of(given: str | None, told: LoopFile | None = None) -> str | None:
    """The address to follow, with what a neighbour's file or environment says of Kafka where it leaves that open.

    Raises:
        InvalidConfigError: if ``ENABLE_KAFKA`` is neither true nor false.
    """
    enabled = os.environ.get("ENABLE_KAFKA", "").strip().lower()
    if enabled not in _TRUE | _FALSE:
        raise InvalidConfigError(f"ENABLE_KAFKA: expected true or false, got {enabled!r:.60}")
    named = {} if told is None else told.stream
    if given is None and (enabled in _TRUE or "hosts" in named):
        given = "kafka:"
    if given is None or not given.lower().startswith("kafka:"):
        return given
    from router_sdk.streams.address import TOPIC, Address

    where = Address.parse(given)
    hosts = where.hosts or os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or named.get("hosts", "localhost:9092")
    topic = where.topic
    if topic == TOPIC:
        topic = os.environ.get("KAFKA_OUTCOME_TOPIC") or named.get("topic", TOPIC)
    _, mark, options = given.partition("?")
    if "group" in named and "group=" not in options:
        mark, options = "?", "&".join(filter(None, [options, f"group={quote(named['group'])}"]))
    who, at, _ = given.partition("://")[2].partition("/")[0].rpartition("@")
    return f"kafka://{who}{at}{hosts}/{quote(topic)}{mark}{options}"


def batch_settings() -> dict[str, Any]:
    """What a neighbour's environment says of micro-batches and snapshots, where ours says nothing."""
    found: dict[str, Any] = {}
    for theirs, ours in _VARIABLES.items():
        if theirs in os.environ and f"ROUTER_{ours.upper()}" not in os.environ:
            found[ours] = os.environ[theirs]
    return found


def dead_letters_of(where: Address, given: str | None) -> Address | None:
    """Where the dead letters of a stream go: where it was said, or else beside its topic at the same broker.

    Raises:
        InvalidInputError: if what was said is no address.
    """
    if given is not None:
        return None if given == NONE else where.parse(given)
    return where.with_topic(where.topic + SUFFIX) if where.scheme in _BROKERS else None


def follow(invocation: Invocation, wanted: Wanted) -> None:
    """Log and learn what comes, until Ctrl-C or SIGTERM."""
    from router_sdk.exchange.events import EventReader
    from router_sdk.exchange.streams import sink_at, source_at
    from router_sdk.plugins import PluginRegistry

    # What is not installed, or malformed, is said before a store is opened.
    plugins = PluginRegistry.load()
    source = source_at(wanted.address, plugins)
    if wanted.mapping is not None:
        EventReader.from_file(wanted.mapping)
    where = source.address
    letters = dead_letters_of(where, wanted.dead_letters)
    refused = None if letters is None else sink_at(letters, plugins)
    shown_at, heard_at, seen = 0.0, time.monotonic(), 0
    config = config_of(invocation, wanted.told)
    with told_to_end() as end, invocation.router(brief=False, config=config, **batch_settings()) as router:
        router.warm_up()
        if wanted.warm_up is not None:
            _warm_up(invocation, router, wanted.warm_up)
        heard_at = time.monotonic()

        idle = end.set if wanted.once else lambda: None
        away: str | None = None

        def tell(report: StreamReport) -> None:
            nonlocal shown_at, heard_at, seen, away
            now = time.monotonic()
            if report.stored + report.refused != seen:
                heard_at, seen = now, report.stored + report.refused
            elif report.state == "reading" and now - heard_at >= _IDLE_S and not any(report.lag.values()):
                idle()
            elif report.state == "waiting" and now - heard_at >= _AWAY_S:
                away = report.error if wanted.once else None
                idle()
            if now - shown_at >= _TELL_S or report.state == "ended":
                shown_at = now
                invocation.screen.event({"stream": str(where), **report.to_dict()}, f"{where}: {_words(report)}")

        followed = partial(
            router.streams.consume,
            source,
            mapping=wanted.mapping,
            dead_letters=refused,
            new_agents=wanted.new_agents,
            end=end,
            tell=tell,
        )
        with ThreadPoolExecutor(1, "router-stream") as elsewhere:  # signals interrupt this thread, and no commit
            report = elsewhere.submit(followed).result()
    if away is not None:
        raise StreamUnavailableError(f"{away}; given up after {_AWAY_S:.0f} s, because --once does not wait")
    if report.refused and (wanted.once or where.scheme == "stdin"):
        raise InvalidInputError(f"{counted(report.refused, 'message')} refused; router status has the dead letters")


def _warm_up(invocation: Invocation, router: Router, wanted: WarmUp) -> None:
    """Begin with a checkpoint; where something was fitted before, with that."""
    if router.models.versions():
        return
    tasks, labels, agents = labelled(wanted.data, None)
    if not router.agents:
        for agent in agents:
            router.add_agent(agent)
    watched(invocation, router.models.warm_start(wanted.checkpoint, tasks, labels, wait=False))


def publish(invocation: Invocation, address: str, *, once: bool) -> None:
    """Send the log until Ctrl-C or SIGTERM, or once."""
    from router_sdk.exchange.streams import sink_at
    from router_sdk.plugins import PluginRegistry

    sink = sink_at(address, PluginRegistry.load())
    where = sink.address
    with (
        told_to_end() as end,
        invocation.router(new=False, learning=False) as router,
        invocation.screen.progress("sending") as show,
    ):

        def tell(outbox: Outbox) -> None:
            show(f"{counted(outbox.sent, 'event')} sent{f'; {outbox.error}' if outbox.error else ''}", None)

        sent = router.streams.publish(sink, once=once, end=end, tell=tell)
    if where.scheme != "stdout":  # there stand the events, and nothing else
        invocation.screen.event({"stream": str(where), "sent": sent}, f"{where}: {counted(sent, 'event')} sent")


def soak_test(invocation: Invocation, hours: float, *, report_only: bool) -> None:
    """``router soak``, which brings its own agents and store: those of the command line are left alone."""
    soak(replace(invocation, config_file=None, store=None), hours=hours, report_only=report_only)


def _words(report: StreamReport) -> str:
    told = report.to_dict()
    words = f"{report.state}: {counted(report.stored, 'message')} logged, {report.rate:,.1f} a second"
    words += f", {told['behind']:,} behind" if told["behind"] is not None else ""
    words += f", {report.refused:,} refused" if report.refused else ""
    return words + (f"; {report.error}" if report.error and report.state == "waiting" else "")


# -- three questions


def ask(invocation: Invocation, address: str | None, *, lag: bool) -> None:
    """Whether the topic exists, or how far behind the group is.

    Raises:
        InvalidInputError: if nothing says where.
        StreamUnavailableError: if the broker cannot be reached, or has no such topic.
    """
    if address is None:
        raise InvalidInputError("say of what: --from kafka://localhost:9092/agent-outcomes")
    from router_sdk.exchange.streams import source_at
    from router_sdk.plugins import PluginRegistry

    with closing(source_at(address, PluginRegistry.load())) as source:
        if lag:
            behind = dict(source.lag())
            told = {"stream": str(source.address), "lag": behind, "behind": sum(behind.values())}
            title = f"{source.address}: {counted(sum(behind.values()), 'message')} behind"
            rows = [(name, f"{n:,}") for name, n in behind.items()]
            invocation.screen.show(told, lambda: [note(title), pairs(rows)])
            return
        found = source.check()
    if not found.exists:
        raise StreamUnavailableError(found.words)
    told = {"stream": str(source.address), **found._asdict()}
    rows = [("exists", "yes"), ("partitions", str(found.partitions))]
    rows += [] if found.messages is None else [("messages", f"{found.messages:,}")]
    invocation.screen.show(told, lambda: [note(found.words), pairs(rows)])


def validate(invocation: Invocation, source: str, mapping: Path | None) -> None:
    """Read each line as an event; nothing is logged.

    Raises:
        InvalidInputError: if one is not valid.
    """
    from router_sdk.exchange.envelope import unwrapped
    from router_sdk.exchange.events import EventReader

    reader = EventReader() if mapping is None else EventReader.from_file(mapping)
    report = Lines()
    for number, line in lines_of(source):
        try:
            found = [event for row in unwrapped(line, {}) if (event := reader.read(row)) is not None]
            read = [event.model_dump(mode="json", exclude_unset=True) for event in found]
        except RouterError as error:
            report.refused += 1
            invocation.screen.refuse({"line": number, "message": str(error)}, f"line {number}: {error}")
        else:
            report.accepted += 1
            invocation.screen.event({"line": number, "events": read}, f"line {number}: {_said(read)}")
    if report.refused:
        raise InvalidInputError(f"{report.refused:,} of {report.accepted + report.refused:,} lines are no valid events")


def _said(read: list[dict[str, Any]]) -> str:
    def words() -> Iterator[str]:
        for event in read:
            about = next(name for name in ("decision_id", "session_id", "task") if event.get(name) is not None)
            parts = [name for name, value in (event.get("outcome") or {}).items() if value is not None]
            yield f"valid: {', '.join(parts) or 'no outcome'} of a {about.removesuffix('_id')}"

    return "; ".join(words()) or "passed over"


def show_schema(invocation: Invocation) -> None:
    """The JSON schema of an event."""
    import json

    from router_sdk.exchange.events import event_schema

    schema = event_schema()
    invocation.screen.show(schema, lambda: [json.dumps(schema, indent=2)])
