"""The strategy is held to the contract, with answers that are known and outcomes that were logged with them."""

from collections.abc import Sequence

import numpy as np
import pytest

from router_sdk.plugin import Encoder, EncoderConfig
from router_sdk.testing import check_strategy, sample_agents

pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install router-sdk-systemone")

from router_sdk_systemone import SystemOneConfig, SystemOneStrategy
from router_sdk_systemone.strategy import ANSWER, TURN, _number

NAMES = [agent.name for agent in sample_agents()]


class Logged(Encoder):
    """What a decision's vectors would be: the server favours whoever comes first, and it was its turn."""

    precision = "fp64"

    def __init__(self, name: str) -> None:
        super().__init__(EncoderConfig())
        self._name = name

    @property
    def tag(self) -> str:
        return self._name

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self._name == TURN:
            return [np.array([1.0, 0.9]) for _ in texts]
        shares = [0.7, *[0.3 / (len(NAMES) - 1)] * (len(NAMES) - 1)]
        return [
            np.array([[_number(name), share] for name, share in zip(NAMES, shares, strict=False)]).ravel()
            for _ in texts
        ]


class Answered(SystemOneStrategy):
    """One whose server has answered already."""

    def prepare(self, agents):
        super().prepare(agents)
        shares = [0.7, *[0.3 / max(len(agents) - 1, 1)] * (len(agents) - 1)]
        self._asker.known = lambda text: dict(zip(agents.names, shares, strict=True)) if text else None


@pytest.mark.parametrize("kind", [SystemOneStrategy, Answered])
def test_the_contract_is_kept(kind):
    encoders = {ANSWER: Logged(ANSWER), TURN: Logged(TURN)}
    config = SystemOneConfig(url="http://127.0.0.1:9")
    check_strategy(
        lambda services: kind(config, services),
        encoders=encoders,
        must_answer=kind is Answered,
        learns=kind is Answered,
    )
