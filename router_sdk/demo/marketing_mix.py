"""The marketing-mix scenario: sessions that tune a media model, moved on by three agents.

A session is a small game. Its state is a fitted model (MAPE, R², open business flags, the decay of television
advertising …). One of three agents acts on it; whether that moves the session on depends on what a hidden
:class:`Analyst` wants at that moment. Sessions become a stream that any router can be replayed on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np

from router_sdk.demo.stream import Phase, Probe, Stream, StreamItem
from router_sdk.records import Agent, FeatureValue, Outcome, Task
from router_sdk.rewards import OutcomeReward

DATA_SCIENTIST = "data_scientist"
BUSINESS_ANALYST = "business_analyst"
STAKEHOLDER = "stakeholder"
AGENT_NAMES = (DATA_SCIENTIST, BUSINESS_ANALYST, STAKEHOLDER)

# What each industry changes: (tolerated MAPE in points, weight of business flags). Demand in telecommunications
# is noisy by nature; in pharmaceuticals an implausible coefficient is a matter for the regulator.
INDUSTRIES = {
    "CPG": (0.0, 1.0),
    "Retail": (1.0, 1.0),
    "Automotive": (0.0, 1.2),
    "Telecom": (4.0, 0.8),
    "Pharma": (-1.0, 2.0),
}

HELPS_IF_WANTED = 0.94
HELPS_IF_NOT = 0.10
MAX_ITERATIONS = 8
BERT: dict[str, object] = {"update": "head", "wait_for_encoder": True, "confidence_threshold": 0.7}
"""Fits during the stream refit the head, which takes seconds; adapters in the encoder would take minutes on a CPU.
Where the transformer is not sure of a state told in words, the bandit knows its numbers."""
FIRST_MODELS, REFRESHES, STRICTER = "first models", "refreshes", "stricter analyst"
"""The phases, and the kinds of probes."""
PROBES = 100
"""Tasks of each kind that show whether the old is forgotten for the new."""
FOLLOWS_ANALYST = 0.85
"""How often the recorded sessions went where the analyst wanted; the other turns took a random agent."""
RULES: tuple[dict[str, object], ...] = (
    {"agent": DATA_SCIENTIST, "when": "mape > 15", "name": "poor fit"},
    {"agent": BUSINESS_ANALYST, "when": "business_flags >= 2", "name": "open flags"},
    {"agent": STAKEHOLDER, "when": "mape <= 15", "name": "good enough to show"},
)
"""What a team would write down on day one: right for the analyst that the synthetic data are made with."""


@dataclass(frozen=True, slots=True)
class Analyst:
    """Judges an optimisation session and wants one agent to go on.

    Args:
        strictness: 0 is the analyst that synthetic data are made with; 1 asks for a MAPE six points lower,
            for a better R², and accepts no open business flag.
        sharpness: How firmly the analyst sticks to the judgement; a small number is a coin toss.
    """

    strictness: float = 0.0
    sharpness: float = 3.0

    def preferences(self, state: SessionState) -> dict[str, float]:
        """Probability that each agent is the one the analyst wants next; they sum to 1."""
        slack, flag_weight = INDUSTRIES[state.industry]
        # Of a model in use the fit was agreed on; what has changed is to be told and explained.
        mape, r2, flags = (21.0, 0.50, 0.4) if state.refresh else (13.0, 0.70, 1.4)
        tolerated_mape = mape - 6.0 * self.strictness + slack
        wanted_r2 = r2 + 0.10 * self.strictness
        tolerated_flags = flags - 1.1 * self.strictness
        implausible = max(0.0, abs(state.tv_adstock_decay - 0.5) - 0.25) * 6.0
        needs = {
            DATA_SCIENTIST: (state.mape - tolerated_mape) / 3.0 + max(0.0, wanted_r2 - state.r2) * 4.0,
            BUSINESS_ANALYST: flag_weight * (state.business_flags - tolerated_flags) + implausible,
            STAKEHOLDER: 0.0 if state.iteration > 1 else 1.5 if state.refresh else -1.5,
        }
        # The same agent twice in a row has little new to say.
        if len(state.history) >= 2 and state.history[-1] == state.history[-2]:
            needs[state.history[-1]] -= 0.8
        peak = max(needs.values())
        weights = {name: math.exp(self.sharpness * (need - peak)) for name, need in needs.items()}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}


def marketing_mix_agents() -> tuple[Agent, ...]:
    """The three agents, as an orchestrator would describe them."""
    return (
        Agent(
            DATA_SCIENTIST,
            description="Refits the media model: lower MAPE, higher R2, adstock and saturation hyperparameters",
            capabilities={"modelling"},
            latency_ms=1200.0,
            cost_usd=0.012,
        ),
        Agent(
            BUSINESS_ANALYST,
            description="Checks plausibility: business flags, coefficient signs, channel contributions, adstock decay",
            capabilities={"plausibility"},
            latency_ms=800.0,
            cost_usd=0.006,
        ),
        Agent(
            STAKEHOLDER,
            description="Reviews a good model that raises no flags, and signs it off or asks for more",
            capabilities={"approval"},
            latency_ms=400.0,
            cost_usd=0.002,
        ),
    )


@dataclass(frozen=True, slots=True)
class SessionState:
    """Where an optimisation session stands before an iteration.

    Attributes:
        session_id: Names the session.
        iteration: Counts from 1.
        mape: Mean absolute percentage error of the current model, in percent.
        r2: Its coefficient of determination, at most 1.
        mae: Its mean absolute error, in thousands of the client's currency.
        business_flags: Open objections to the model's plausibility.
        tv_adstock_decay: Share of a week's television effect that carries over to the next, in [0, 1].
        industry: The client's.
        history: Agents that acted so far, oldest first.
        refresh: Whether a model that is in use is refreshed with new weeks; else it is a client's first one.
    """

    session_id: str
    iteration: int
    mape: float
    r2: float
    mae: float
    business_flags: int
    tv_adstock_decay: float
    industry: str
    history: tuple[str, ...] = ()
    refresh: bool = False

    @property
    def text(self) -> str:
        """The state in words, as an agent would read it."""
        last = ", ".join(self.history[-3:]) or "none"
        kind = "Refresh of a model in use. " if self.refresh else ""
        return (
            f"{kind}Iteration {self.iteration}: MAPE={self.mape:.1f}%, R2={self.r2:.2f}, MAE={self.mae:.0f}. "
            f"Last 3 agents: {last}. Business flags: {self.business_flags}. "
            f"Hyperparameters: tv_adstock_decay={self.tv_adstock_decay:.2f}. Industry: {self.industry}."
        )

    @property
    def task_type(self) -> str:
        """A coarse kind that any orchestrator could name: what is made, how good is the fit, how much is flagged."""
        kind = "refresh_" if self.refresh else ""
        if self.mape >= 19.0:
            return f"{kind}fit_poor"
        stage = "fit_fair" if self.mape >= 13.0 else "fit_good" if self.mape >= 8.0 else "review"
        return kind + stage + ("", "_flagged", "_contested")[min(self.business_flags, 2)]

    @property
    def features(self) -> dict[str, FeatureValue]:
        """The state in numbers and categories."""
        return {
            "iteration": self.iteration,
            "mape": round(self.mape, 2),
            "r2": round(self.r2, 3),
            "mae": round(self.mae, 1),
            "business_flags": self.business_flags,
            "tv_adstock_decay": round(self.tv_adstock_decay, 3),
            "industry": self.industry,
            "refresh": self.refresh,
        }

    def task(self, *, words: bool = True) -> Task:
        """What is handed to the router.

        Args:
            words: Whether the state's text goes along. It says nothing that the features do not, and a strategy that
                learns words one by one learns slower from "MAPE=12.3%" than from the number.
        """
        return Task(
            self.text if words else "",
            task_type=self.task_type,
            features=self.features,
            session_id=self.session_id,
            history=self.history[-3:],
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One iteration with every agent's potential outcome, so that any choice can be judged on it.

    Attributes:
        state: Before the turn.
        preferences: Probability that each agent is the one that the analyst wants to see.
        wanted: The agent that it turned out to be.
        outcomes: What each agent would bring about.
    """

    state: SessionState
    preferences: Mapping[str, float]
    wanted: str
    outcomes: Mapping[str, Outcome]


