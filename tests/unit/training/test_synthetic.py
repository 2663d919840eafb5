"""Cases around errors: of what they are made, with which label, and that nothing is judged by them."""

from pathlib import Path

import pytest
from fitted_strategy import Words
from hypothesis import given
from hypothesis import strategies as st

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import InvalidConfigError
from router_sdk.plugin import AgentSet, Signals
from router_sdk.testing import make_example
from router_sdk.training.selection import select
from router_sdk.training.synthetic import EACH, SYNTHETIC, cases_around_errors, examples_of, read_cases, write_cases

from ..store.conftest import Log

AGENTS = AgentSet(
    [
        Agent("billing", examples=["why was the invoice charged twice this month"]),
        Agent("fraud", examples=["somebody stole the card in my wallet"]),
    ]
)
WRONG, RIGHT = {"billing": 0.9, "fraud": 0.1}, {"billing": 0.1, "fraud": 0.9}


def example(text, label, chances, number=1, session=None):
    return make_example(
        label,
        1.0,
        number=number,
        task=Task(text, session_id=session),
        signals=Signals(correct_agent=label),
        eligible=("billing", "fraud"),
        probabilities=chances,
    )


def test_cases_come_from_errors_alone_and_carry_the_right_label():
    told = [
        example("somebody took the card from my desk", "fraud", WRONG, 1),
        example("the card in my bag was taken today", "fraud", RIGHT, 2),
        example("why was the order charged twice today", "billing", WRONG, 3),
    ]
    cases = cases_around_errors(told, AGENTS)
    assert cases
    assert {case.error for case in cases} == {told[0].decision_id}
    assert {case.label for case in cases} == {"fraud"}
    assert len(cases) <= EACH
    assert len({case.text.casefold() for case in cases} | {one.task.text for one in told}) == len(cases) + 3


def test_slots_are_filled_from_similar_texts_of_the_same_label():
    error = example("somebody took the card in my car", "fraud", WRONG)
    texts = {case.text for case in cases_around_errors([error], AGENTS)}
    assert "somebody stole the card in my car" in texts
    assert "somebody took the card in my wallet" in texts


def test_another_sessions_words_are_in_no_case():
    """Forgetting the error's session has to take all of it along."""
    error = example("somebody took the card in my car", "fraud", WRONG, 1, session="mine")
    other = example("somebody has the card in zanzibar", "fraud", RIGHT, 2, session="another")
    free = example("somebody has the card in uruguay", "fraud", RIGHT, 3)
    texts = " ".join(case.text for case in cases_around_errors([error, other, free], AGENTS))
    assert "zanzibar" not in texts
    assert "uruguay" in texts


def test_a_case_that_is_more_like_another_label_is_none():
    error = example("why was the card charged twice now", "fraud", WRONG)
    like = example("charged twice now was the card", "billing", RIGHT, 2)
    assert "was the card charged twice now" in {case.text for case in cases_around_errors([error], AGENTS)}
    assert "was the card charged twice now" not in {case.text for case in cases_around_errors([error, like], AGENTS)}


@pytest.mark.parametrize(
    "odd",
    [
        example("short text", "fraud", WRONG),
        example("somebody took the card in my car", "nobody", WRONG),
        make_example("billing", 0.0, task=Task("somebody took the card in my car"), probabilities=WRONG),
    ],
)
def test_what_says_too_little_makes_no_case(odd):
    assert cases_around_errors([odd], AGENTS) == []


VOCABULARY = ["the", "my", "card", "car", "desk", "stole", "took", "invoice", "twice", "today", "why", "was"]
words = st.sampled_from(VOCABULARY)
histories = st.lists(
    st.tuples(
        st.lists(words, min_size=1, max_size=8).map(" ".join),
        st.sampled_from(["billing", "fraud"]),
        st.sampled_from([WRONG, RIGHT]),
        st.sampled_from([None, "s", "t"]),
    ),
    max_size=12,
)


@given(histories)
def test_the_same_examples_make_the_same_new_cases(history):
    told = [example(text, label, chances, n, session) for n, (text, label, chances, session) in enumerate(history, 1)]
    cases = cases_around_errors(told, AGENTS)
    assert cases == cases_around_errors(told, AGENTS)
    by_id = {one.decision_id: one for one in told}
    known = {" ".join(one.task.text.split()).casefold() for one in told}
    for case in cases:
        error = by_id[case.error]
        assert case.label == error.label
        assert case.text.casefold() not in known
        shared = set(case.text.casefold().split()) & set(error.task.text.casefold().split())
        assert shared
    assert len({case.decision_id for case in cases}) == len(cases) == len({case.text.casefold() for case in cases})


