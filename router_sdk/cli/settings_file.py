"""The commented configuration that ``router init`` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence

_HEAD = """\
# Configuration of router-sdk. The command line reads this file where it stands in the current folder (or with
# --config FILE); in Python it is Router(config="router.toml"). Unknown keys are errors. What is commented out
# shows the default. A command-line option or keyword argument comes before this file, this file before ROUTER_*
# environment variables.

# The log: one SQLite file on a local disk, shared by all threads and processes of this machine.
store = {store}

# The chain: the first strategy that does not abstain decides. Thompson sampling takes over from the rules, one
# task type at a time, as soon as it has seen outcomes enough.
strategies = ["thompson", "heuristic"]

# Each eligible agent keeps at least epsilon / k probability, so that the log can be evaluated later.
# epsilon = 0.02

# What is kept of a task's text: "full", "redacted" (without what looks personal), "hmac" or "none".
# privacy = "full"

# An update of what is learnt starts at so many outcomes, or when one has waited so many seconds.
# batch_events = 10
# batch_seconds = 30.0

# Who can be chosen. This list is the eligible set of every router that reads this file; delete it to follow
# the store instead, where `router agents add` and `router agents remove` keep it.
"""

_SAMPLES = """\
[[agents]]
name = "billing"
description = "Invoices, refunds, payment methods"
examples = ["I was charged twice", "Where is my refund?"]
# capabilities = ["refunds"]   # a task that requires "refunds" goes only to agents that list it
# cost_usd = 0.002             # expected, per call
# latency_ms = 800             # expected, per call
# success_rate = 0.8           # what you believe before there are outcomes

[[agents]]
name = "technical"
description = "Errors, crashes, installation, connection problems"
examples = ["The app crashes when I open it", "I cannot log in"]

[[agents]]
name = "general"
description = "Everything else"
"""

_AGENT = """\
[[agents]]
name = {name}
# description = "What it is good at, in a sentence or two"
# examples = ["A text that it should get"]
"""

_TAIL = """
# Settings of each strategy, under its name.
[strategy.heuristic]
default_agent = {last}
# rules = [
#     {{ keywords = ["refund", "invoice"], agent = {first} }},
#     {{ when = "amount > 1000", agent = {first}, hard = true }},   # hard: nobody else may be chosen
# ]

[strategy.thompson]
# min_evidence = 5.0         # observations of a task type below which it abstains
# half_life_s = 2419200.0    # after which an observation counts half, in seconds
"""


def settings_file(store: str, agents: Sequence[str]) -> str:
    """A configuration in TOML that loads as it is.

    Args:
        store: Path of the store.
        agents: Names of the agents; sample agents where there are none.
    """
    names = [json.dumps(name, ensure_ascii=False) for name in agents]
    members = "\n".join(_AGENT.format(name=name) for name in names) or _SAMPLES
    first, last = (names[0], names[-1]) if names else ('"billing"', '"general"')
    head = _HEAD.format(store=json.dumps(store, ensure_ascii=False))
    return head + members + _TAIL.format(first=first, last=last)
