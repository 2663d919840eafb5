from router_sdk_bert.config import BertConfig
from router_sdk_bert.strategy import BertStrategy

from router_sdk.testing import check_strategy


def test_the_contract_of_a_strategy(tiny_encoder_folder):
    def build(services):
        return BertStrategy(BertConfig(model=str(tiny_encoder_folder), wait_for_encoder=True), services)

    check_strategy(build)
