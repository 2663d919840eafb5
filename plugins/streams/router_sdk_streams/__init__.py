"""Outcomes from Kafka, NATS JetStream and Redis Streams, and the log out to them."""
