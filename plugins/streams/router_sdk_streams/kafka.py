"""Kafka by confluent-kafka: a consumer group that commits what the log holds, and an idempotent producer.

``kafka://host:9092,host:9092/topic?group=NAME``. Further options, such as ``security.protocol``, are librdkafka's own
(https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md); a user and a password become SASL's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from router_sdk.plugin import (
    Address,
    InvalidInputError,
    Message,
    Outgoing,
    Reached,
    Sink,
    Source,
    SourceCheck,
    StreamUnavailableError,
)
from router_sdk_streams.client import client, not_let_in, unreachable

_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class _ClientLog:
    """Librdkafka's own log: what it calls an error comes as an error of ours, too, and here many times a second."""

    def log(self, level: int, message: str, *values: object) -> None:
        """One line."""
        _log.log(logging.INFO if level >= logging.ERROR else level, message, *values)


class _Faults:
    """What goes wrong with one client, in our words.

    Args:
        address: Which brokers it asks.
    """

    def __init__(self, address: Address) -> None:
        self._where = f"kafka://{address.hosts}"
        self._kinds = kinds = client("confluent_kafka", "kafka").KafkaError
        self._away = {kinds._TRANSPORT, kinds._ALL_BROKERS_DOWN, kinds._RESOLVE, kinds._TIMED_OUT, kinds._MSG_TIMED_OUT}
        self._locked = {
            *(kinds._AUTHENTICATION, kinds.SASL_AUTHENTICATION_FAILED, kinds.TOPIC_AUTHORIZATION_FAILED),
            *(kinds.GROUP_AUTHORIZATION_FAILED, kinds.CLUSTER_AUTHORIZATION_FAILED),
        }
        self._heard: Any = None

    def hear(self, error: Any) -> None:
        """The client says beside its answers why it does not get through to a broker."""
        if error.code() != self._kinds._ALL_BROKERS_DOWN:
            self._heard = error

    def told(self, error: Any) -> StreamUnavailableError:
        """An error of the client: which brokers, why, and what to do."""
        if error.code() in self._away and self._heard is not None:
            error = self._heard
        why, _, _ = str(error.str()).partition(" (after ")
        if error.code() in self._away:
            return unreachable(self._where, why)
        return not_let_in(self._where, why) if error.code() in self._locked else self.other(why)

    def other(self, why: str) -> StreamUnavailableError:
        """A fault that says itself what to do."""
        return StreamUnavailableError(f"{self._where}: {why}")


def _configuration(address: Address) -> dict[str, Any]:
    """Librdkafka's settings.

    Raises:
        InvalidInputError: if nothing says where the brokers are.
    """
    if not address.hosts:
        raise InvalidInputError(f"kafka: name the brokers: kafka://localhost:9092/{address.topic}")
    settings: dict[str, Any] = {"bootstrap.servers": address.hosts, "logger": _ClientLog()}
    if address.user is not None:
        settings |= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": address.user,
            "sasl.password": address.password or "",
        }
    return settings | {name: value for name, value in address.options.items() if name != "group"}


def _made(kind: Any, settings: Mapping[str, Any]) -> Any:
    try:
        return kind(dict(settings))
    except client("confluent_kafka", "kafka").KafkaException as error:
        raise InvalidInputError(f"kafka: {error.args[0].str()}") from None


