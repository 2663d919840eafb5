"""The background fine-tune: what may move, and what keeps the encoder from forgetting."""
