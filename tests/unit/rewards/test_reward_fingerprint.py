"""By what a reward is known again: by all that it closes over, and by nothing else."""

import copy
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import OutcomeReward
from router_sdk.rewards import CannotKnowError, RewardMark, reward_fingerprint

from .reward_kinds import KINDS, made


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rewards_have_one_fingerprint_and_others_another(kind):
    one = reward_fingerprint(made(KINDS[kind], 0.25))
    assert reward_fingerprint(made("# moved\n\nUNRELATED = 7\n" + KINDS[kind], 0.25)) == one
    assert reward_fingerprint(made(KINDS[kind], 0.5)) != one


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_called_is_still_the_same(kind):
    reward = made(KINDS[kind], 0.25)
    mark = RewardMark(reward)
    try:
        reward(type("Signals", (), {"quality": 0.5})(), "a")
    except (TypeError, KeyError):
        assert kind in ("bound built-in",)
    assert mark.unknown is None
    assert mark.holds


def test_fingerprints_are_the_same_in_every_process():
    here = {kind: reward_fingerprint(made(source, 0.25)) for kind, source in KINDS.items()}
    program = (
        "import json\nfrom reward_kinds import KINDS, made\nfrom router_sdk.rewards import reward_fingerprint\n"
        "print(json.dumps({kind: reward_fingerprint(made(source, 0.25)) for kind, source in KINDS.items()}))\n"
    )
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
        )
        assert json.loads(ran.stdout) == here


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(), inner, max_size=4),
        st.frozensets(st.one_of(st.text(), st.integers()), max_size=5),
    ),
    max_leaves=12,
)


def closing_over(value):
    return lambda signals, agent: 0.5 if value else 0.25


@given(values, values)
def test_any_value_that_is_closed_over_counts_by_what_it_is(one, other):
    assert reward_fingerprint(closing_over(one)) == reward_fingerprint(closing_over(copy.deepcopy(one)))
    if repr(one) != repr(other) and one != other:
        assert reward_fingerprint(closing_over(one)) != reward_fingerprint(closing_over(other))


@given(st.lists(values, min_size=1, max_size=3))
def test_where_a_value_stands_and_of_which_type_it_is_counts(parts):
    assert reward_fingerprint(closing_over(parts)) != reward_fingerprint(closing_over(tuple(parts)))
    assert reward_fingerprint(closing_over([parts])) != reward_fingerprint(closing_over(parts))


@pytest.mark.parametrize(
    "pair", [(1, 1.0), (1, True), ("1", b"1"), ("1", 1), (0.0, -0.0), ([1, [2]], [[1], 2]), ({}, [])]
)
def test_values_that_compare_equal_or_look_alike_are_told_apart(pair):
    one, other = map(closing_over, pair)
    assert reward_fingerprint(one) != reward_fingerprint(other)


@pytest.mark.parametrize("kind", ["function", "method", "callable object", "helper"])
def test_what_is_said_of_a_function_does_not_count(kind):
    source = KINDS[kind]
    lines = source.splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip().startswith("def reward") or "agent):" in line)
    indent = " " * (len(lines[at]) - len(lines[at].lstrip()) + 4)
    told = "\n".join([*lines[: at + 1], f'{indent}"""What it is."""', f"{indent}# more", *lines[at + 1 :]])
    assert reward_fingerprint(made(told, 0.25)) == reward_fingerprint(made(source, 0.25))


def test_which_lines_are_tried_counts_although_the_bytecode_is_the_same():
    def tried(signals, agent):
        try:
            found = signals.quality
            found = min(found, 1.0)
        except TypeError:
            found = 0.0
        return found

    def not_tried(signals, agent):
        try:
            found = signals.quality
        except TypeError:
            found = 0.0
        else:
            found = min(found, 1.0)
        return found

    assert tried.__code__.co_code == not_tried.__code__.co_code
    assert reward_fingerprint(tried) != reward_fingerprint(not_tried)


def test_a_value_that_holds_itself_is_known():
    def ring(weight):
        held = [weight]
        held.append({"again": held})
        return closing_over(held)

    assert reward_fingerprint(ring(1)) == reward_fingerprint(ring(1)) != reward_fingerprint(ring(2))


def test_shared_objects_are_looked_at_once():
    held = [0.5]
    for _ in range(50):  # 2^50 paths lead to it
        held = [held, held]
    assert reward_fingerprint(closing_over(held))


