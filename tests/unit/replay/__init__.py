"""Tests of ``router_sdk.replay``."""
