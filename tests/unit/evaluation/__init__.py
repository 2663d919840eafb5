"""Tests of ``router_sdk.evaluation``."""
