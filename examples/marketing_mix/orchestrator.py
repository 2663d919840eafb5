"""How an orchestrator embeds the router: it plays a session, routes each iteration, and records what came of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from router_sdk import Router
from router_sdk.demo.analyst import Analyst
from router_sdk.demo.marketing_mix import MarketingMixSession, marketing_mix_agents
from router_sdk.demo.sessions import RULES


@dataclass(frozen=True)
class IterationRecord:
    """One iteration of a session, as it stood when the router decided, and what came of it."""

    iteration: int
    mape: float
    r2: float
    business_flags: int
    agent: str
    strategy: str
    confidence: float | None
    moved_on: bool


@dataclass(frozen=True)
class SessionReport:
    """A whole session."""

    session_id: str
    signed_off: bool
    iterations: tuple[IterationRecord, ...]


class Orchestrator:
    """Plays optimisation sessions, one decision per iteration.

    Args:
        store: The router's SQLite file.
        analyst: Who judges the sessions.
        max_iterations: After how many a session is given up.
        learning: Whether outcomes teach the router; off, it serves what it has learnt.
        seed: Of the sessions and of the router.
    """

    def __init__(
        self, store: Path, analyst: Analyst, *, max_iterations: int = 12, learning: bool = True, seed: int = 0
    ) -> None:
        self.analyst = analyst
        self.max_iterations = max_iterations
        self.router = Router(
            agents=marketing_mix_agents(),
            strategies=["thompson", ("heuristic", {"rules": RULES})],
            store=store,
            learning=learning,
            seed=seed,
        )
        self._rng = np.random.default_rng(seed)
        self._sessions = 0

    def run_session(self) -> SessionReport:
        """Play one session until it is signed off or given up."""
        self._sessions += 1
        session = MarketingMixSession(f"session-{self._sessions}", self.analyst, self._rng)
        records: list[IterationRecord] = []
        while not session.signed_off and len(records) < self.max_iterations:
            state = session.state
            decision = self.router.route(state.task(words=False))
            agent = decision.agent or decision.ranking[0]
            outcome = session.turn().outcomes[agent]  # here a real orchestrator calls the agent
            self.router.record(decision, outcome)
            session.advance(agent, outcome)
            records.append(
                IterationRecord(
                    iteration=state.iteration,
                    mape=state.mape,
                    r2=state.r2,
                    business_flags=state.business_flags,
                    agent=agent,
                    strategy=decision.strategy,
                    confidence=decision.confidence,
                    moved_on=bool(outcome.success),
                )
            )
        return SessionReport(session.state.session_id, session.signed_off, tuple(records))

    def close(self) -> None:
        """Let the router learn the rest and close its store."""
        self.router.close()


def helped(reports: list[SessionReport]) -> float:
    """Share of the iterations that moved their session on."""
    outcomes = [record.moved_on for report in reports for record in report.iterations]
    return sum(outcomes) / len(outcomes)


def main() -> None:
    """Play the same sessions with learning off and on, for an analyst stricter than the rules foresee."""
    with tempfile.TemporaryDirectory() as folder:
        for learning in (False, True):
            orchestrator = Orchestrator(Path(folder) / f"{learning}.db", Analyst(1.0), learning=learning, seed=7)
            reports = [orchestrator.run_session() for _ in range(200)]
            print(f"learning {'on' if learning else 'off'}: {helped(reports[-100:]):.0%} of iterations moved on")
            orchestrator.close()
    for record in reports[-1].iterations:
        print(
            f"  {record.iteration:2}  MAPE {record.mape:4.1f} %  R² {record.r2:.2f}  flags {record.business_flags}"
            f"  → {record.agent} ({record.strategy}){'' if record.moved_on else ', in vain'}"
        )


if __name__ == "__main__":
    main()
