import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from router_sdk_heuristic import HeuristicConfig, Rule
from router_sdk_heuristic.predicate import _forms
from router_sdk_heuristic.rule_matcher import RuleMatcher

from router_sdk.plugin import Agent, AgentSet, Task
from router_sdk.testing import FixedContext

AGENTS = AgentSet([Agent("a"), Agent("b"), Agent("c")])


def match(rule, task, history=()):
    task = Task.of(task)
    return RuleMatcher(rule, 1).match(task, AGENTS, FixedContext(text=task.text, history=history))


@pytest.mark.parametrize(
    ("conditions", "task", "reason"),
    [
        ({"keywords": "refund"}, "A Refund, please", "keyword 'refund'"),
        ({"keywords": "refund"}, "refunding is slow", None),
        ({"keywords": ["credit note", "credit"]}, "a CREDIT\n note", "keyword 'credit note'"),
        ({"keywords": "c++"}, "is c++ hard?", "keyword 'c++'"),
        ({"keywords": "a.b"}, "axb", None),
        ({"regex": r"INV-\d+"}, "see INV-12", r"regex 'INV-\\d+'"),
        ({"regex": r"(?i)^inv"}, "the invoice", None),
        ({"when": "mape > 15"}, Task(features={"mape": 20}), "mape > 15"),
        ({"when": "mape > 15"}, "no features", None),
        ({"task_type": "code"}, Task("x", task_type="code"), "task type 'code'"),
        ({"task_type": "code"}, "x", None),
        ({"capability": "sql"}, Task("x", requires={"sql"}), "requires 'sql'"),
        ({"capability": "sql"}, "x", None),
        ({"keywords": "refund", "task_type": "code"}, "refund", None),
        ({"keywords": "x", "task_type": "code"}, Task("x", task_type="code"), "task type 'code', keyword 'x'"),
    ],
)
def test_conditions(conditions, task, reason):
    found = match(Rule(agent="a", **conditions), task)
    assert found == (None if reason is None else (("a",), reason))


@pytest.mark.parametrize(
    ("conditions", "history", "holds"),
    [
        ({"after": "a"}, ("b", "a"), True),
        ({"after": "a"}, ("a", "b"), False),
        ({"after": ["a", "b"]}, ("c", "a", "b"), True),
        ({"after": ["a", "b"]}, ("b",), False),
        ({"seen": ["a", "b"]}, ("b", "c", "a"), True),
        ({"seen": ["a", "b"]}, ("a",), False),
        ({"unseen": "a"}, (), True),
        ({"unseen": "a"}, ("a", "b"), False),
        ({"after": "b", "unseen": "c"}, ("a", "b"), True),
        ({"after": "b", "unseen": "a"}, ("a", "b"), False),
    ],
)
def test_history(conditions, history, holds):
    assert (match(Rule(agent="a", **conditions), "x", history) is not None) is holds


def test_a_function_names_the_agents():
    def longest(task, agents, context):
        return ["a", "b"] if len(task.text) > 5 else None

    rule = Rule(function=longest, keywords="x")
    assert match(rule, "x is long") == (("a", "b"), "keyword 'x', function longest")
    assert match(rule, "x") is None
    assert match(rule, "long enough, but without the letter") is None
    assert match(Rule(function=lambda task, agents, context: agents.names[-1]), "x") == (("c",), "function <lambda>")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"agent": "a"}, "needs a condition"),
        ({"keywords": "x"}, "needs agents"),
        ({"agent": "a", "function": print, "keywords": "x"}, "and not both"),
        ({"agent": "a", "regex": "("}, "is no regular expression"),
        ({"agent": "a", "when": "mape > "}, "expected 'name operator value'"),
        ({"agent": "a", "keywords": " "}, "a keyword is blank"),
        ({"agent": "a", "keywords": "x", "weight": 0.0}, "greater than 0"),
        ({"agent": "a", "keywords": "x", "weight": float("nan")}, "finite"),
        ({"agent": "a", "keyword": "x"}, "Extra inputs"),
    ],
)
def test_a_bad_rule_is_refused_at_construction(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        HeuristicConfig(rules=[settings])


def test_a_config_can_be_written_down_and_read_again():
    config = HeuristicConfig(
        rules=[{"agent": "a", "keywords": "x", "when": "mape > 1"}, {"agents": ["b"], "seen": "a"}]
    )
    assert HeuristicConfig(**json.loads(config.model_dump_json())) == config


def test_a_function_is_written_down_by_its_name():
    dumped = HeuristicConfig(rules=[Rule(function=test_history)]).model_dump_json()
    assert "test_history" in dumped


LETTERS = st.characters(categories=["L"])
WORDS = st.text(LETTERS, min_size=1, max_size=10)


@given(
    WORDS,
    st.lists(WORDS, max_size=3),
    st.sampled_from(["NFC", "NFD"]),
    st.sampled_from(["NFC", "NFD"]),
    st.sampled_from([str, str.upper, str.lower, str.casefold, str.swapcase]),
    st.sampled_from([" ", "\n", "\u3000", "\u00a0\t"]),
)
def test_a_keyword_stands_in_every_text_that_has_it_as_its_own_word(word, others, mine, theirs, case, space):
    text = unicodedata.normalize(theirs, space.join([*others, case(word), *others]))
    keyword = unicodedata.normalize(mine, word)
    assert match(Rule(agent="a", keywords=keyword, hard=True), text) == (("a",), f"keyword {keyword!r}")


@pytest.mark.parametrize("conditions", [{"keywords": "café"}, {"regex": "caf."}, {"regex": "café$"}])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("read", ["NFC", "NFD"])
def test_a_rule_holds_in_either_form(conditions, written, read):
    given = {key: unicodedata.normalize(written, value) for key, value in conditions.items()}
    assert match(Rule(agent="a", **given), unicodedata.normalize(read, "the café"))


@pytest.mark.parametrize("read", ["NFC", "NFD"])
def test_features_names_and_agents_in_a_rule_are_compared_in_one_form(read):
    rule = Rule(
        agent="cafe\u0301", when='ville == "Orle\u0301ans"', task_type="re\u0301clamation", after="cre\u0301dit"
    )
    task = Task(
        features={unicodedata.normalize(read, "ville"): unicodedata.normalize(read, "Orléans")},
        task_type=unicodedata.normalize(read, "réclamation"),
    )
    found = RuleMatcher(rule, 1).match(
        task, AGENTS, FixedContext(text="", history=Task("x", history=["crédit"]).history)
    )
    assert found[0] == ("café",)


def test_one_task_is_folded_once_for_many_rules():
    _forms.cache_clear()
    matchers = [RuleMatcher(Rule(agent="a", keywords=f"mot{number}"), number) for number in range(20)]
    before = _forms.cache_info().misses
    for matcher in matchers:
        matcher.match(Task("où est le mot3 ?"), AGENTS, FixedContext(text=""))
    assert _forms.cache_info().misses == before + 1