def test_they_come_back_as_they_were_written(tmp_path):
    cases = cases_around_errors([example("somebody took the card in my car", "fraud", WRONG)], AGENTS)
    assert read_cases(tmp_path / "none") == []
    write_cases(cases, tmp_path / "cases.json")
    assert read_cases(tmp_path / "cases.json") == cases
    for case, (error, made) in zip(cases, examples_of(cases, AGENTS), strict=True):
        assert (error, made.decision_id, made.label, made.source) == (
            case.error,
            case.decision_id,
            "fraud",
            SYNTHETIC,
        )
        assert (made.task.text, made.reward, made.probabilities) == (case.text, None, {})


# -- in a fit


def test_the_ratio_holds_and_what_judges_is_real_and_unlike_them(tmp_path):
    from router_sdk.loop_settings import TrainingConfig

    log = Log(tmp_path / "r.db")
    try:
        for number in range(120):
            decision = log.decide(task=Task(f"case {number} with some more words"), agent="a")
            log.tell(decision, correct_agent="ab"[number % 2])
        known = select(log.tail, AGENTS, log.tail.head()).whole
        learnt, judged = known.examples, known.held_out
        cases = [
            (error, examples_of([case], AGENTS)[0][1])
            for one in (*learnt, *judged)
            for error, case in [(one.decision_id, _case(one, f"made up of {one.task.text}"))]
        ]
        cases.insert(0, (learnt[0].decision_id, examples_of([_case(learnt[0], judged[0].task.text)], AGENTS)[0][1]))
        told = TrainingConfig(synthetic_ratio=0.25)
        found = select(log.tail, AGENTS, log.tail.head(), training=told, cases=cases)
        made = [one for one in found.whole.examples if one.source == SYNTHETIC]
        assert len(made) == len(learnt) // 3
        assert {one.decision_id for one in found.whole.held_out} == {one.decision_id for one in judged}
        judged_ids = {one.decision_id for one in judged}
        origins = {one.decision_id: error for error, one in cases}
        assert judged_ids.isdisjoint(origins[one.decision_id] for one in made)
        assert {one.context_hash for one in made}.isdisjoint(one.context_hash for one in judged)
        assert select(log.tail, AGENTS, log.tail.head(), cases=cases).whole.examples == learnt  # off by itself
    finally:
        log.close()


def _case(example, text):
    from router_sdk.training.synthetic import Case

    return Case(f"{example.decision_seq:032x}", example.decision_id, text, "fraud")


class Wrong(Words):
    """Is sure of billing before it was fitted."""

    name = "wrong"

    def propose(self, task, agents, context):
        from router_sdk.plugin import Proposal

        return super().propose(task, agents, context) or Proposal(
            {name: float(name == "billing") for name in agents.names}
        )

    def fit(self, data, context):
        fitted = super().fit(data, context)
        again = Wrong(self.config, self.services)
        again.table, again.memory = fitted.table, fitted.memory
        for one in data.examples:  # as one that remembers what it was taught
            again.memory[one.decision_id] = (one.task.text.split()[0], one.label)
        return again


def open_router(store: Path, **settings) -> Router:
    chain = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "training": {"synthetic_ratio": 0.3}}
    return Router(["billing", "fraud"], [Wrong], store, **{**chain, **settings})


def test_a_fit_is_trained_on_them_the_log_is_not_and_forgetting_takes_them_along(tmp_path):
    with open_router(tmp_path / "r.db") as router:
        for number in range(60):
            task = Task(f"stolen number {number} somewhere on the way", session_id=f"s{number}")
            decision = router.route(task)
            assert decision.agent == "billing"
            router.record(decision, Outcome(correct_agent="fraud"))
        before = router.status()["store"]["decisions"]
        assert router.models.retrain(wait=True).state == "promoted"
        dataset = router.models.dataset("wrong", 1)
        made, real = dataset.counts["synthetic"], dataset.counts["examples"]
        assert 0 < made <= 0.3 * (made + real)
        assert dataset.counts["existing"] == 0
        assert router.status()["store"]["decisions"] == before
        assert len(router.examples) == 60
        served = router._parts.chain.stage("wrong").strategy
        logged = {one.decision_id for one in router.examples}
        assert len(served.memory.keys() - logged) == made
        sessions = [f"s{number}" for number in range(60)]
        for session in sessions[:30]:
            router.forget(session)
        assert len(served.memory.keys() - logged) < made
        for session in sessions[30:]:
            router.forget(session)
        assert served.memory == {}


def test_without_the_setting_there_are_none(tmp_path):
    with open_router(tmp_path / "r.db", training={}) as router:
        for number in range(40):
            decision = router.route(f"stolen number {number} somewhere on the way")
            router.record(decision, Outcome(correct_agent="fraud"))
        router.models.retrain(wait=True)
        assert router.models.dataset("wrong", 1).counts["synthetic"] == 0


def test_where_texts_are_hidden_it_is_refused(tmp_path):
    with pytest.raises(InvalidConfigError, match="synthetic_ratio"):
        open_router(tmp_path / "r.db", privacy="hmac")
