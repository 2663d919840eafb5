"""Everything learnt on top of vectors: estimates of every agent's success, keyed by name."""