class MarketingMixSession:
    """One optimisation session, played turn by turn.

    Args:
        session_id: Names the session.
        analyst: Who judges it.
        rng: Source of everything random in it.
        refresh: Whether it is about a model that is in use.
    """

    def __init__(self, session_id: str, analyst: Analyst, rng: np.random.Generator, *, refresh: bool = False) -> None:
        self.analyst = analyst
        self.signed_off = False
        self._rng = rng
        mape = 8.0 + 22.0 * rng.beta(2.0, 1.6)
        industry = tuple(INDUSTRIES)[rng.integers(len(INDUSTRIES))]
        self.state = self._fitted(
            SessionState(
                *(session_id, 1, mape, 0.0, 0.0, int(rng.integers(0, 3)), rng.uniform(0.15, 0.85), industry),
                refresh=refresh,
            )
        )
        self._agents = {agent.name: agent for agent in marketing_mix_agents()}

    def turn(self) -> Turn:
        """Draw what the analyst wants and what each agent would bring about."""
        preferences = self.analyst.preferences(self.state)
        draw, wanted = self._rng.random(), AGENT_NAMES[-1]
        for name, probability in preferences.items():
            draw -= probability
            if draw < 0.0:
                wanted = name
                break
        outcomes = {name: self._outcome(name, name == wanted) for name in AGENT_NAMES}
        return Turn(self.state, preferences, wanted, outcomes)

    def advance(self, agent: str, outcome: Outcome) -> SessionState:
        """Let ``agent`` act with that outcome, and return the state that follows."""
        state, rng = self.state, self._rng
        mape, flags, decay = state.mape * rng.uniform(0.98, 1.04), state.business_flags, state.tv_adstock_decay
        if outcome.success and agent == DATA_SCIENTIST:
            mape *= rng.uniform(0.60, 0.80)
            decay += rng.normal(0.0, 0.12)
            flags += int(rng.random() < 0.45)
        elif outcome.success and agent == BUSINESS_ANALYST:
            flags = max(0, flags - int(rng.integers(1, 3)))
            decay += 0.6 * (0.5 - decay)
        elif outcome.success and agent == STAKEHOLDER:
            self.signed_off = bool(rng.random() < 0.55)
            flags += int(not self.signed_off and rng.random() < 0.5)
            mape += 0.0 if self.signed_off else rng.uniform(0.0, 5.0)
        self.state = self._fitted(
            replace(
                state,
                iteration=state.iteration + 1,
                mape=min(40.0, max(2.5, mape)),
                business_flags=min(flags, 4),
                tv_adstock_decay=min(0.95, max(0.05, decay)),
                history=(*state.history, agent),
            )
        )
        return self.state

    def _fitted(self, state: SessionState) -> SessionState:
        """Let R² and MAE follow the MAPE, loosely."""
        r2 = min(0.99, max(0.05, 1.0 - state.mape / 55.0 + self._rng.normal(0.0, 0.035)))
        return replace(state, r2=r2, mae=state.mape * 75.0 * self._rng.uniform(0.9, 1.1))

    def _outcome(self, agent: str, wanted: bool) -> Outcome:
        rng, profile = self._rng, self._agents[agent]
        success = bool(rng.random() < (HELPS_IF_WANTED if wanted else HELPS_IF_NOT))
        return Outcome(
            success=success,
            quality=round(float(rng.beta(12.0, 2.0) if success else rng.beta(2.0, 6.0)), 3),
            latency_ms=round(float((profile.latency_ms or 0.0) * rng.lognormal(0.0, 0.3)), 1),
            cost_usd=round(float((profile.cost_usd or 0.0) * rng.lognormal(0.0, 0.2)), 5),
        )


