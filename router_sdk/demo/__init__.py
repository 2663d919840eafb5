"""The demonstration that ``router demo`` plays: a stream, a router that learns on it, and an honest report."""
