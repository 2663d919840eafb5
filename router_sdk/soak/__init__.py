"""A day in minutes: does the loop of fits, gate, watch and rollback improve a router, and let nothing bad through?"""

from __future__ import annotations

from router_sdk.soak.report import SoakReport
from router_sdk.soak.run import SoakConfig, run_soak

__all__ = ["SoakConfig", "SoakReport", "run_soak"]
