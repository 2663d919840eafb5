import multiprocessing

import numpy as np
import pytest

from router_sdk.demo.acts import DemoConfig, Streams
from router_sdk.demo.contest import Play, play_all
from router_sdk.demo.contestant import LEARNING_OFF, ROUTER, Contestant, Trace, contestants, play
from router_sdk.errors import InvalidInputError, RouterError

CHAIN = ("thompson", "heuristic")
CONFIG = DemoConfig(rounds=30, seeds=2, scenarios=("support-desk",), strategies=CHAIN, seed=1_000)


def plays(*contestants: Contestant) -> list[Play]:
    return [Play("support-desk", seed, one, 1.0) for seed in CONFIG.seeds_of("support-desk") for one in contestants]


def choices(trace: Trace) -> tuple:
    return trace.agents, trace.strategies, trace.explored, trace.feedback, trace.probed


@pytest.mark.reliability
def test_processes_beside_each_other_play_what_one_plays_alone() -> None:
    told: list[float] = []
    both = plays(*contestants(CHAIN)[:2])
    alone = play_all(both, CONFIG, CHAIN)
    beside = play_all(both, CONFIG.model_copy(update={"processes": 2}), CHAIN, lambda words, share: told.append(share))
    assert list(map(choices, alone)) == list(map(choices, beside))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_play_that_fails_ends_the_contest(processes: int) -> None:
    config = CONFIG.model_copy(update={"processes": processes})
    with pytest.raises(RouterError, match="nobody"):
        play_all(plays(*contestants(("thompson",)), Contestant("nobody", ("nobody",))), config, CHAIN)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_contest_and_leaves_nobody_behind() -> None:
    def kill_one(words: str, share: float) -> None:
        for child in multiprocessing.active_children()[:1]:
            child.kill()

    config = CONFIG.model_copy(update={"processes": 2})
    with pytest.raises(RouterError, match="without a word"):
        play_all(plays(*contestants(CHAIN)), config, CHAIN, kill_one)
    assert not multiprocessing.active_children()


def test_learning_off_learns_nothing_and_does_not_explore(tmp_path) -> None:
    stream = Streams(CONFIG, CHAIN).of("support-desk", 1_000)
    off = next(one for one in contestants(CHAIN) if one.name == LEARNING_OFF)
    trace = play(stream, off, tmp_path / "off.db")
    assert not any(trace.explored)
    assert trace.events["updates"] == 0
    assert set(trace.strategies) == {"heuristic"}
    assert not trace.probed


def test_the_same_seed_gives_the_same_choices_and_probes_are_no_part_of_the_log(tmp_path) -> None:
    stream = Streams(CONFIG, CHAIN).of("support-desk", 1_000)
    first, second = (play(stream, Contestant(ROUTER, CHAIN), tmp_path / f"{i}.db", seed=1_000) for i in range(2))
    assert choices(first) == choices(second)
    assert set(first.probed) == {"first weeks", "an agent falters"}
    assert len(first.agents) == first.events["decisions"] == 120
    assert sum(first.feedback.values()) == 120
    assert first.events["examples"] == 120 - first.feedback["missing"]


def test_a_file_is_read_once_and_its_sessions_are_kept(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{word} number {i},{word},s{i // 2}" for i in range(60) for word in ("pay", "crash")]
    (tmp_path / "t.csv").write_text("text,label,session_id\n" + "\n".join(rng.permutation(rows)), encoding="utf-8")
    streams = Streams(DemoConfig(data=tmp_path / "t.csv"), CHAIN)
    first = streams.of("file", 0)
    (tmp_path / "t.csv").unlink()
    second = streams.of("file", 1)
    assert [len(phase.items) for phase in first.phases] == [len(phase.items) for phase in second.phases]
    assert first.items != second.items
    assert {item.task.session_id for item in first.items} <= {f"s{i}" for i in range(30)}


def test_what_is_set_of_a_strategy_comes_on_top() -> None:
    config = CONFIG.model_copy(update={"strategy": {"bert": {"model": "here"}}})
    assert Streams(config, CHAIN).of("support-desk", 0).strategy["bert"] == {
        "update": "head",
        "wait_for_encoder": True,
        "model": "here",
    }


def test_a_file_that_is_not_there_is_said_at_once(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="no such file"):
        Streams(DemoConfig(data=tmp_path / "none.csv"), CHAIN).of("file", 0)
