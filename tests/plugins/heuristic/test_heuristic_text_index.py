import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sdk_heuristic.text_index import TextIndex
from sklearn.feature_extraction.text import TfidfVectorizer

from router_sdk.plugin import Agent, AgentSet
from router_sdk.testing import many_agents, sample_agents

AGENTS = AgentSet(sample_agents())
INDEX = TextIndex.build(AGENTS)


def test_document_scores_are_the_cosines_of_scikit_learn():
    """For a text without unknown terms, the inverted file computes what two vectorisers would."""
    text = "I was charged twice"
    expected = np.zeros(len(INDEX.documents))
    for settings_ in ({"token_pattern": r"(?u)\b\w+\b"}, {"analyzer": "char_wb", "ngram_range": (3, 4)}):
        vectorizer = TfidfVectorizer(sublinear_tf=True, **settings_)
        matrix = vectorizer.fit_transform(INDEX.documents)
        expected += 0.5 * (matrix @ vectorizer.transform([text]).T).toarray().ravel()
    np.testing.assert_allclose(INDEX._document_scores(text), expected, atol=1e-12)


def test_an_example_is_most_like_itself():
    for position, agent in enumerate(AGENTS):
        for example in agent.examples:
            assert INDEX.similarities(example).argmax() == position
            assert INDEX.nearest(example, position) == pytest.approx((example, 1.0))


def test_unknown_words_weaken_a_match():
    known = INDEX.similarities("invoices")[0]
    diluted = INDEX.similarities("invoices xylophone quagmire zeppelin")[0]
    assert 0.0 < diluted < known / 1.5


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_similarities_lie_in_0_to_1(text):
    found = INDEX.similarities(text)
    assert found.shape == (len(AGENTS),)
    assert (found >= 0.0).all()
    assert (found <= 1.0 + 1e-9).all()


@pytest.mark.parametrize("text", ["", " ", "🙏", "\x00", "....", "zzzzqqqq"])
def test_nothing_in_common_is_zero(text):
    assert not INDEX.similarities(text).any()


def test_agents_of_which_nothing_but_a_name_is_known():
    index = TextIndex.build(AgentSet([Agent("+"), Agent("b")]))
    assert index.similarities("b").argmax() == 1
    assert index.similarities("+").argmax() == 0


def test_names_without_any_term():
    index = TextIndex.build(AgentSet([Agent("-"), Agent("_")]))
    assert not index.similarities("anything").any()


def test_a_thousand_agents():
    index = TextIndex.build(many_agents(1_000))
    assert index.similarities("a question on topic 417").argmax() == 417


def test_texts_in_scripts_without_spaces_overlap_by_their_words():
    agents = AgentSet([Agent("billing", examples=["请重新开发票给我"]), Agent("travel", examples=["明天去北京的机票"])])
    index = TextIndex.build(agents)
    billing, travel = index.similarities("发票抬头写错了")
    assert billing > travel == 0.0
    assert index.similarities("カフェ").tolist() == [0.0, 0.0]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_forms_and_case_of_one_text_are_one_text(form):
    index = TextIndex.build(
        AgentSet([Agent("a", examples=["Où est la Cafe\u0301teria"]), Agent("b", examples=["rue"])])
    )
    asked = unicodedata.normalize(form, "OÙ EST LA CAFÉTERIA")
    assert index.nearest(asked, 0).similarity == pytest.approx(1.0)
