"""How large a number may be: whatever learns squares and sums what it is given, and must still be finite after that.

They are far beyond what anything costs, takes or counts. A number within them can be taken back again without leaving
much behind: sums of costs and latencies are kept in double precision.
"""

from __future__ import annotations

MAX_NUMBER = 1e30
"""Largest magnitude of a feature or metric."""
MAX_COST_USD = 1e9
"""Largest cost of one call, in US dollars."""
MAX_LATENCY_MS = 1e12
"""Largest latency of one call, in milliseconds: 31 years."""
MAX_TOKENS = 2**53
"""Most tokens of one call; beyond it a double does not tell one from the next."""
