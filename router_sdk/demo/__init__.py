"""The demonstration that ``router demo`` plays: a stream, a router that learns on it, and an honest report."""

from router_sdk.demo.page import render_page
from router_sdk.demo.report import DemoReport
from router_sdk.demo.story import DemoConfig, Progress, run_demo

__all__ = ["DemoConfig", "DemoReport", "Progress", "render_page", "run_demo"]
