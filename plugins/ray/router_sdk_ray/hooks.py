"""What the plugin brings."""

from __future__ import annotations

from router_sdk.plugin import FitExecutor, hookimpl
from router_sdk_ray.executor import RayExecutor


@hookimpl
def register_fit_executors() -> list[type[FitExecutor]]:
    """The executor ``ray``."""
    return [RayExecutor]
