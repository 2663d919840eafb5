"""Arms beside what serves: who decides is logged, all learn from all, and a restart finds the same."""

from collections import Counter

import pytest
from scipy.stats import chi2

from router_sdk import Outcome, Task
from router_sdk.errors import (
    ExperimentError,
    InvalidConfigError,
    InvalidInputError,
    InvalidOutcomeError,
    StoreUnavailableError,
    UnknownStrategyError,
    UnknownVersionError,
)
from router_sdk.experiments.arms import Arm, read_arms
from router_sdk.store.experiments import challengers_decisions

from .conftest import as_json, taught

LAST = Arm(name="other", strategies=["last"])
FRIENDS = [Arm(name="one", strategies=["counting"]), Arm(name="two", strategies=["counting"], learning=False)]


def routed(router, count, **task):
    return [router.route(Task(f"hello {number}", **task)) for number in range(count)]


def test_who_decided_is_logged_with_the_chance_of_that(router):
    router.experiments.start("pair", [LAST], shares={"other": 0.25})
    found = routed(router, 800)
    counted = Counter((one.arm, one.agent, round(one.arm_probability, 6)) for one in found)
    assert counted.keys() == {("pair/champion", "analyst", 0.75), ("pair/other", "coder", 0.25)}
    more = counted["pair/other", "coder", 0.25]
    assert (more - 200) ** 2 / 200 + (more - 200) ** 2 / 600 < chi2.ppf(0.999, 1)
    assert {one.propensity for one in found} == {1.0}  # given the arm
    router.flush()
    for one in found[:20]:
        kept = router.decision(one.decision_id)
        assert (kept.arm, kept.arm_probability) == (one.arm, one.arm_probability)
    arms = {arm["name"]: arm["decisions"] for arm in router.experiments.show("pair")["arms"]}
    assert arms == {"champion": 800 - more, "other": more}


def test_many_at_once_come_to_the_same_arms_as_one_by_one(router):
    router.experiments.start("pair", [LAST], shares={"other": 0.5})
    tasks = [Task("hello", session_id=str(number)) for number in range(100)]
    together = [one.arm for one in router.route_batch(tasks)]
    assert together == [router.route(task).arm for task in tasks]
    assert set(together) == {"pair/champion", "pair/other"}


def test_ranking_and_evaluation_are_the_champions(router):
    router.experiments.start("pair", [LAST], shares={"other": 0.99})
    assert {router.rank("hello")[0].agent for _ in range(20)} == {"analyst"}
    assert router.evaluate(["hello"] * 20, ["analyst"] * 20).accuracy == 1.0


def test_a_key_stands_for_one_decision_in_whichever_arm(router):
    router.experiments.start("pair", [LAST], shares={"other": 0.5})
    for number in range(20):
        made = router.route("hello", idempotency_key=str(number))
        again = router.route("hello", idempotency_key=str(number))
        assert (made.decision_id, made.arm) == (again.decision_id, again.arm)


def test_without_an_experiment_nothing_is_logged_of_one(router):
    one = router.route("hello")
    assert (one.arm, one.arm_probability) == (None, None)


def test_every_arm_learns_from_every_outcome_but_one_that_is_frozen(make):
    router = make(["counting"])
    for one in routed(router, 30):
        router.record(one, Outcome(success=one.agent == "coder"))
    router.flush()
    before = as_json(taught(router, "counting").lessons)
    router.experiments.start("dynamic", FRIENDS, shares={"one": 0.3, "two": 0.3})
    assert as_json(taught(router, "counting@dynamic.one").lessons) == before
    assert as_json(taught(router, "counting@dynamic.two").lessons) == before
    found = routed(router, 60)
    assert {one.strategy for one in found} == {"counting", "counting@dynamic.one", "counting@dynamic.two"}
    for one in found:
        router.record(one, Outcome(success=one.agent == "coder"))
    router.flush()
    after = as_json(taught(router, "counting").lessons)
    assert len(after) == 90
    assert as_json(taught(router, "counting@dynamic.one").lessons) == after
    assert as_json(taught(router, "counting@dynamic.two").lessons) == before


