"""Whatever is passed to a public method of a router and its facets, it is taken or refused by a typed error."""

import asyncio
import inspect
import math

import pytest
from fitted_strategy import Words

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.exchange.examples import Examples
from router_sdk.exchange.streams import Streams
from router_sdk.experiments.experiments import Experiments
from router_sdk.store.access import AccessKeys
from router_sdk.training.models import Models

NO_INPUT = [
    *(None, True, -1, 10**30, 2.5, math.nan, "", "\0", "\ud800", b"x"),
    *([], {}, ["x"], {"a": 1}, object(), lambda *given: 1),
]
OUT_OF_REACH = {"close", "count", "index"}
"""The end, and what every sequence has."""


@pytest.fixture
def router(make_router, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a text that is no wrong path is written to
    made = make_router([Words, "thompson"], agents=["a", "b"], retrain=False, fit_executor="thread")
    texts = [f"{name} {number}" for number in range(20) for name in "ab"]
    made.fit(texts, [text[0] for text in texts])
    made.models.retrain("words", wait=True)
    return made


def calls(router, folder):
    """How each method is called that needs something: its arguments, all of them right."""
    words, version = {"strategy": "words"}, {"strategy": "words", "version": 1}
    said, labelled = {"outcome": Outcome(success=True)}, {"X": ["x"], "y": ["a"]}
    decision = router.route("x")
    one = {"decision_id": decision.decision_id}
    return {
        **{method: {"task": "x"} for method in ("route", "aroute", "rank", "preview", "handle")},
        **{method: {"decision": decision, **said} for method in ("record", "arecord")},
        **dict.fromkeys(("fit", "evaluate", "pretrain"), labelled),
        **dict.fromkeys(("history", "fits", "rollback", "pin", "unpin", "baseline"), words),
        **dict.fromkeys(("of", "parts"), one),
        "show": {"name": "e"},
        "stop": {"name": "e", "reason": "r"},
        **dict.fromkeys(("report", "dataset", "promote", "log_to_mlflow"), version),
        "route_batch": {"tasks": ["x"]},
        "arecord_batch": {"reports": [(decision, said["outcome"], None)]},
        "warm_start": {"folder": folder, **labelled},
        "start": {"name": "f", "challengers": [{"name": "c", "strategies": ["thompson"]}]},
        "Experiments.report": {"name": "e", "path": folder / "page.html"},
        "create": {"name": "k"},
        "revoke": {"key_id": "k"},
        "find": {"key": "k"},
        "decision": {"decision_id": decision.decision_id},
        "record_session": {"session_id": "s", **said},
        "observe": {"task": "x", "agent": "a"},
        "observe_batch": {"observed": [(Task("x"), "a", None)]},
        "add_agent": {"agent": "c"},
        "remove_agent": {"name": "c"},
        "set_health": {"name": "a", "healthy": True},
        "dead_letter": {"kind": "k", "reason": "r"},
        "strategy": {"name": "words"},
        "backup": {"target": folder / "backup"},
        "forget": {"session_id": "s"},
        "archive": {"before": 1.0},
        "check_and_retrain": {"train_fn": lambda path: None},
        "export_to": {**version, "target": folder / "version"},
        "import_version": {"folder": folder / "version"},
        "quarantine": {**words, "from_seq": 5, "to_seq": 6, "reason": "r"},
        "lift": {"number": 1, "reason": "r"},
        "between": {"after": 0},
        "filter": {"keep": bool},
        "only": {"chosen": [1]},
        "export": {"path": folder / "out.jsonl"},
        "import_from": {"path": folder / "out.jsonl"},
        **{method: {"source": "nowhere://x"} for method in ("consume", "check", "lag")},
        "Streams.source": {"address": "nowhere://x"},
        "sink": {"address": "nowhere://x"},
        "publish": {"sink": "nowhere://x"},
    }


def call(method, arguments):
    first = [
        arguments[one.name]
        for one in inspect.signature(method).parameters.values()
        if one.kind is one.POSITIONAL_ONLY and one.name in arguments
    ]
    told = method(*first, **dict(list(arguments.items())[len(first) :]))
    if inspect.iscoroutine(told):
        asyncio.run(told)


@pytest.mark.parametrize("face", [Router, Models, Examples, Experiments, AccessKeys, Streams])
def test_every_argument_is_taken_or_refused_by_a_typed_error(router, tmp_path, face):
    right, raw = calls(router, tmp_path), []
    faces = (router, router.models, router.examples, router.experiments, router.keys, router.streams)
    (whose,) = [one for one in faces if isinstance(one, face)]
    for name, method in inspect.getmembers(whose, inspect.ismethod):
        if name.startswith("_") or name in OUT_OF_REACH:
            continue
        parameters = inspect.signature(method).parameters.values()
        known = right.get(f"{face.__name__}.{name}") or right.get(name, {})
        for one in parameters:
            if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
                continue
            for value in NO_INPUT:
                given = {**known, one.name: value}
                in_order = {each.name: given[each.name] for each in parameters if each.name in given}
                try:
                    call(method, in_order)
                except RouterError:
                    pass
                except Exception as error:
                    raw.append(f"{name}({one.name}={value!r:.30}): {type(error).__name__}: {error}")
    assert not raw, "\n".join(raw)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda router: router.models.promote("words", 1, reason=None), "reason: expected a text of 1 to 1,000"),
        (lambda router: router.models.promote("words", "1"), "version: must be a whole number of at least 1"),
        (lambda router: router.models.promote("words", 1, pin="no"), "pin: must be True or False"),
        (lambda router: router.models.fits("words", limit=10**30), "limit: must be a whole number of at least 0"),
        (lambda router: router.models.retrain("words", reason=" "), "reason: expected a text"),
        (lambda router: router.status(last=1.5), "last: must be a whole number"),
        (lambda router: router.backup(3), "target: expected a path"),
        (lambda router: router.examples.export("a\0b"), "path: cannot write or read"),
        (lambda router: router.route_batch("one text"), "tasks: must be a sequence"),
        (lambda router: router.observe_batch(["ab"]), r"observed: expected \(task, agent, outcome\)"),
        (lambda router: router.add_agent("c", fresh=None), "fresh: must be True or False"),
    ],
)
def test_what_is_refused_names_the_argument_and_what_would_be_accepted(router, how, words):
    with pytest.raises(InvalidInputError, match=words):
        how(router)


def test_numbers_of_other_libraries_are_taken(router):
    import numpy as np

    assert router.models.report("words", np.int64(1)).version == 1
    assert len(router.status(last=np.int32(1))["learning_events"]) <= 1
