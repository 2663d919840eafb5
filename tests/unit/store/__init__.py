"""Tests of ``router_sdk.store``."""
