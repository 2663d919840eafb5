"""Tests of ``router_sdk.learning``."""
