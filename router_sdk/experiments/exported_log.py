"""What a policy would have earned on an exported log, and how agents did: read by DuckDB, whatever its length.

Strategies are not asked: ten million tasks would take hours. A policy here is one that can be asked of many tasks at
once, see ``POLICIES``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.columnar import (
    NOBODY,
    ColumnarEvaluation,
    Greedy,
    Piece,
    Policy,
    Table,
    Uniform,
    Vocabulary,
)
from router_sdk.evaluation.off_policy import ESTIMATORS, LEAST_ESS, policy_value
from router_sdk.evaluation.off_policy_report import OffPolicyReport, PolicyAnswer
from router_sdk.exchange.parquet import arrow, parquet_files
from router_sdk.experiments.off_policy import MOST_GROUPS
from router_sdk.private_files import read_json
from router_sdk.records.arguments import real

if TYPE_CHECKING:
    from types import ModuleType

Told = Callable[[str, float], object]

POLICIES = "uniform, greedy (whoever earned most with the type of task before), agent=NAME, or a .json file of tables"
FEWEST, ROWS = 1 << 7, 1 << 17
"""Decisions that are looked at at once, at the start and at most: the reward model learns between two such pieces."""
_MEMORY = "400MB"
_REASON = """CASE WHEN source IN ('kept', 'shadow') THEN source
WHEN source != 'routed' OR (ran IS NOT NULL AND ran IS DISTINCT FROM agent) THEN 'observed'
WHEN reward IS NULL THEN 'no outcome'
WHEN propensity IS NULL OR (agent IS NOT NULL AND len(probabilities) = 0) THEN 'no propensity' END"""


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """How an agent did in an exported log.

    Attributes:
        agent: Who acted; None is "no agent fits".
        decisions: How many times.
        answered: How many of these have a reward.
        reward: Its mean; None where none is known, as with the rest.
        success: Share of successes.
        latency_p95_ms: 95th percentile, approximately.
        cost_usd: Mean cost of a task.
    """

    agent: str | None
    decisions: int
    answered: int
    reward: float | None
    success: float | None
    latency_p95_ms: float | None
    cost_usd: float | None

    def to_dict(self) -> dict[str, Any]:
        """They as JSON values."""
        return asdict(self)


class ExportedLog:
    """A log as ``router export --format parquet`` wrote it; a context manager.

    Args:
        path: The folder, or one file.
        since: Only decisions since then, or so long ago; None takes all.
        tenant: Whose; None is everybody's, ``""`` that of tasks without one.
        task_type: Which ones; None is all.

    Raises:
        InvalidInputError: if there is no such file, or DuckDB or PyArrow is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        since: float | timedelta | None = None,
        tenant: str | None = None,
        task_type: str | None = None,
    ) -> None:
        duckdb, _ = _library(), arrow()
        self.path = Path(path)
        if not self.path.exists() or not parquet_files(self.path):
            raise InvalidInputError(f"{str(path)!r:.300}: there is no Parquet file; router export --format parquet")
        self._connection = duckdb.connect(config={"memory_limit": _MEMORY, "preserve_insertion_order": "true"})
        self._files = [str(one) for one in parquet_files(self.path)]
        told: list[tuple[str, Any]] = []
        if since is not None:
            told.append(('"at" >= ?', time.time() - since.total_seconds() if isinstance(since, timedelta) else since))
        if tenant is not None:
            told.append(("coalesce(tenant, '') = ?", tenant))
        if task_type is not None:
            told.append(("task_type = ?", task_type))
        self._where = " AND ".join(["decision_id IS NOT NULL", *(words for words, _ in told)])
        self._told = [value for _, value in told]

    def __enter__(self) -> ExportedLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it takes."""
        self._connection.close()

    def _query(self, what: str, more: str = "true", rest: str = "") -> Any:
        query = f"SELECT {what} FROM read_parquet(?) WHERE {self._where} AND {more} {rest}"
        try:
            return self._connection.sql(query, params=[self._files, *self._told])
        except _library().Error as error:
            words = str(error).partition("\n")[0]
            raise InvalidInputError(f"{self.path}: no log that router export wrote: {words}") from error

    # -- how agents did

    def agents(self) -> list[AgentFigures]:
        """How each agent did, those first that acted most."""
        rows = self._query(
            "coalesce(ran, agent), count(*), count(reward), avg(reward), avg(success::INT), "
            "approx_quantile(latency_ms, 0.95), avg(cost_usd)",
            "source NOT IN ('kept', 'shadow')",
            "GROUP BY 1 ORDER BY 2 DESC, 1",
        ).fetchall()
        return [AgentFigures(*row) for row in rows]

    # -- what a policy would have earned

    def judge(
        self,
        policy: str = "uniform",
        *,
        estimator: str = "doubly_robust",
        least_ess: float = LEAST_ESS,
        progress: Told = lambda words, share: None,
    ) -> OffPolicyReport:
        """What a policy would have earned on these decisions, see docs/off-policy.md.

        Args:
            policy: See ``POLICIES``. A table has by type of task, or ``"*"``, each agent's probability; who is not
                eligible is left out of it, and where nobody is left, it is taken for what was logged.
            estimator: See ``Experiments.off_policy_value``.
            least_ess: Effective sample size below which the answer is "insufficient"; 0 never refuses.
            progress: Called with a few words and the share done.

        Raises:
            InvalidInputError: if an argument is not understood, or no decision is there.
        """
        if not isinstance(estimator, str) or estimator not in ESTIMATORS:
            raise InvalidInputError(f"estimator: there is no {estimator!r:.60}; there are {sorted(ESTIMATORS)}")
        least_ess = real(least_ess, "least_ess")
        agents, task_types, tenants = Vocabulary([NOBODY]), Vocabulary(), Vocabulary()
        chosen = policy_of(policy, agents, task_types)
        counted = dict(self._query(f"{_REASON}, count(*)", rest="GROUP BY 1").fetchall())
        whole = counted.pop(None, 0)
        reach = self._query('min("position"), max("position"), min("at"), max("at")').fetchall()[0]
        if reach[0] is None:
            raise InvalidInputError(f"{self.path}: it holds no such decision: give an earlier since, or another tenant")
        told_apart = self._frequent("task_type", task_types), self._frequent("coalesce(tenant, '')", tenants)
        evaluation = ColumnarEvaluation(chosen, agents, task_types, told_apart)
        done = 0
        for piece in self._pieces(agents, task_types, tenants):
            evaluation.add(piece)
            done += len(piece.reward)
            progress("reading", min(done / whole, 1.0))
        overall, groups = evaluation.overall, evaluation.groups
        return OffPolicyReport(
            chosen.words,
            reach[0] - 1,
            reach[1],
            reach[2],
            reach[3],
            PolicyAnswer.of(overall, estimator, least_ess),
            {name: policy_value(overall, name, least_ess=least_ess) for name in ESTIMATORS},
            tuple(
                PolicyAnswer.of(moments, estimator, least_ess, task_type=task_types.names[code])
                for code, moments in groups[0].items()
            ),
            tuple(
                PolicyAnswer.of(moments, estimator, least_ess, tenant=tenants.names[code])
                for code, moments in groups[1].items()
            ),
            counted,
            {chosen.words: 1.0},
            (f"the reward model learns after {FEWEST} decisions, twice as many, and so on to every {ROWS:,}",),
        )

    def _frequent(self, column: str, vocabulary: Vocabulary) -> np.ndarray[Any, np.dtype[np.intp]]:
        judged = f"({_REASON}) IS NULL"
        rest = f"GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MOST_GROUPS}"
        return vocabulary.codes([name for (name,) in self._query(column, judged, rest).fetchall()])

    def _pieces(self, agents: Vocabulary, task_types: Vocabulary, tenants: Vocabulary) -> Iterator[Piece]:
        found = self._query(
            f'"position", coalesce(known, "position"), reward, propensity, coalesce(agent, \'{NOBODY}\'), task_type, '
            "coalesce(tenant, ''), hash(tenant, session_id), session_id IS NULL, eligible, probabilities",
            f"({_REASON}) IS NULL",
        )
        for batch in _growing(found.to_arrow_reader(ROWS)):
            position, known, reward, propensity, agent, kind, tenant, session, alone, eligible, drawn = batch.columns
            codes = _codes(eligible.flatten(), agents)
            shares = drawn.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            begins = np.concatenate([[0], np.cumsum(drawn.value_lengths().to_numpy(zero_copy_only=False))])
            if len(codes) != len(shares):  # probabilities are none where nothing was drawn
                lengths = eligible.value_lengths().to_numpy(zero_copy_only=False)
                codes = codes[np.repeat(np.diff(begins) == lengths, lengths)]
            yield Piece(
                position.to_numpy(zero_copy_only=False),
                known.to_numpy(zero_copy_only=False),
                reward.to_numpy(zero_copy_only=False),
                propensity.to_numpy(zero_copy_only=False),
                _codes(agent, agents),
                _codes(kind, task_types),
                _codes(tenant, tenants),
                session.to_numpy(zero_copy_only=False),
                alone.to_numpy(zero_copy_only=False),
                begins.astype(np.intp),
                codes,
                shares,
            )


def _growing(batches: Iterable[Any]) -> Iterator[Any]:
    """Arrow's record batches, the first ones in pieces that double."""
    size = FEWEST
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            yield batch.slice(start, size)
            start, size = start + size, min(2 * size, ROWS)