OUTSIDE = {
    "lock": ("import threading\nLOCK = threading.Lock()\ndef reward(signals, agent):\n    return LOCK", "LOCK.*lock"),
    "lock in an object": (
        "import threading\nclass Scores:\n    def __init__(self):\n        self.guard = threading.Lock()\n"
        "    def __call__(self, signals, agent):\n        return 0.5\nreward = Scores()",
        "guard.*lock",
    ),
    "generator": ("STEPS = (n for n in 'ab')\ndef reward(signals, agent):\n    return next(STEPS)", "STEPS.*generator"),
    "open": ("def reward(signals, agent):\n    return float(open('weight').read())", "open"),
    "environment": ("import os\ndef reward(signals, agent):\n    return float(os.environ['WEIGHT'])", "os.environ"),
    "environment by name": ("from os import environ\ndef reward(signals, agent):\n    return environ['x']", "environ"),
    "arguments": ("import sys\ndef reward(signals, agent):\n    return float(sys.argv[1])", "sys.argv"),
    "getenv": ("from os import getenv\ndef reward(signals, agent):\n    return getenv('x')", "getenv"),
    "chance": ("import random\ndef reward(signals, agent):\n    return random.random()", "random"),
    "chance by name": ("from random import random\ndef reward(signals, agent):\n    return random()", "random"),
    "a generator's state": (
        "import numpy as np\nRNG = np.random.default_rng(3)\ndef reward(signals, agent):\n    return RNG.random()",
        "numpy.random",
    ),
    "clock": ("import time\ndef reward(signals, agent):\n    return time.time() % 1", "time"),
    "written global": (
        "N = 0\ndef reward(signals, agent):\n    global N\n    N += 1\n    return 0.5",
        "writes the global N",
    ),
    "module that is not there yet": (
        "def reward(signals, agent):\n    from no_such_module import weight\n    return weight",
        "no_such_module",
    ),
    "helper": ("def helper():\n    return input()\ndef reward(signals, agent):\n    return helper()", "helper.*input"),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_what_reads_from_outside_cannot_be_known_and_is_said_with_its_place(kind):
    source, place = OUTSIDE[kind]
    reward = made(source, 0.25)
    with pytest.raises(CannotKnowError, match=place):
        reward_fingerprint(reward)
    one, other = RewardMark(reward), RewardMark(reward)
    assert one.text != other.text
    assert one.holds
    assert one.unknown


def test_what_leads_too_far_cannot_be_known():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(CannotKnowError, match="too far"):
        reward_fingerprint(closing_over(deep))
    with pytest.raises(CannotKnowError, match="too far"):
        reward_fingerprint(closing_over([[n] for n in range(30_000)]))


class Guarded:
    """Has what cannot be known, and leaves it out of its state."""

    def __init__(self, weight):
        self.weight, self.guard = weight, threading.Lock()

    def __getstate__(self):
        return {"weight": self.weight}

    def __call__(self, signals, agent):
        return self.weight


class Named:
    def __init__(self, fingerprint):
        self.fingerprint, self.guard = fingerprint, threading.Lock()

    def __call__(self, signals, agent):
        return 1.0


def test_two_ways_out():
    assert reward_fingerprint(Guarded(0.1)) == reward_fingerprint(Guarded(0.1)) != reward_fingerprint(Guarded(0.2))
    assert reward_fingerprint(Named("v1")) == reward_fingerprint(Named("v1")) != reward_fingerprint(Named("v2"))
    assert "v1" in reward_fingerprint(Named("v1"))
    held = reward_fingerprint(closing_over(Named("v1")))
    assert held == reward_fingerprint(closing_over(Named("v1"))) != reward_fingerprint(closing_over(Named("v2")))


def test_a_reward_that_fails_when_it_is_looked_at_cannot_be_known():
    class Odd:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("not me")

    with pytest.raises(CannotKnowError, match="not me"):
        reward_fingerprint(closing_over(Odd()))


def test_a_change_while_it_is_in_use_is_noticed():
    weights = {"quality": 0.5}
    mark = RewardMark(closing_over(weights))
    assert mark.holds
    weights["quality"] = 0.25
    assert not mark.holds
    weights["quality"] = threading.Lock()
    assert not mark.holds


def test_the_default_is_known_as_in_earlier_releases():
    assert reward_fingerprint(OutcomeReward()) == (
        "router_sdk.rewards.OutcomeReward:OutcomeReward(quality=1.0, latency=0.0, cost=0.0, latency_scale_ms=1000.0, "
        "cost_scale_usd=0.01)"
    )
    assert reward_fingerprint(OutcomeReward(quality=1)) == reward_fingerprint(OutcomeReward())


def test_goals_of_metrics_are_part_of_it_in_whatever_order():
    mape, r2 = {"goal": "min", "low": 5, "high": 30}, {"goal": "max", "low": 0, "high": 1}
    both = reward_fingerprint(OutcomeReward(metrics={"mape": mape, "r2": r2}))
    assert both == reward_fingerprint(OutcomeReward(metrics={"r2": r2, "mape": mape}))
    others = [{"mape": mape}, {"mape": {**mape, "weight": 2}, "r2": r2}, {"mape": {**mape, "goal": "max"}, "r2": r2}]
    assert len({both, *(reward_fingerprint(OutcomeReward(metrics=metrics)) for metrics in others)}) == 4


LIBRARY = """
def weight():
    return {0}
def kept(function):
    def inner(*arguments):
        return function(*arguments)
    return inner
"""


def test_installed_code_is_known_by_its_version_and_the_rewards_own_by_what_it_does(tmp_path):
    """One package holds the reward, another one is a library; both are installed."""
    site = tmp_path / "site-packages"

    def told(mine, library, version):
        for name, text in {
            "my_company/__init__.py": "",
            "my_company/helpers.py": LIBRARY.format(mine),
            "my_company/rewards.py": (
                "from my_company.helpers import weight\nimport their_library\n"
                "def reward(signals, agent):\n    return weight() * their_library.weight()\n"
                "@their_library.kept\ndef decorated(signals, agent):\n    return weight() * their_library.weight()\n"
            ),
            "their_library/__init__.py": f"__version__ = '{version}'\n" + LIBRARY.format(library),
        }.items():
            path = site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        program = (
            "from my_company.rewards import *\nfrom router_sdk.rewards import reward_fingerprint\n"
            "print(reward_fingerprint(reward), reward_fingerprint(decorated))"
        )
        environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        return ran.stdout.split()

    plain, decorated = told(0.5, 0.5, "1.0")
    others = told(0.25, 0.5, "1.0")
    assert plain != others[0]
    assert decorated != others[1]
    assert told(0.5, 0.25, "1.0")[0] == plain  # a library that changes without saying so
    assert told(0.5, 0.5, "1.1")[0] != plain
