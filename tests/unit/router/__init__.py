"""Tests of ``router_sdk.router``."""
