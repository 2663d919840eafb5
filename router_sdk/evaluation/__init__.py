"""Measuring a router: on labelled data, and off the log."""
