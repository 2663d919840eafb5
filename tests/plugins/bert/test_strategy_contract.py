"""The contract with a real transformer, tiny; by default it is held with hashed words, see ``test_strategy.py``."""

import pytest
from router_sdk_bert.config import BertConfig
from router_sdk_bert.strategy import BertStrategy

from router_sdk.testing import check_strategy


@pytest.mark.reliability
def test_the_contract_of_a_strategy(tiny_encoder_folder):
    def build(services):
        return BertStrategy(BertConfig(model=str(tiny_encoder_folder), wait_for_encoder=True), services)

    check_strategy(build)