class KafkaSource(Source):
    """A topic, read by a consumer group; where a partition is taken over, from where the log has come to."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._kafka = client("confluent_kafka", "kafka")
        self._settings = {
            "auto.offset.reset": "earliest",
            **_configuration(address),
            "group.id": address.group,
            "enable.auto.commit": False,  # what ``consume`` returned would count as dealt with
            "enable.auto.offset.store": False,
            "error_cb": self._heard,
        }
        self._consumer: Any = None
        self._cluster = ""
        self._reached: Reached = dict
        self._subscribed = False
        self._faults = _Faults(address)
        self._fault: StreamUnavailableError | None = None

    def open(self, reached: Reached) -> None:
        """Join the group."""
        self._reached = reached
        found = self.check()
        if not found.exists:
            raise StreamUnavailableError(found.words)
        self._client().subscribe([self.address.topic], on_assign=self._assigned)
        self._subscribed = True

    def poll(self, most: int, within_s: float) -> Sequence[Message]:
        """What the client has fetched; it waits for the first message alone."""
        consumer = self._client()
        try:
            came = consumer.consume(1, within_s)
        except self._kafka.KafkaException as error:
            raise self._faults.told(error.args[0]) from None
        if came and most > 1:
            try:
                came += consumer.consume(most - 1, 0)
            except self._kafka.KafkaException as error:  # the first message came, and would be acknowledged past
                self._fault = self._faults.told(error.args[0])
        found = []
        for one in came:
            if one.error() is None:
                found.append(self._message(one))
            elif one.error().code() != self._kafka.KafkaError._PARTITION_EOF:
                self._fault = self._faults.told(one.error())
        if self._fault is not None and not found:
            fault, self._fault = self._fault, None
            raise fault
        return found

    def _message(self, one: Any) -> Message:
        partition, position, (_, at) = one.partition(), one.offset(), one.timestamp()
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in one.headers() or ()}
        # A topic that was made anew counts from 0 again; the time tells its messages from those of the old one. The
        # cluster's own id tells it from others that have such a topic, by whichever of its brokers it was reached.
        name = f"{self._cluster}/{self.address.topic}/{partition}/{position}@{at}"
        return Message(name, one.value() or b"", None, str(partition), position, headers)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Commit how far each partition is read."""
        reached: dict[int, int] = {}
        for one in messages:
            partition = int(one.partition or 0)
            reached[partition] = max(reached.get(partition, 0), one.position + 1)
        offsets = [self._partition(partition, offset) for partition, offset in reached.items()]
        error = self._kafka.KafkaError
        try:
            self._client().commit(offsets=offsets, asynchronous=False)
        except self._kafka.KafkaException as fault:
            if fault.args[0].code() not in (
                *(error.ILLEGAL_GENERATION, error.UNKNOWN_MEMBER_ID, error.REBALANCE_IN_PROGRESS),
                *(error._STATE, error._ASSIGNMENT_LOST),
            ):
                raise self._faults.told(fault.args[0]) from None
            # and the log counts them once
            self._fault = self._faults.other(f"{fault.args[0].str()}: another consumer reads these again")

    def lag(self) -> Mapping[str, int]:
        """By partition."""
        return {
            partition: max(0, high - (low if committed < 0 else max(low, committed)))
            for partition, (low, high, committed) in self._watermarks().items()
        }

    def check(self) -> SourceCheck:
        """Ask for the topic's partitions, and where each begins and ends."""
        topic, hosts = self.address.topic, self.address.hosts
        if topic not in self._topics():
            return SourceCheck(exists=False, words=self._missing)
        marks = self._watermarks()
        messages = sum(high - low for low, high, _ in marks.values())
        return SourceCheck(True, f"topic {topic!r} on {hosts}", len(marks), messages)

    @property
    def _missing(self) -> str:
        topic, hosts = self.address.topic, self.address.hosts
        return f"kafka: there is no topic {topic!r} on {hosts}; make it, or look for a misspelling"

    def close(self) -> None:
        """Leave the group."""
        consumer, self._consumer, self._subscribed = self._consumer, None, False
        if consumer is not None:
            consumer.close()

    def _client(self) -> Any:
        if self._consumer is None:
            self._consumer = _made(self._kafka.Consumer, self._settings)
        return self._consumer

    def _partition(self, partition: int, offset: int = -1001) -> Any:
        return self._kafka.TopicPartition(self.address.topic, partition, offset)

    def _topics(self) -> Mapping[str, Sequence[int]]:
        try:
            found = self._client().list_topics(self.address.topic, timeout=_TIMEOUT_S)
        except self._kafka.KafkaException as error:
            if not self._subscribed:  # else it might take a message
                self._client().poll(0)  # hears why
            raise self._faults.told(error.args[0]) from None
        self._cluster = found.cluster_id or ""
        return {name: sorted(topic.partitions) for name, topic in found.topics.items() if topic.error is None}

    def _watermarks(self) -> dict[str, tuple[int, int, int]]:
        """Of each partition where it begins, where it ends, and how far the group has committed."""
        partitions = self._topics().get(self.address.topic)
        if partitions is None:
            raise StreamUnavailableError(self._missing)
        consumer, found = self._client(), {}
        try:
            committed = consumer.committed([self._partition(one) for one in partitions], timeout=_TIMEOUT_S)
            for one in committed:
                low, high = consumer.get_watermark_offsets(one, timeout=_TIMEOUT_S)
                found[str(one.partition)] = (low, high, one.offset)
        except self._kafka.KafkaException as error:
            raise self._faults.told(error.args[0]) from None
        return found

    def _assigned(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Begin where the log has come to, whatever the group committed.

        That is less where it was cut off, and more where an older backup of the log was restored. Where it committed
        nothing, the topic may have been made anew: it is read from its beginning.
        """
        known = self._reached()
        with suppress(self._kafka.KafkaException):
            for one in consumer.committed(list(partitions), timeout=_TIMEOUT_S):
                reached = known.get(str(one.partition), one.offset)
                low, high = consumer.get_watermark_offsets(one, timeout=_TIMEOUT_S)
                if one.offset >= 0 and low <= reached <= high:
                    next(each for each in partitions if each.partition == one.partition).offset = reached
        consumer.assign(partitions)

    def _heard(self, error: Any) -> None:
        """The client goes on trying by itself; nothing else would say that no broker is there."""
        self._faults.hear(error)
        if error.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN or error.fatal():
            self._fault = self._faults.told(error)


class KafkaSink(Sink):
    """A topic, written to by an idempotent producer: a message that is sent again by the client is there once."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._kafka = client("confluent_kafka", "kafka")
        self._faults = _Faults(address)
        self._settings = {
            "enable.idempotence": True,
            "delivery.timeout.ms": 30_000,
            **_configuration(address),
            "error_cb": self._faults.hear,
        }
        self._producer: Any = None

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Produce them, and wait for all."""
        if self._producer is None:
            self._producer = _made(self._kafka.Producer, self._settings)
        faults: list[StreamUnavailableError] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                faults.append(self._faults.told(error))

        try:
            for one in messages:
                headers = [(name, value.encode()) for name, value in one.headers.items()]
                self._producer.produce(
                    self.address.topic, one.body, one.key.encode(), headers=headers, on_delivery=delivered
                )
        except self._kafka.KafkaException as error:
            faults.append(self._faults.told(error.args[0]))
        except BufferError as error:
            faults.append(self._faults.other(f"{error}; it is sent again"))
        self._producer.flush()
        if faults:
            self._producer = None  # after a fault an idempotent producer's order is not known
            raise faults[0]

    def close(self) -> None:
        """All that was sent is there."""
        self._producer = None
