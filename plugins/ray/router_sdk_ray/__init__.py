"""Fits on a Ray cluster: ``fit_executor="ray"``."""

from router_sdk_ray.executor import RayConfig, RayExecutor

__all__ = ["RayConfig", "RayExecutor"]
