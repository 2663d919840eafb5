"""Whether a log gives what was learnt from it: folded again from its beginning, and from its snapshot on."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import CorruptArtifactError
from router_sdk.learning.fold import performance_fold
from router_sdk.learning.folding import Folding
from router_sdk.learning.pace import REPLAY_BATCH
from router_sdk.learning.performance import Performance
from router_sdk.rewards import RewardMark

if TYPE_CHECKING:
    from router_sdk.rewards import RewardFunction
    from router_sdk.store import Store

_ARCHIVED = "SELECT count(*) FROM positions WHERE name = 'archived'"
_FRESH = "SELECT count(*) FROM agents WHERE fresh = 1"
_EXAMPLES = (
    "SELECT count(*) FROM decisions d WHERE EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id)"
)
_SNAPSHOTS = "SELECT count(*) FROM snapshots WHERE strategy = ? AND fingerprint = ?"


class _Folded(NamedTuple):
    """The figures as of the log's end: as JSON values, as a report, from where on, and without how many decisions."""

    state: Any
    examples: int
    start: int
    refused: int


def verify_replay(store: Store, reward: RewardFunction) -> None:
    """Fold the figures of a store again, and compare.

    Args:
        store: Which; best a copy that nobody writes to.
        reward: Turns outcomes into rewards.

    Raises:
        CorruptArtifactError: if the log cannot be folded, or the snapshot holds something else than the log does.
    """

    def count(query: str, *parameters: str) -> int:
        return int(store.reader.query(lambda connection: connection.execute(query, parameters).fetchone()[0]))

    mark = RewardMark(reward)
    resumed = _folded(store, mark, resume=True)
    if count(_ARCHIVED):  # then the beginning is elsewhere, and the snapshot alone holds what it taught
        fold = performance_fold(Performance(), mark)
        if not resumed.start and count(_SNAPSHOTS, fold.name, fold.fingerprint):
            raise CorruptArtifactError("no snapshot of the figures can be loaded, and their past was archived")
        return
    whole = _folded(store, mark, resume=False)
    if whole.state != resumed.state:
        raise CorruptArtifactError(
            f"the figures' snapshot at {resumed.start} does not hold what the log gives up to there"
        )
    exact = not (count(_FRESH) or whole.refused)  # of fresh agents the past does not count
    if exact and whole.examples != (told := count(_EXAMPLES)):
        raise CorruptArtifactError(f"a replay gives {whole.examples:,} examples, and the log holds {told:,}")


def _folded(store: Store, mark: RewardMark, *, resume: bool) -> _Folded:
    figures = Performance()
    fold = performance_fold(figures, mark)
    with closing(Folding(store, [fold], mark, enabled=True)) as folding:
        if resume:
            folding.restore_all()
        start = fold.cursor
        folding.to_head("replay", REPLAY_BATCH, lambda: None, lambda seconds: None)
    if fold.aside is not None:
        raise CorruptArtifactError("the log cannot be replayed, see the log of this process")
    with tempfile.TemporaryDirectory(prefix="router-") as folder:
        figures.save(Path(folder))
        state = [json.loads(path.read_text()) for path in sorted(Path(folder).iterdir())]
    return _Folded(state, figures.statistics()["total_examples"], start, len(fold.refused))
