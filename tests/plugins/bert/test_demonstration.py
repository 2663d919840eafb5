"""The demonstration with a transformer: a tiny one, so that it is fast; what it is worth is not the question."""

from router_sdk.demo import DemoConfig, render_page, run_demo
from router_sdk.demo.contestant import ROUTER


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
