"""The demonstration that ``router demo`` plays: streams, contestants that learn on them, and an honest report."""

from router_sdk.demo.acts import DemoConfig
from router_sdk.demo.contest import Progress
from router_sdk.demo.page import render_page
from router_sdk.demo.report import DemoReport
from router_sdk.demo.story import run_demo

__all__ = ["DemoConfig", "DemoReport", "Progress", "render_page", "run_demo"]
