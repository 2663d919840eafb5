"""A broker in memory: what a source and a sink promise, without a server."""

from router_sdk.errors import StreamUnavailableError
from router_sdk.plugin import Message, Sink, Source, SourceCheck, hookimpl


class Broker:
    """Partitions of messages, and what one group has acknowledged. ``away`` counts calls that will fail."""

    def __init__(self, partitions=1):
        self.partitions = [[] for _ in range(partitions)]
        self.acknowledged = [0] * partitions
        self.sent = []
        self.away = 0
        self.on_acknowledge = lambda messages: None

    def put(self, *bodies, partition=0):
        self.partitions[partition] += [body if isinstance(body, bytes) else body.encode() for body in bodies]

    def ask(self):
        if self.away:
            self.away -= 1
            raise StreamUnavailableError("the broker is away")

    @property
    def left(self):
        return sum(len(part) - done for part, done in zip(self.partitions, self.acknowledged, strict=True))


class MemorySource(Source):
    """Ends once everything was delivered, so that a test does; ``fresh`` ones begin at what was acknowledged."""

    brokers = {}

    def __init__(self, address):
        super().__init__(address)
        self.broker = self.brokers[address.topic]
        self.closed = False

    def open(self, reached):
        self.broker.ask()
        known = reached()
        self.next = [max(done, known.get(str(n), 0)) for n, done in enumerate(self.broker.acknowledged)]

    def poll(self, most, within_s):
        self.broker.ask()
        found = []
        for number, part in enumerate(self.broker.partitions):
            while self.next[number] < len(part) and len(found) < most:
                at = self.next[number]
                found.append(Message(f"{number}/{at}", part[at], None, str(number), at))
                self.next[number] += 1
        self.ended = not found
        return found

    def acknowledge(self, messages):
        self.broker.ask()
        self.broker.on_acknowledge(messages)
        for one in messages:
            number = int(one.partition)
            self.broker.acknowledged[number] = max(self.broker.acknowledged[number], one.position + 1)

    def lag(self):
        return {
            str(n): len(part) - done
            for n, (part, done) in enumerate(zip(self.broker.partitions, self.broker.acknowledged, strict=True))
        }

    def check(self):
        self.broker.ask()
        return SourceCheck(True, "in memory", len(self.broker.partitions), sum(map(len, self.broker.partitions)))

    def close(self):
        self.closed = True


class MemorySink(Sink):
    def __init__(self, address):
        super().__init__(address)
        self.broker = MemorySource.brokers[address.topic]

    def send(self, messages):
        self.broker.ask()
        self.broker.sent += messages

    def close(self):
        pass


class MemoryPlugin:
    """Registers both as ``memory:``."""

    @hookimpl
    def register_sources(self):
        return {"memory": MemorySource}

    @hookimpl
    def register_sinks(self):
        return {"memory": MemorySink}
