"""How many outcomes one decision takes."""

import threading

import pytest

from router_sdk.errors import TooManyOutcomesError
from router_sdk.store.rows import MOST_OUTCOMES


@pytest.fixture
def crowded(log):
    decision = log.decide()
    log.writer.append([log.entry(decision, f"id-{i}", quality=(i % 10) / 10) for i in range(MOST_OUTCOMES)])
    return decision


def test_beyond_a_thousand_they_are_refused_by_name(log, crowded):
    with pytest.raises(TooManyOutcomesError, match="its decision has 1,000 outcomes, the most there may be"):
        log.tell(crowded, quality=1.0)
    assert log.query("SELECT count(*) FROM outcomes") == [(MOST_OUTCOMES,)]


def test_one_that_is_there_already_may_be_delivered_again(log, crowded):
    log.tell(crowded, "id-7", quality=1.0)
    assert log.query("SELECT count(*) FROM outcomes") == [(MOST_OUTCOMES,)]


def test_who_is_refused_spoils_no_others_group(log, crowded):
    other = log.decide()
    with log.held():
        tickets = [threaded(log, log.entry(each, quality=0.5)) for each in (other, crowded, other)]
    assert [ticket() for ticket in tickets] == [None, TooManyOutcomesError, None]
    assert log.query("SELECT count(*) FROM outcomes") == [(MOST_OUTCOMES + 2,)]


def threaded(log, entry):
    """Record on another thread; what is returned waits for the end, and says how it ended."""
    ended = []

    def record():
        try:
            log.writer.append([entry])
            ended.append(None)
        except Exception as error:
            ended.append(type(error))

    thread = threading.Thread(target=record)
    thread.start()

    def end():
        thread.join()
        return ended[0]

    return end


def test_what_is_read_for_the_next_does_not_grow_with_those_before_it(log, crowded):
    read = []

    def traced(row):
        read.append(row)
        return row

    connection = log.tail._connection
    connection.row_factory = lambda cursor, row: traced(row)
    cursor, head, found = 0, log.tail.head(), []
    while cursor < head:
        batch = log.tail.read(cursor, head, 7)
        found += batch.examples
        cursor = batch.upto
    assert [example.revision for example in found] == list(range(MOST_OUTCOMES))
    assert len(read) < 4 * MOST_OUTCOMES
