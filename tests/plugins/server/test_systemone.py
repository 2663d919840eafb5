import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_server.endpoints.systemone import MARGIN, shown_probabilities, text_of

LABELS = {"billing": "invoices and refunds", "fraud": "stolen cards", "openai/gpt-5": None}


def question(criteria=LABELS, kind="choice"):
    return {"type": kind, "instructions": "Who should get this?", "criteria": criteria}


def ask(client, questions, state="I was charged twice", **more):
    return client.post("/v1/systemone", json={"state": state, "model": "router", "questions": questions, **more})


def test_a_choice_is_a_decision_whose_id_is_the_requests(client):
    answer = ask(client, {"route": question()})
    assert answer.status_code == 200
    told = answer.json()
    chosen = told["answers"]["route"]
    assert list(told) == ["model", "answers", "usage", "request_id"]
    assert (told["model"], chosen["type"]) == ("router", "choice")
    assert set(chosen["probabilities"]) == set(LABELS)
    assert 0 <= chosen["confidence"] <= 1
    assert told["request_id"] == chosen["decision_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-typesafe-request-id"] == told["request_id"]
    assert answer.headers["cache-control"] == "no-store"
    explained = client.get(f"/v1/explain/{told['request_id']}").json()
    assert explained["agent"] == chosen["choice"]
    report = {"decision_id": told["request_id"], "outcome": {"success": True}}
    assert client.post("/v1/outcomes", json=report).status_code == 200


def test_whoever_takes_the_largest_probability_executes_the_logged_agent(client):
    router = client.app.state.service.router
    explored = Counter()
    for _ in range(100):
        told = ask(client, {"route": question()}, "what nobody knows").json()
        chosen = told["answers"]["route"]
        taken = max(chosen["probabilities"], key=chosen["probabilities"].get)
        logged = router.decision(told["request_id"])
        assert taken == chosen["choice"] == logged.agent
        explored[logged.explored] += 1
    assert explored[True]  # so that it is no matter of course


@pytest.mark.reliability
def test_whoever_takes_the_largest_probability_executes_the_logged_agent_ten_thousand_times(client):
    router = client.app.state.service.router
    for _ in range(100):
        questions = {str(i): question() for i in range(100)}
        for chosen in ask(client, questions).json()["answers"].values():
            taken = max(chosen["probabilities"], key=chosen["probabilities"].get)
            assert taken == router.decision(chosen["decision_id"]).agent


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=255).filter(lambda found: sum(found) > 0.1),
    data=st.data(),
)
def test_the_choice_is_largest_by_a_margin_whatever_was_drawn(shares, data):
    drawn = {str(i): share / sum(shares) for i, share in enumerate(shares)}
    choice = data.draw(st.sampled_from(sorted(drawn)))
    shown = shown_probabilities(drawn, [*drawn, "another"], choice)
    assert sum(shown.values()) == pytest.approx(1)
    others = [share for label, share in shown.items() if label != choice]
    assert shown[choice] - max(others) >= MARGIN / (1 + 2 * MARGIN)
    assert min(shown.values()) >= 0


def test_several_questions_are_several_decisions(client):
    two = {"billing": "x", "fraud": "y"}
    answer = ask(client, {"a": question(), "b": question(two)}).json()
    ids = [one["decision_id"] for one in answer["answers"].values()]
    assert len(set(ids)) == 2
    assert answer["request_id"] == ids[0]
    assert set(answer["answers"]["b"]["probabilities"]) == set(two)