def test_one_that_begins_now_knows_nothing_of_the_past(make):
    router = make(["counting"])
    router.record(router.route("hello"), Outcome(success=True))
    router.experiments.start("fresh", [Arm(name="one", strategies=["counting"], begin="now")])
    router.record(router.route("hello"), Outcome(success=True))
    router.flush()
    assert len(taught(router, "counting").lessons) == 2
    assert len(taught(router, "counting@fresh.one").lessons) == 1


def test_a_restart_goes_on_with_the_same_arms_and_what_they_had_learnt(make):
    router = make(["counting"])
    router.experiments.start("dynamic", FRIENDS, shares={"one": 0.3, "two": 0.3})
    tasks = [Task("hello", session_id=str(number)) for number in range(50)]
    arms = []
    for task in tasks:
        one = router.route(task)
        arms.append(one.arm)
        router.record(one, Outcome(success=True))
    router.flush()
    lessons = {name: as_json(taught(router, f"counting@dynamic.{name}").lessons) for name in ("one", "two")}
    router.close()
    again = make(["counting"])
    assert [again.route(task).arm for task in tasks] == arms
    for name, expected in lessons.items():
        assert as_json(taught(again, f"counting@dynamic.{name}").lessons) == expected
    assert not again._parts.serving.behind


def test_other_processes_follow(make):
    one, other = make(), make()
    one.experiments.start("pair", [LAST], shares={"other": 0.5})
    other._parts.learner.submit(other._parts.serving.follow).result()
    tasks = [Task("hello", session_id=str(number)) for number in range(60)]
    assert [one.route(task).arm for task in tasks] == [other.route(task).arm for task in tasks]
    other.experiments.stop("pair", reason="enough")
    one._parts.learner.submit(one._parts.serving.follow).result()
    assert {one.route(task).arm for task in tasks} == {None}


def test_an_arm_that_is_not_installed_here_is_answered_for(make, make_router, store_path):
    make().experiments.start("pair", [LAST], shares={"other": 0.5})
    elsewhere = make_router(["heuristic"], store_path)
    assert "last" in elsewhere.status()["experiments"][0]["behind"]["pair/other"]
    assert {elsewhere.route(f"hello {number}").arm for number in range(60)} == {"pair/champion", None}


def test_shadows_propose_and_never_serve(make):
    router = make(["counting"])
    router.experiments.start("aside", [Arm(name="other", strategies=["last"], shadow=True)])
    found = [router.route(Task(f"hello {number}", session_id=f"s{number // 2}")) for number in range(40)]
    for one in found:
        router.record(one, Outcome(success=True, correct_agent="billing"))
    router.flush()
    assert {one.arm for one in found} == {None}
    shown = router.experiments.show("aside")
    assert {arm["name"]: arm["decisions"] for arm in shown["arms"]} == {"champion": 0, "other": 40}
    query = "SELECT decision_id, parent_decision_id, agent, arm FROM decisions WHERE source = 'shadow' ORDER BY seq"
    rows = router._parts.store.reader.query(lambda connection: connection.execute(query).fetchall())
    assert [row[1] for row in rows] == [one.decision_id for one in found]
    assert {row[2:] for row in rows} == {("coder", "aside/other")}
    agreement = shown["arms"][1]["agreement"]
    assert agreement == sum(one.ranking[0] == "coder" for one in found) / 40
    with pytest.raises(InvalidOutcomeError, match="shadow"):
        router.record(rows[0][0], Outcome(success=True))
    assert router.record_session("s3", Outcome(quality=0.5)) == 2
    router.flush()
    assert router.statistics()["total_examples"] == 40
    assert router.status()["store"]["decisions"] == 40
    assert len(router.examples[:]) == 40
    assert {lesson[0] for lesson in taught(router, "counting").lessons} == {one.decision_id for one in found}
    assert router.forget("s3") == 2


def test_a_shadow_is_asked_before_it_hears(make):
    """About each decision of a batch it says what it would have, had none of that batch been learnt."""
    router = make(["first"], batch_events=1_000, batch_seconds=600.0)
    router.experiments.start("aside", [Arm(name="other", strategies=["counting"], shadow=True)])
    for one in routed(router, 20):
        router.record(one, Outcome(success=True))
    router.flush()
    query = "SELECT probabilities FROM decisions WHERE source = 'shadow'"
    blobs = router._parts.store.reader.query(lambda connection: connection.execute(query).fetchall())
    assert len(blobs) == 20
    assert len(set(blobs)) == 1  # none of them knew anything yet
    assert len(taught(router, "counting@aside.other").lessons) == 20


