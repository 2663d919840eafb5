from router_sdk_bert.config import HeadConfig
from router_sdk_bert.head.prototypes import prototypes_of

from router_sdk.plugin import Agent


def test_a_text_that_an_agent_states_in_two_forms_counts_once():
    agent = Agent("a", examples=["caf\u00e9", "cafe\u0301"], description="cafe\u0301")
    assert [one.text for one in prototypes_of(agent, HeadConfig())] == ["caf\u00e9"]
