"""Tests of ``router_sdk.records``."""
