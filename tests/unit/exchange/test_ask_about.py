import pytest

from router_sdk import Outcome, Proposal, Strategy
from router_sdk.errors import InvalidInputError


class Sure(Strategy):
    """As sure as the text says."""

    name = "sure"

    def propose(self, task, agents, context):
        share = float(task.text)
        rest = (1.0 - share) / (len(agents) - 1)
        return Proposal({name: rest if number else share for number, name in enumerate(agents.names)})


def test_the_most_uncertain_come_first_each_text_once_and_answered_ones_never(make_router):
    router = make_router([Sure], epsilon=0.0)
    made = {text: router.route(text) for text in ("0.9", "0.4", "0.6", "0.35")}
    router.route("0.4")
    router.record(made["0.35"], Outcome(success=True))
    assert [decision.task.text for decision in router.examples.ask_about(2)] == ["0.4", "0.6"]
    assert [decision.task.text for decision in router.examples.ask_about()] == ["0.4", "0.6", "0.9"]
    with pytest.raises(InvalidInputError, match="at least 1"):
        router.examples.ask_about(0)