@pytest.mark.parametrize("kind", ["score", "noul", "box"])
def test_what_a_router_cannot_answer_is_refused_by_name(client, kind):
    criteria = {"score": ["calm", "angry"], "noul": {"true": "yes", "false": "no"}, "box": None}[kind]
    answer = ask(client, {"route": question(), "mood": question(criteria, kind)})
    assert answer.status_code == 422
    assert f"questions.mood: type {kind!r}" in answer.json()["detail"]
    router = client.app.state.service.router
    router.flush()
    assert router.status()["store"]["decisions"] == 0  # not half of it


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"state": "x", "questions": {}}, "questions"),
        ({"state": "x", "questions": {"q": question({"nobody": "x", "fraud": "y"})}}, "'nobody'"),
        ({"state": "x", "questions": {"q": question({})}}, "criteria"),
        ({"state": "x", "questions": {"q": question(["fraud"])}}, "criteria"),
        ({"state": "x", "questions": {"q": {"type": "rank", "criteria": LABELS}}}, "type"),
        ({"questions": {"q": question()}}, "state"),
        ({"state": "", "questions": {"q": question()}}, "nothing to route by"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_question(client, body, says):
    answer = client.post("/v1/systemone", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_no_agent_fits_has_a_label_or_is_a_conflict(client, monkeypatch):
    router = client.app.state.service.router
    route = router.aroute

    async def nobody(task, **options):
        decision = await route(task, **options)
        decision.agent = None
        return decision

    monkeypatch.setattr(router, "aroute", nobody)
    told = ask(client, {"q": question({**LABELS, "other": "anything else"})}).json()["answers"]["q"]
    assert told["choice"] == max(told["probabilities"], key=told["probabilities"].get) == "other"
    assert ask(client, {"q": question()}).status_code == 409


def test_a_task_may_say_more_than_a_state(client):
    told = ask(client, {"q": question()}, task={"task_type": "refund", "session_id": "s"}).json()
    decision = client.app.state.service.router.decision(told["request_id"])
    assert (decision.task.task_type, decision.task.session_id) == ("refund", "s")


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("plain", "plain"),
        ([{"role": "user", "content": "refund"}, {"role": "assistant", "content": "no"}], "refund"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "b"),
        ({"messages": [{"type": "human", "content": [{"type": "text", "text": "x"}, {"type": "image"}]}]}, "x"),
        ({"instructions": "Sort.", "input_fields": "…", "inputs": {"note": "late", "n": 3}}, "late\n3"),
        ({"ticket": 7}, '{"ticket":7}'),
        ([1, 2], "[1,2]"),
        ([{"role": "system", "content": "x"}], '[{"role":"system","content":"x"}]'),
    ],
)
def test_a_state_is_routed_by_its_words(state, text):
    assert text_of(state) == text


def test_unknown_keys_pass_and_retries_with_a_key_are_one_decision(client):
    body = {"state": "x", "model": "m", "questions": {"q": {**question(), "weight": 3}}, "images": None}
    first, second = (client.post("/v1/systemone", json=body, headers={"idempotency-key": "k"}) for _ in range(2))
    assert json.loads(first.content)["request_id"] == json.loads(second.content)["request_id"]


def test_a_key_does_not_stand_for_an_answer_that_is_no_label(client):
    def keyed(questions):
        return client.post(
            "/v1/systemone", json={"state": "x", "questions": questions}, headers={"idempotency-key": "k"}
        )

    chosen = keyed({"q": question()}).json()["answers"]["q"]["choice"]
    rest = {label: text for label, text in LABELS.items() if label != chosen}
    refused = keyed({"q": question(rest)})
    assert refused.status_code == 409
    assert "idempotency_key" in refused.json()["detail"]
    client.delete(f"/v1/agents/{chosen}")
    assert keyed({"q": question(rest)}).status_code == 409


def test_long_questions_and_keys_are_told_apart(client):
    body = {
        "state": "x",
        "questions": {"q" * 199 + end: question({label: None}) for end, label in zip("ab", LABELS, strict=False)},
    }
    told = client.post("/v1/systemone", json=body, headers={"idempotency-key": "k" * 180}).json()
    assert [one["choice"] for one in told["answers"].values()] == list(LABELS)[:2]


def test_questions_are_bounded(client):
    assert ask(client, {str(number): question() for number in range(101)}).status_code == 422
