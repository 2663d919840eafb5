"""What triggers measure is the same, however often somebody looked before."""

from hypothesis import given, settings

from router_sdk import OutcomeReward
from router_sdk.training.lately import Lately
from router_sdk.triggers import WINDOW

from ..store.conftest import Log
from ..store.test_log_tail import events, play


def looking(log):
    return Lately(log.store.reader, OutcomeReward(), lambda: 0.0)


@settings(max_examples=12)
@given(events)
def test_what_was_looked_at_in_pieces_is_what_is_there(events):
    log = Log(":memory:")
    try:
        often = looking(log)
        tell = log.tell

        def told(*given, **fields):
            tell(*given, **fields)
            often.outcomes(now=True)

        log.tell = told
        play(log, events)
        once = looking(log)
        assert often.outcomes(now=True) == once.outcomes()
        heard = once.outcomes()
        assert [one.seq for one in heard] == sorted({one.seq for one in heard})
    finally:
        log.close()


def test_it_is_bounded_and_looked_at_again_after_a_while(open_log, monkeypatch):
    log = open_log(":memory:")
    now = [0.0]
    lately = Lately(log.store.reader, OutcomeReward(), lambda: now[0])
    decisions = [log.decision() for _ in range(30)]
    log.writer.append([log.entry(decision, carried=decision, success=False, feedback=-1.0) for decision in decisions])
    assert len(lately.outcomes()) == 30
    assert {(one.agent, one.failed, one.disliked) for one in lately.outcomes()} == {("a", True, True)}
    log.tell(decisions[0], success=True)
    assert sum(one.failed for one in lately.outcomes()) == 30  # it was looked a moment ago
    now[0] += 2.0
    assert sum(one.failed for one in lately.outcomes()) == 29
    assert [len(lately.answers()), lately.answers()[0].confidence] == [30, 0.5]
    monkeypatch.setattr("router_sdk.training.lately.WINDOW", 5)
    log.tell(decisions[1], success=True)
    assert len(lately.outcomes(now=True)) == 10
    assert len(lately.answers(now=True)) == 5
    assert WINDOW == 1_000
