"""What the plugin registers: sources and sinks. A client is imported where one of them is made."""

from __future__ import annotations

from collections.abc import Mapping

from router_sdk.plugin import Sink, Source, hookimpl
from router_sdk_streams.kafka import KafkaSink, KafkaSource
from router_sdk_streams.nats import NatsSink, NatsSource
from router_sdk_streams.redis import RedisSink, RedisSource


@hookimpl
def register_sources() -> Mapping[str, type[Source]]:
    """Where events come from."""
    return {"kafka": KafkaSource, "nats": NatsSource, "redis": RedisSource, "rediss": RedisSource}


@hookimpl
def register_sinks() -> Mapping[str, type[Sink]]:
    """Where decisions and outcomes go."""
    return {"kafka": KafkaSink, "nats": NatsSink, "redis": RedisSink, "rediss": RedisSink}
