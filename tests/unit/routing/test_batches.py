"""What the requests of one batch encode together."""

import numpy as np

from router_sdk import Task
from router_sdk.routing.context import Encoders, RequestContext, Surroundings
from router_sdk.testing import HashedWordsEncoder


class Counting(HashedWordsEncoder):
    """Notes what it was given."""

    def __init__(self, config=None):
        super().__init__(config)
        self.given = []

    def encode(self, texts):
        self.given.append(list(texts))
        return super().encode(texts)


def contexts(*texts):
    shared = Surroundings(Encoders({"counting": Counting}, {}), None, None, np.random.default_rng(0))
    return [RequestContext(shared, Task(text), 0.0) for text in texts], shared.encoders["counting"]


def test_what_is_not_known_is_encoded_together():
    (first, second, third, apart), encoder = contexts("a", "b", "c", "d")
    known = second.encode("counting")
    vectors = first.encode_batch("counting", [first, second, third])
    assert encoder.given == [["b"], ["a", "c"]]
    assert vectors[1] is known
    for context, vector in zip((first, second, third), vectors, strict=True):
        assert context.encode(encoder) is vector
        assert context.vectors == {encoder.tag: vector}
    assert apart.vectors is None
    first.encode_batch(encoder, [first, second, third])
    assert len(encoder.given) == 2
