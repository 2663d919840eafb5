"""Streams of events in and out: what a broker's client has to do, and how its address is written."""
