"""Keeps an older call alive: ``record_iteration(state, history, actual_agent_used, outcome)`` on top of ``observe``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from router_sdk import Outcome, Router, Task
from router_sdk.demo.analyst import AGENT_NAMES
from router_sdk.demo.marketing_mix import SessionState, marketing_mix_agents
from router_sdk.demo.sessions import RULES, generate_turns


class IterationRecorder:
    """Feeds decisions that were made elsewhere to a router, so that it learns before it serves.

    Args:
        router: Learns from them.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    def record_iteration(
        self, state: Mapping[str, Any], history: Sequence[str], actual_agent_used: str, outcome: Mapping[str, Any]
    ) -> str:
        """Record one iteration; return the id under which more of its outcome can be recorded later.

        Args:
            state: The fields of a :class:`SessionState` but for its history.
            history: Agents that acted before, oldest first.
            actual_agent_used: Who acted now; that it was used does not mean that it was right.
            outcome: Any fields of an :class:`Outcome`.
        """
        task: Task = SessionState(**state, history=tuple(history)).task(words=False)
        return self._router.observe(task, agent=actual_agent_used, outcome=Outcome(**outcome)).decision_id


def main() -> None:
    """Replay recorded sessions into a fresh router, then let it decide."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Router(
            agents=marketing_mix_agents(),
            strategies=["thompson", ("heuristic", {"rules": RULES})],
            store=Path(folder) / "router.db",
            seed=3,
        ) as router,
    ):
        recorder = IterationRecorder(router)
        for number, turn in enumerate(generate_turns(100, strictness=1.0, seed=3)):
            fields = {name: getattr(turn.state, name) for name in SessionState.__slots__ if name != "history"}
            agent = AGENT_NAMES[number % 3]  # whoever was free; whether that was right, the outcome says
            recorder.record_iteration(fields, turn.state.history, agent, turn.outcomes[agent].model_dump())
        router.flush()
        print(f"recorded {router.statistics()['total_examples']} iterations that somebody else decided")
        state = SessionState("new", 3, 11.0, 0.82, 800.0, 0, 0.5, "CPG", ("business_analyst",))
        decision = router.route(state.task(words=False))
        print(f"{state.text}\n→ {decision.ranking[0]} is the favourite, decided by {decision.strategy}")


if __name__ == "__main__":
    main()