def test_two_processes_log_what_a_shadow_says_once(make):
    one, other = make(), make()
    one.experiments.start("aside", [Arm(name="other", strategies=["last"], shadow=True)])
    other._parts.learner.submit(other._parts.serving.follow).result()
    for decision in routed(one, 20):
        one.record(decision, Outcome(success=True))
    one.flush()
    other.flush()
    assert {arm["decisions"] for arm in one.experiments.show("aside")["arms"]} == {0, 20}


def test_what_is_forgotten_is_forgotten_by_arms_too(make):
    router = make(["counting"])
    router.experiments.start("dynamic", FRIENDS, shares={"one": 0.3, "two": 0.3})
    for number in range(12):
        router.record(router.route(Task("hello", session_id=f"s{number // 3}")), Outcome(success=True))
    assert router.forget("s1") == 3
    router.close()
    again = make(["counting"])
    assert len(taught(again, "counting@dynamic.one").lessons) == len(taught(again, "counting").lessons)
    assert again.experiments.show("dynamic")["status"] == "running"


@pytest.mark.parametrize(
    ("arms", "error", "words"),
    [
        ([], InvalidConfigError, "at least one"),
        ([LAST, LAST], InvalidConfigError, "name of its own"),
        ([{"name": "champion", "strategies": ["last"]}], InvalidConfigError, "champion"),
        ([{"name": "a/b", "strategies": ["last"]}], InvalidConfigError, "name"),
        ([{"name": "a"}], InvalidConfigError, "learning=False"),
        ([{"name": "a", "strategies": []}], InvalidConfigError, "empty"),
        ([{"name": "a", "strategies": ["last", "last"]}], InvalidConfigError, "unique"),
        ([{"name": "a", "strategies": ["last"], "version": ("words", 1)}], InvalidConfigError, "not both"),
        ([{"name": "a", "strategies": [("last", {"wrong": 1})]}], InvalidConfigError, "wrong"),
        ([{"name": "a", "strategies": ["nobody"]}], UnknownStrategyError, "nobody"),
        ([{"name": "a", "version": ("first", 7)}], UnknownVersionError, "7"),
        (["a"], InvalidConfigError, "Arm"),
    ],
)
def test_what_cannot_be_meant_is_said_and_nothing_begins(router, arms, error, words):
    with pytest.raises(error, match=words):
        router.experiments.start("wrong", arms)
    assert router.experiments.list() == []


@pytest.mark.parametrize(
    "shares",
    [
        *({"other": 0.0}, {"other": 1.0}, {"other": -0.1}, {"champion": 0.5, "other": 0.1}, {"nobody": 0.1}),
        *({"other": "0.5"}, {"other": True}, {"other": None}, {"other": float("nan")}),
    ],
)
def test_shares_that_cannot_be_are_refused(router, shares):
    with pytest.raises(InvalidConfigError, match="shares"):
        router.experiments.start("wrong", [LAST], shares=shares)


def test_the_last_step_of_a_rollout_leaves_the_champion_something(router):
    with pytest.raises(InvalidConfigError, match="sum to 1"):
        router.experiments.start("wrong", [LAST, Arm(name="b", strategies=["last"])], rollout=(0.1, 0.5))
    assert router.experiments.list() == []


@pytest.mark.parametrize("given", [{"reason": None}, {"reason": " "}, {"reason": "enough", "actor": 5}])
def test_who_stops_one_says_why_in_words(router, given):
    router.experiments.start("one", [LAST])
    with pytest.raises(InvalidInputError, match=r"reason|actor"):
        router.experiments.stop("one", **given)
    assert router.experiments.show("one")["status"] == "running"