def _library() -> ModuleType:
    try:
        import duckdb
    except ImportError as error:
        raise InvalidInputError("a log in files is read by DuckDB: pip install 'router-sdk[parquet]'") from error
    found: ModuleType = duckdb
    return found


def _codes(texts: Any, vocabulary: Vocabulary) -> np.ndarray[Any, np.dtype[np.intp]]:
    encoded = texts.dictionary_encode()
    places = encoded.indices.to_numpy(zero_copy_only=False)
    found: np.ndarray[Any, np.dtype[np.intp]] = vocabulary.codes(encoded.dictionary.to_pylist())[places]
    return found


def policy_of(told: str, agents: Vocabulary, task_types: Vocabulary) -> Policy:
    """The policy that is meant, see ``POLICIES``.

    Raises:
        InvalidInputError: if it is not understood.
    """
    if told in ("uniform", "greedy"):
        return Uniform() if told == "uniform" else Greedy()
    if told.startswith("agent="):
        name = told.removeprefix("agent=")
        return Table({"*": {name: 1.0}}, agents, task_types, f"always {name}")
    if not told.endswith(".json"):
        raise InvalidInputError(f"policy: {told!r:.60} is not understood; there are {POLICIES}")
    try:
        table = read_json(Path(told))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"policy: cannot read {told}: {error}") from error
    if not isinstance(table, dict) or not all(map(_is_row, table.values())):
        raise InvalidInputError(
            f'policy: {told}: expected probabilities by type of task and agent, such as {{"*": {{"billing": 1.0}}}}'
        )
    return Table(table, agents, task_types, Path(told).name)


def _is_row(row: object) -> bool:
    numbers = row.values() if isinstance(row, Mapping) else [None]
    return all(isinstance(one, int | float) and not isinstance(one, bool) and 0.0 <= one < np.inf for one in numbers)
