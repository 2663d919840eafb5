"""Tests of ``router_sdk.plugins``."""