def generate_turns(sessions: int, *, strictness: float = 0.0, refresh: bool = False, seed: int = 0) -> Iterator[Turn]:
    """Play whole sessions and yield their turns.

    Args:
        sessions: How many.
        strictness: Of the analyst, in [0, 1].
        refresh: Whether they are about models in use.
        seed: The same seed gives the same turns.
    """
    rng = np.random.default_rng([seed, round(strictness * 1_000), *([1] if refresh else [])])
    analyst = Analyst(strictness)
    for number in range(sessions):
        name = f"{seed}-{strictness:g}{'-refresh' if refresh else ''}-{number:05d}"
        session = MarketingMixSession(name, analyst, rng, refresh=refresh)
        while not session.signed_off and session.state.iteration <= MAX_ITERATIONS:
            turn = session.turn()
            yield turn
            agent = turn.wanted if rng.random() < FOLLOWS_ANALYST else AGENT_NAMES[rng.integers(len(AGENT_NAMES))]
            session.advance(agent, turn.outcomes[agent])


def marketing_mix_stream(
    sessions: int, *, strictness: float = 1.0, seed: int = 0, past_sessions: int = 0, words: bool = False
) -> Stream:
    """First models, as many refreshes of models in use, and a few more first models with a stricter analyst.

    Nothing in a task tells the stricter analyst from the first one, so that to follow the new one is to give up the
    old. A refresh says of itself what it is: whoever forgets first models over it has lost something.

    Args:
        sessions: In all phases together, at least 4.
        strictness: Of the second analyst, in [0, 1].
        seed: The same seed gives the same stream.
        past_sessions: Synthetic sessions from before, to pre-train on.
        words: Whether the states' texts go along.
    """
    early = sessions * 3 // 10
    kinds = (
        (FIRST_MODELS, partial(generate_turns, strictness=0.0)),
        (REFRESHES, partial(generate_turns, strictness=0.0, refresh=True)),
        (STRICTER, partial(generate_turns, strictness=strictness)),
    )
    numbers = (early, early, sessions - 2 * early)
    return Stream(
        title="Marketing-mix optimisation",
        agents=marketing_mix_agents(),
        phases=tuple(
            Phase(
                name,
                [_item(turn, words) for turn in turns(number, seed=seed + (name == STRICTER))],
                contradicts=(FIRST_MODELS,) if name == STRICTER and strictness > 0.0 else (),
            )
            for (name, turns), number in zip(kinds, numbers, strict=True)
        ),
        past=[(turn.state.task(words=words), turn.wanted) for turn in generate_turns(past_sessions, seed=seed + 2)],
        probes={
            name: [_probe(turn, words) for turn in islice(turns(PROBES, seed=seed + 3), PROBES)]
            for name, turns in kinds
        },
        background_fits=True,
        strategy={"heuristic": {"rules": RULES}, **({"bert": BERT} if words else {})},
        notes=(
            f"{sessions:,} generated sessions. Their states are fixed in advance, so every contestant meets the same "
            "tasks and, for the same choice, the same outcome.",
            f"“{REFRESHES}” are a new kind of session, and a task says so: what was learnt of “{FIRST_MODELS}” still "
            f"holds, and to forget it is a fault. In “{STRICTER}” first models are judged by another analyst, and no "
            "task says so: old answers become wrong, and to follow is to give them up.",
        ),
    )


def _probe(turn: Turn, words: bool) -> Probe:
    return turn.state.task(words=words), max(turn.preferences, key=turn.preferences.__getitem__)


def _item(turn: Turn, words: bool) -> StreamItem:
    reward = OutcomeReward()
    rewards = {name: reward(outcome.signals(), name) or 0.0 for name, outcome in turn.outcomes.items()}
    # The oracle knows the analyst's mind, not the toss of the coin.
    best = max(turn.preferences, key=turn.preferences.__getitem__)
    return StreamItem(turn.state.task(words=words), rewards, best, turn.outcomes)
