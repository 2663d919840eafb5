"""Tests of ``router_sdk.experiments``."""
