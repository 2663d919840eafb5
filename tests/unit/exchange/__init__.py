"""Tests of ``router_sdk.exchange``."""
