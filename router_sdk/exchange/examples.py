"""``router.examples``: what the log holds of tasks and outcomes, files in and out, and which decisions to ask about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, ExportSettings, export_examples
from router_sdk.exchange.history import History, most_telling
from router_sdk.learning.timeline import Timeline
from router_sdk.records.arguments import place, whole
from router_sdk.store.identity import check_key, check_tenant

if TYPE_CHECKING:
    from router_sdk.exchange.importing import Intake, Tell
    from router_sdk.exchange.observations import ImportReport, MappingLike
    from router_sdk.records import Decision, Example
    from router_sdk.rewards import RewardFunction
    from router_sdk.store import Store


class Examples(History):
    """The joined examples: each decision with an outcome, at its newest revision, in the order of the decisions.

    A sequence that reads what is asked for: ``router.examples[-5:]`` reads five rows from the end of the log.

    Args:
        store: The log.
        reward: Turns outcomes into rewards.
        intake: Imports files.
    """

    def __init__(self, store: Store, reward: RewardFunction, intake: Intake) -> None:
        super().__init__(store, reward)
        self._intake = intake
        self._timeline = Timeline(store, reward)

    def filter(self, keep: Callable[[Example], bool]) -> Iterator[Example]:
        """Those that ``keep`` says yes to, oldest first, read as they are asked for."""
        if not callable(keep):
            raise InvalidInputError(f"keep: expected a function of an example, got {keep!r:.60}")
        return (example for example in self if keep(example))

    def ask_about(self, n: int = 10, *, tenant: str | None = None) -> list[Decision]:
        """Recent decisions without an outcome, those first whose outcome would teach most.

        Args:
            n: How many, at least 1.
            tenant: Whose; None takes those of all.

        Raises:
            InvalidInputError: if one of these is malformed.
        """
        n = whole(n, "n", 1)
        self._store.writer.flush()
        return most_telling(self._store, n, check_tenant(tenant))

    def decisions(self, n: int = 20, *, session_id: str | None = None, tenant: str | None = None) -> list[Decision]:
        """The newest decisions, newest first, with an outcome or without.

        Args:
            n: How many, at least 1.
            session_id: Of this session alone; without ``tenant`` that is the one of tasks without a tenant.
            tenant: Whose; None takes those of all.

        Raises:
            InvalidInputError: if one of these is malformed.
        """
        n, tenant = whole(n, "n", 1), check_tenant(tenant)
        self._store.writer.flush()
        if session_id is None:
            return self._store.reader.newest_decisions(n, tenant)
        kept = self._store.privacy.session(check_key(session_id, "session_id"))
        ids = self._store.reader.session_decisions(kept, tenant)
        return [self._store.reader.known_decision(decision_id) for decision_id in ids[-n:][::-1]]

    def timeline(self) -> dict[str, Any]:
        """What was decided and what came of it, over time and lately; cheap to ask again and again.

        The first call in a process reads the newest 50,000 decisions, each later one what is new since.

        Returns:
            ``decisions`` (how many were read); ``points``, at most 64 spans of equally many of them, oldest first, each
            with ``at`` (its end, in seconds since the epoch), ``decisions, explored``, counts by ``agents, strategies``
            and ``arms``, of each strategy by the fitted ``versions`` that decided, and what came of it; ``lately`` the
            same of the newest 4,096, ``by_agent`` and ``by_task_type``. What came of it are ``outcomes, rewarded`` (how
            many have a reward), the means ``reward, cost_usd, latency_ms`` (None where nothing is known) and the
            reward's ``posterior`` mean with its 95 % range ``low, high``. ``regret`` is how much less was earned per
            task than the posterior mean of the best agent on its type of task; a type says who is ``best`` and its
            ``best_mean``.
        """
        return self._timeline.report()

    def alone(self) -> list[dict[str, Any]]:
        """What each agent would have earned had it alone been asked, of those chosen most, the best first.

        Each is a self-normalised estimate from the propensities of at most the newest 50,000 decisions, with a
        confidence sequence, see docs/off-policy.md.

        Returns:
            Of each ``agent, mean, low, high, decisions, insufficient`` (why the log cannot tell, or None), and of the
            same decisions what was ``earned`` and the ``gain`` on that agent, ``{"mean", "low", "high"}``.
        """
        return self._timeline.alone()

    def export(self, path: str | Path, *, format: ExportFormat = "jsonl", **options: Unpack[ExportSettings]) -> int:
        """Write the examples to a file, whole or not at all, and return how many.

        Args:
            path: Where to.
            format: ``jsonl`` or ``csv`` with all that the log holds, which ``import_from`` reads without loss, or
                ``parquet`` with the same as a folder with a file for each day, or pairs of text and response as
                ``chatml``, ``alpaca``, ``completion``.
            **options: What goes out, see ``ExportSettings``: ``min_reward``, ``min_quality_score``,
                ``min_user_feedback``, ``deduplicate``, ``balance``, ``most_examples``, ``prefer``, ``seed``,
                ``include_existing_data``, ``existing_data_path``, ``unanswered``.

        Raises:
            InvalidInputError: if the format is unknown, a file cannot be read or written, or options contradict.
        """
        target = place(path, "path")
        self._store.writer.flush()
        return export_examples(self, target, format, ExportOptions.of(path, **options), self._store.exports)

    def import_from(
        self,
        path: str | Path,
        *,
        mapping: MappingLike | None = None,
        new_agents: bool = False,
        tell: Tell = lambda words, done: None,
    ) -> ImportReport:
        """Log each line of a file: an exported one as what it was, any other as an observed decision.

        The file is JSON lines, a JSON array or CSV (``.gz`` too), or Parquet, or a folder of that. An exported line
        brings its decision and every part of its outcome, each once, however often it is imported. A line of another
        file has a task's fields, ``agent``
        or ``label``, and an outcome's fields; ``mapping`` says where they stand: ``{"text": ["title", "details"],
        "label": "tree", "label_level": "first"}``. A bad line is a dead letter.

        Args:
            path: The file.
            mapping: What the columns of a foreign file mean, see ``ColumnMapping``.
            new_agents: Whether names that nobody knows become agents; else their lines are refused.
            tell: Told how far it is: words, and the share done or None.

        Raises:
            InvalidInputError: if the file cannot be read, or has not the mapping's columns.
            StoreUnavailableError: if the log cannot be written.
        """
        return self._intake.import_file(place(path, "path"), mapping, new_agents=new_agents, tell=tell)
