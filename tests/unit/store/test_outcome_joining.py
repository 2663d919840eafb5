from hypothesis import given
from hypothesis import strategies as st

from router_sdk.records import Signals
from router_sdk.records.outcome import Joined, Part

from ..records.test_outcome_record import signals

steps = st.lists(st.tuples(st.integers(0, 2), signals), min_size=1, max_size=8)


def parts_of(steps):
    seq, parts = 0, []
    for gap, told in steps:
        seq += gap
        parts.append(Part(seq, float(len(parts)), told))
    return parts


def revisions(parts):
    return Joined().revisions(parts)


@given(steps)
def test_each_revision_says_what_was_known_and_what_was_known_before(steps):
    parts = parts_of(steps)
    found = list(revisions(parts))
    assert [revision.number for revision in found] == list(range(len(found)))
    known = None
    for revision in found:
        told = Signals()
        for part in parts:
            if part.seq <= revision.seq:
                told = told.updated(part.signals)
        assert revision.signals == told != known
        assert revision.previous == known
        assert revision.first_at == 0.0
        known = told
    final = Signals()
    for part in parts:
        final = final.updated(part.signals)
    assert found[-1].signals == final


@given(steps, st.integers(0, 20))
def test_what_comes_later_changes_no_earlier_revision(steps, upto):
    parts = parts_of(steps)
    early = list(revisions([part for part in parts if part.seq <= upto]))
    assert early == [revision for revision in revisions(parts) if revision.seq <= upto]


def test_ten_times_the_same_is_one_revision():
    told = Signals(success=True, quality=0.5)
    assert len(list(revisions([Part(seq, 0.0, told) for seq in range(10)]))) == 1
