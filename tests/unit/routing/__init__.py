"""Tests of ``router_sdk.routing``."""
