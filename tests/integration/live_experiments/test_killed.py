"""An experiment that is begun or concluded by a process that is killed: it is so by the log, and then everywhere."""

import shutil

import pytest
from killable import KilledError, Living

CHAIN = ["words", "heuristic"]
SETTINGS = {"held_out": 0.5, "gate": {"latency": False}, "watch": {"enabled": False}}
BEGUN, CONCLUDED = [None, 1, True], ["stopped", 2, False]


@pytest.fixture
def store(tmp_path):
    """A store of which two versions passed the gate; the first one serves, and the second one challenges it."""
    path = tmp_path / "made" / "router.db"
    path.parent.mkdir()
    living = Living(path, CHAIN, **SETTINGS)
    for seed in (1, 2):
        living.tell("record", "thread", "word", 40, seed)
        living.tell("fit", "words")
    living.tell("promote", "words", 1)
    living.tell("unpin", "words")
    living.tell("compare", "pair", "words", 2)
    assert living.tell("compared", "pair", "words") == BEGUN
    living.close()
    return path


@pytest.mark.slow
def test_killed_at_any_step_it_is_concluded_everywhere_or_nowhere(store, tmp_path, request):
    point, step, told = 1, 1 if request.config.getoption("--reliability") else 12, []
    while True:
        copy = tmp_path / f"copy-{point}"
        shutil.copytree(store.parent, copy)
        living = Living(copy / store.name, CHAIN, **SETTINGS)
        try:
            living.tell("conclude", "pair", kill_at=point)
        except KilledError:
            living = Living(copy / store.name, CHAIN, **SETTINGS)
            stands = living.tell("compared", "pair", "words")
            told.append(stands)
            if stands == BEGUN:
                living.tell("conclude", "pair")
            assert living.tell("compared", "pair", "words") == CONCLUDED
            living.close()
        else:
            assert living.tell("compared", "pair", "words") == CONCLUDED
            living.close()
            break
        point += step
    assert all(stands in (BEGUN, CONCLUDED) for stands in told)
    assert BEGUN in told
