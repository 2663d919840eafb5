"""The request in a long text is found by what requests and their surroundings are made of."""

import json

import numpy as np
import pytest
from long_texts import NAMES, NOUNS, THINGS, VERBS, around, request

from router_sdk.numerics.request_finding import ALL_LEARNT, LONG, NOTHING, RequestFinder
from router_sdk.plugin import CorruptArtifactError


def taught(rng, rounds=40):
    finder = RequestFinder()
    for turn in range(rounds):
        asked = request(rng)
        finder.learn(around(asked, rng) if turn % 3 == 2 else asked)
    return finder


@pytest.mark.parametrize("mark", [". ", "\n", " "])
def test_a_request_is_found_wherever_it_stands(mark):
    rng = np.random.default_rng(0)
    evidence = taught(rng).evidence
    asked = [request(rng) for _ in range(20)]
    found = [evidence.passage(around(one, rng, mark)) for one in asked]
    assert np.mean([one.strip(".") == want for one, want in zip(found, asked, strict=True)]) >= 0.9


def test_what_is_short_and_what_nothing_is_known_of_is_read_as_it_is():
    rng = np.random.default_rng(1)
    finder, long = RequestFinder(), around(request(rng), rng)
    assert finder.evidence is NOTHING
    assert finder.evidence.passage(long) is long
    for _ in range(40):
        finder.learn(request(rng))
    assert finder.evidence.passage(long) is long  # no long text was seen yet
    finder.learn(long)
    assert len(finder.evidence.passage(long)) < LONG // 8
    for text in ("", " ", "a" * LONG, "please cancel my card"):
        assert finder.evidence.passage(text) is text


def test_agents_words_stand_for_requests_where_every_text_is_long():
    rng = np.random.default_rng(2)
    finder = RequestFinder()
    told = [request(rng) for _ in range(30)]
    finder.prepare(told)
    for _ in range(10):
        finder.learn(around(request(rng), rng))
    asked = request(rng)
    assert asked in finder.evidence.passage(around(asked, rng))
    finder.prepare([])
    assert finder.evidence.asked == 0.0
    assert not finder.evidence.requests.any()


@pytest.mark.parametrize("text", ["请取消我的信用卡", "กรุณายกเลิกบัตรของฉัน", "कृपया मेरा कार्ड रद्द करें"])
def test_scripts_without_spaces_and_with_marks(text):
    finder = RequestFinder()
    filler = ["苹果和篮子一共有多少个。", "แอปเปิลมีทั้งหมดกี่ผล ", "टोकरी में कितने सेब हैं। "]
    for _ in range(20):
        finder.learn(text)
    long = [one * (LONG // len(one) + 1) for one in filler]
    for one in long:
        finder.learn(f"{one}{text} {one}")
    for one in long:
        assert finder.evidence.passage(f"{one}{text} {one}").strip(" 。।") == text


def test_saved_and_loaded_it_goes_on_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(3)
    finder = taught(rng)
    told = [request(rng) for _ in range(5)]
    finder.prepare(told)
    finder.save(tmp_path)
    again = RequestFinder()
    again.load(tmp_path)
    again.prepare(told)
    later = [around(request(rng), rng) if turn % 2 else request(rng) for turn in range(10)]
    for text in later:
        finder.learn(text)
        again.learn(text)
    for name in ("requests", "surroundings", "words", "pairs"):
        np.testing.assert_array_equal(getattr(again.evidence, name), getattr(finder.evidence, name))
    assert (again.evidence.bias, again.evidence.asked, again.evidence.seen) == (
        finder.evidence.bias,
        finder.evidence.asked,
        finder.evidence.seen,
    )


def test_no_word_is_kept(tmp_path):
    finder = taught(np.random.default_rng(4))
    finder.save(tmp_path)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert stored
    assert not [word for word in (*VERBS, *sum(THINGS.values(), ()), *NOUNS, *NAMES) if word.encode() in stored]


def test_a_damaged_state_is_refused_and_changes_nothing(tmp_path):
    finder = taught(np.random.default_rng(5))
    finder.save(tmp_path)
    told = json.loads((tmp_path / "requests.json").read_text())
    (tmp_path / "requests.json").write_text(json.dumps({**told, "facts": {"bias": "none"}}))
    before = finder.evidence
    with pytest.raises(CorruptArtifactError):
        finder.load(tmp_path)
    assert finder.evidence is before


def test_of_many_texts_one_in_some_is_learnt(tmp_path):
    finder, again = RequestFinder(), RequestFinder()
    asked = [finder.asks(f"decision {number}") for number in range(ALL_LEARNT + 800)]
    assert all(asked[:ALL_LEARNT])
    assert 60 < sum(asked[ALL_LEARNT:]) < 140
    finder.save(tmp_path)
    again.load(tmp_path)
    further = [f"decision {number}" for number in range(40)]
    assert [again.asks(each) for each in further] == [finder.asks(each) for each in further]
    assert not all(again.asks(each) for each in further), "it goes on counting"


def test_what_requests_read_is_all_that_was_learnt_also_after_a_restart(tmp_path):
    rng = np.random.default_rng(5)
    finder, again = RequestFinder(), RequestFinder()
    finder.learn(around(request(rng), rng))
    for _ in range(30):
        finder.learn(request(rng))
    finder.save(tmp_path)
    again.load(tmp_path)
    assert finder.evidence.asked == again.evidence.asked > 30
    np.testing.assert_array_equal(finder.evidence.requests, again.evidence.requests)


def test_what_agents_say_of_themselves_changes_nothing_of_what_is_learnt(tmp_path):
    rng = np.random.default_rng(6)
    told = [around(request(rng), rng) if turn % 3 == 0 else request(rng) for turn in range(30)]
    states = []
    for rosters in ([], ["renew my passport"], ["renew my passport", "stop the train"]):
        finder = RequestFinder()
        for turn, text in enumerate(told):
            finder.prepare(rosters[: 1 + turn // 10])
            finder.learn(text)
        folder = tmp_path / str(len(states))
        folder.mkdir()
        finder.save(folder)
        states.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert states[0] == states[1] == states[2] != {}
