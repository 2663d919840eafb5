"""Keeps an older system's calls alive on top of a router: ``record_iteration``, ``get_statistics``, ``retrain``.

What each call of it and of others is here stands in ``docs/coming-from.md``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from router_sdk import Outcome, Router, Task
from router_sdk.demo.marketing_mix import AGENT_NAMES, RULES, SessionState, generate_turns, marketing_mix_agents


class OrchestratorLearning:
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
            state: The fields of a :class:`SessionState` but for its history, and the state in words as ``state_text``.
                Without that the words are made from the fields: a transformer learns from words alone. What else
                there is is kept with the task.
            history: Agents that acted before, oldest first.
            actual_agent_used: Who acted now; that it was used does not mean that it was right.
            outcome: Any fields of an :class:`Outcome`; further numbers are its metrics, which teach what the setting
                ``reward_metrics`` makes of them; texts are kept with the task and not learnt.
        """
        fields, rest = _apart(state, SessionState.__slots__)
        session = SessionState(**fields, history=tuple(history)).task()
        parts, others = _apart(outcome, Outcome.model_fields)
        texts = {name: value for name, value in others.items() if isinstance(value, str)}
        numbers = {name: value for name, value in others.items() if name not in texts and value is not None}
        if numbers:
            parts["metrics"] = {**(parts.get("metrics") or {}), **numbers}
        task = Task(
            rest.pop("state_text", None) or session.text,
            task_type=session.task_type,
            features=session.features,
            session_id=session.session_id,
            history=session.history,
            metadata={**rest, **texts},
        )
        return self._router.observe(task, agent=actual_agent_used, outcome=Outcome(**parts)).decision_id

    def get_statistics(self) -> dict[str, Any]:
        """Totals, how many examples each agent was the right one for, and how many more start a fit."""
        self._router.flush()
        return self._router.statistics()

    def export_training_data(self, path: str | Path) -> int:
        """Write all iterations with their texts, and return how many."""
        return self._router.examples.export(path)

    def retrain(self, epochs: int = 2, learning_rate: float | None = None, batch_size: int = 8) -> bool:
        """Fit the first strategy that has a fit, and return whether the new version serves."""
        settings = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
        return self._router.models.retrain(wait=True, **settings).state == "promoted"


def _apart(given: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known by name, and the rest."""
    return (
        {name: value for name, value in given.items() if name in known},
        {name: value for name, value in given.items() if name not in known},
    )


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
        learning = OrchestratorLearning(router)
        for number, turn in enumerate(generate_turns(100, strictness=1.0, seed=3)):
            fields = {name: getattr(turn.state, name) for name in SessionState.__slots__ if name != "history"}
            agent = AGENT_NAMES[number % 3]  # whoever was free; whether that was right, the outcome says
            outcome = turn.outcomes[agent].model_dump(exclude_none=True)
            outcome |= {"mape": turn.state.mape, "r2": turn.state.r2, "decision": "hyperparameter_update"}
            fields["state_text"] = turn.state.text
            learning.record_iteration(fields, turn.state.history, agent, outcome)
        print(f"recorded {learning.get_statistics()['total_examples']} iterations that somebody else decided")
        newest = router.examples[-1]
        print(f"the newest was told as: {newest.task.text}")
        print(f"and came to: reward {newest.reward:.2f}, metrics {sorted(newest.signals.metrics or ())}")
        state = SessionState("new", 3, 11.0, 0.82, 800.0, 0, 0.5, "CPG", ("business_analyst",))
        decision = router.route(state.task())
        print(f"{state.text}\n→ {decision.ranking[0]} is the favourite, decided by {decision.strategy}")


if __name__ == "__main__":
    main()