def test_one_at_a_time_serves_and_a_name_is_used_once(make):
    router = make()
    router.experiments.start("one", [LAST])
    with pytest.raises(ExperimentError, match="stop it first"):
        router.experiments.start("two", [LAST])
    router.experiments.start("beside", [Arm(name="other", strategies=["last"], shadow=True)])
    router.experiments.stop("one", reason="enough")
    with pytest.raises(ExperimentError, match="already"):
        router.experiments.start("one", [LAST])
    with pytest.raises(ExperimentError, match="has ended: enough"):
        router.experiments.stop("one", reason="again")
    with pytest.raises(ExperimentError, match="no experiment"):
        router.experiments.show("three")
    with pytest.raises(InvalidConfigError, match="min_units"):
        router.experiments.start("four", [LAST], min_units=-1)
    router.close()
    with pytest.raises(StoreUnavailableError):
        make(read_only=True).experiments.start("five", [LAST])


def test_tenants_that_learn_apart_are_no_arms(make):
    with pytest.raises(ExperimentError, match="tenancy"):
        make(tenancy="separate").experiments.start("pair", [LAST])


def test_who_keeps_tenants_apart_takes_no_part_in_others_experiments(make):
    make().experiments.start("pair", [LAST], shares={"other": 0.5})
    apart = make(tenancy="separate")
    found = [apart.route(Task("hello", tenant="acme")) for _ in range(20)]
    assert {(one.agent, one.arm) for one in found} == {("analyst", None)}
    (told,) = apart.status()["experiments"]
    assert "apart" in told["behind"]["pair/other"]


def test_arms_come_from_a_file(tmp_path):
    file = tmp_path / "arms.toml"
    file.write_text('min_units = 50\n[[challengers]]\nname = "other"\nstrategies = ["last", ["counting", {}]]\n')
    arms, settings = read_arms(file)
    assert arms == [Arm(name="other", strategies=["last", ("counting", {})])]
    assert settings == {"min_units": 50}
    for text in ("[[challengers", "min_units = 50\n"):
        file.write_text(text)
        with pytest.raises(InvalidConfigError, match=r"arms\.toml"):
            read_arms(file)
    with pytest.raises(InvalidConfigError, match="cannot read"):
        read_arms(tmp_path / "missing.toml")


def test_after_its_end_a_shadow_is_asked_no_more(make):
    router = make(["counting"])
    router.experiments.start("aside", [Arm(name="other", strategies=["last"], shadow=True)])
    routed(router, 5)
    router.flush()
    router.experiments.stop("aside", reason="enough")
    assert router._parts.serving._shadows.arms == ()
    routed(router, 5)
    router.flush()
    assert router.experiments.show("aside")["arms"][1]["decisions"] == 5


def test_a_shadow_that_cannot_be_logged_stops_nobody(make, monkeypatch, caplog):
    router = make(["counting"])
    router.experiments.start("aside", [Arm(name="other", strategies=["last"], shadow=True)])

    def fails(upto):
        raise OSError("no room")

    monkeypatch.setattr(router._parts.serving._shadows, "_ask", fails)
    for one in routed(router, 5):
        router.record(one, Outcome(success=True))
    router.flush()
    assert len(taught(router, "counting").lessons) == 5
    assert "is not kept" in caplog.text


def test_names_that_are_alike_are_counted_apart(make):
    router = make()
    found = {}
    for name in ("a_b", "axb", "A_B"):  # to LIKE they were one
        router.experiments.start(name, [Arm(name="Champion", strategies=["last"])], shares={"Champion": 0.5})
        decisions = [router.route("hello") for _ in range(40)]
        found[name] = Counter(one.arm.partition("/")[2] for one in decisions)
        router.experiments.stop(name, reason="enough")
        router.flush()
        challengers = router._parts.store.reader.query(lambda it: challengers_decisions(it, range(1, 1_000)))
        assert len(challengers) == sum(counts["Champion"] for counts in found.values())
    for name, counts in found.items():
        assert {arm["name"]: arm["decisions"] for arm in router.experiments.show(name)["arms"]} == counts


def test_a_shadow_that_a_person_lets_serve_is_a_shadow_no_more(make):
    router = make()
    router.experiments.start("aside", [Arm(name="other", strategies=["last"], shadow=True)])
    for number in range(5):
        router.route(f"task {number}")
    router.flush()
    router.experiments.stop("aside", "other", reason="I like it")
    assert [router.route("hello").agent for _ in range(5)] == ["coder"] * 5
    router.flush()
    assert router.experiments.show("aside")["arms"][1]["decisions"] == 5
