import json
from dataclasses import replace

import pytest
from page_reader import read_page

from router_sdk.demo.contestant import FitMark
from router_sdk.demo.page import render_page
from router_sdk.demo.report import DemoReport
from router_sdk.demo.serving import BUSY_AGENT, NEIGHBOURS, Candidate, ServingReport, Stretch
from router_sdk.demo.support_desk import support_desk_agents

PASSED = FitMark(0, "bert", "pre-training", "promoted", 1, 2.0, 0.6, 0.8, 40, False, "accuracy: pass")
MISLED = replace(PASSED, at=4, version=2, words="accuracy: pass, by its own labels")
REFUSED = replace(PASSED, at=8, version=3, state="refused", words="accuracy: fail, 0.6 < 0.8")
CAUGHT = "rollback by itself from 2: it earned 0.1 where 0.9 came before"


@pytest.fixture
def story() -> ServingReport:
    return ServingReport(
        strategy="bert",
        seed=7,
        candidates=(
            Candidate("right labels", PASSED, "serves", "serves", 8, 0.75, None, None),
            Candidate("wrong <labels>", MISLED, "rolled back", "rolled back", 2, 0.0, 0.75, CAUGHT),
            Candidate("a busy day", REFUSED, "refused", "refused", 0, None, 0.6, None),
        ),
        stretches=(Stretch("version 1", 0, 4, 0.75), Stretch("watched", 4, 6, 0.0), Stretch("then", 6, 10, 0.75)),
        rewards=(1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0),
        served_by=(1, 1, 1, 1, 2, 2, 1, 1, 1, 1),
        again="version 2 was rolled back by itself",
    )


def test_each_version_is_told_with_the_words_of_who_decided(story: ServingReport) -> None:
    first, misled, refused = (one.sentence for one in story.candidates)
    assert (
        first
        == "Version 1, made of right labels. The gate: accuracy: pass. It earned 0.75 per task in 8 tasks. "
        + ("It serves at the end")
    )
    assert misled.endswith(
        "It earned 0.00 per task in 2 tasks, where 0.75 came before. "
        f"It was rolled back ({CAUGHT}) and stays in quarantine"
    )
    assert refused == "Version 3, made of a busy day. The gate: accuracy: fail, 0.6 < 0.8. It never served"
    assert story.finding.count("as it should") == 3
    assert "rolled back after 2 tasks" in story.finding


def test_what_went_wrong_is_told_as_what_went_right(story: ServingReport) -> None:
    first, misled, refused = story.candidates
    missed = replace(misled, fate="serves", ended_by=None)
    let_through = replace(refused, mark=replace(REFUSED, state="promoted"), fate="serves", served=3, earned=0.3)
    found = replace(story, candidates=(replace(first, fate="replaced"), missed, let_through))
    assert found.finding.count("which it should not") == 3
    assert missed.sentence.endswith("It serves at the end; it should be: rolled back")
    stopped = replace(misled, mark=replace(MISLED, state="refused"), fate="refused")
    assert stopped.sentence.endswith("It never served, and should have: rolled back")


def test_the_page_and_a_program_get_the_whole_story(story: ServingReport) -> None:
    report = DemoReport((), ("bert",), 3.0, 1, (), story)
    page = read_page(render_page(report))
    assert page.charts[0]["phases"] == [["version 1", 0, 4], ["watched", 4, 6], ["then", 6, 10]]
    words = " ".join(page.words)
    assert {"right", "version 2", "rolled back", "0.800"} <= set(page.words)
    assert CAUGHT in words
    assert "made of wrong <labels>" in words
    assert "Asked to let it serve again, the router says" in words
    told = json.loads(json.dumps(report.to_dict()))["serving"]
    assert told["finding"] == story.finding
    assert [one["fate"] for one in told["candidates"]] == ["serves", "rolled back", "refused"]
    assert told["candidates"][1]["ended_by"] == CAUGHT


def test_every_agent_has_another_for_a_neighbour() -> None:
    names = {agent.name for agent in support_desk_agents()}
    assert BUSY_AGENT in names
    assert set(NEIGHBOURS) == set(NEIGHBOURS.values()) == names
    assert all(name != other for name, other in NEIGHBOURS.items())
