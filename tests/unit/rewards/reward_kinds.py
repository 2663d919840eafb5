"""Rewards of every kind, as source: ``W`` stands for what they depend on."""

import re
import sys
import types

_SOURCES = """
### function
def reward(signals, agent):
    return W

### lambda
reward = lambda signals, agent: W

### positional default
def reward(signals, agent, weight=W):
    return weight

### keyword default
def reward(signals, agent, *, weight=W):
    return weight

### closure
def make(weight):
    return lambda signals, agent: weight
reward = make(W)

### closure over a function
def make(weight):
    def inner():
        return weight
    return lambda signals, agent: inner()
reward = make(W)

### global
WEIGHT = W
def reward(signals, agent):
    return WEIGHT

### global in a nested function
WEIGHT = W
def reward(signals, agent):
    return max(WEIGHT for _ in 'ab')

### global mapping
WEIGHTS = {'a': 1, 'b': [W]}
def reward(signals, agent):
    return WEIGHTS['b'][0]

### global set
NAMES = {'bee', 'sea', 'dee', str(W)}
def reward(signals, agent):
    return float(agent in NAMES)

### constant set
def reward(signals, agent):
    return float(agent in {'bee', 'sea', 'dee', 'W'})

### helper
def helper():
    return W
def reward(signals, agent):
    return helper()

### helper of a helper
X = W
def far():
    return X
def near():
    return far()
def reward(signals, agent):
    return near()

### mutual recursion
def odd(n):
    return n and even(n - 1)
def even(n):
    return W if n == 0 else odd(n - 1)
def reward(signals, agent):
    return even(4)

### partial by keyword
from functools import partial
def score(signals, agent, *, weight):
    return weight
reward = partial(score, weight=W)

### partial by position
from functools import partial
def score(weight, signals, agent):
    return weight
reward = partial(score, W)

### partial of a partial
from functools import partial
def score(weight, power, signals, agent):
    return weight ** power
reward = partial(partial(score, W), 2)

### method
class Scores:
    def __init__(self, weight):
        self.weight = weight
    def of(self, signals, agent):
        return self.weight
reward = Scores(W).of

### class method
class Scores:
    weight = W
    @classmethod
    def of(cls, signals, agent):
        return cls.weight
reward = Scores.of

### static method
class Scores:
    @staticmethod
    def of(signals, agent):
        return W
reward = Scores().of

### callable object
class Scores:
    def __init__(self, weight):
        self.weight = weight
    def __call__(self, signals, agent):
        return self.weight
reward = Scores(W)

### callable object's code
class Scores:
    def __call__(self, signals, agent):
        return self.deep()
    def deep(self):
        return W
reward = Scores()

### inherited code
class Base:
    def __call__(self, signals, agent):
        return W
class Scores(Base):
    pass
reward = Scores()

### super
class Base:
    def of(self):
        return W
class Scores(Base):
    def of(self):
        return super().of()
    def __call__(self, signals, agent):
        return self.of()
reward = Scores()

### property
class Scores:
    @property
    def weight(self):
        return W
    def __call__(self, signals, agent):
        return self.weight
reward = Scores()

### slots
class Scores:
    __slots__ = ('weight',)
    def __init__(self, weight):
        self.weight = weight
    def __call__(self, signals, agent):
        return self.weight
reward = Scores(W)

### dataclass
from dataclasses import dataclass
@dataclass(frozen=True)
class Scores:
    weight: float
    def __call__(self, signals, agent):
        return self.weight
reward = Scores(W)

### dataclass with slots and a default
from dataclasses import dataclass, field
@dataclass(frozen=True, slots=True)
class Scores:
    weight: float = W
    more: list = field(default_factory=list)
    def __call__(self, signals, agent):
        return self.weight
reward = Scores()

### named tuple
from typing import NamedTuple
class Pair(NamedTuple):
    one: float
    two: str = 'x'
PAIR = Pair(W)
def reward(signals, agent):
    return PAIR.one

### enumeration
import enum
class Weight(enum.Enum):
    LOW = 'low'
    MINE = W
def reward(signals, agent):
    return Weight.MINE.value

### pydantic model
import pydantic
class Scores(pydantic.BaseModel):
    weight: float
    def __call__(self, signals, agent):
        return self.weight
reward = Scores(weight=W)

### protocol
from router_sdk.plugin import RewardFunction
class Scores(RewardFunction):
    def __call__(self, signals, agent):
        return W
reward = Scores()

### abstract base class
from abc import ABC, abstractmethod
class Base(ABC):
    @abstractmethod
    def of(self): ...
    def __call__(self, signals, agent):
        return self.of()
class Scores(Base):
    def of(self):
        return W
reward = Scores()

### array
import numpy as np
WEIGHTS = np.array([1.0, W])
def reward(signals, agent):
    return float(WEIGHTS[1])

### numpy scalar
import numpy as np
WEIGHT = np.float32(W)
def reward(signals, agent):
    return float(WEIGHT)

### values of the standard library
import re
from collections import OrderedDict, defaultdict, deque
from decimal import Decimal
HELD = [re.compile('a+'), OrderedDict(a=1), defaultdict(list, b=[2]), deque([Decimal('W')]), range(3), b'x']
def reward(signals, agent):
    return float(HELD[3][0])

### cached
from functools import lru_cache
@lru_cache
def weight():
    return W
def reward(signals, agent):
    return weight()

### cached property
from functools import cached_property
class Scores:
    @cached_property
    def weight(self):
        return W
    def __call__(self, signals, agent):
        return self.weight
reward = Scores()

### decorated
from functools import wraps
def halved(function):
    @wraps(function)
    def inner(*args):
        return function(*args) / 2
    return inner
@halved
def reward(signals, agent):
    return W

### attribute of a function
def reward(signals, agent):
    return reward.weight
reward.weight = W

### attribute of a module
import sys
import types
settings = types.ModuleType('my_settings')
settings.weight = W
sys.modules['my_settings'] = settings
def reward(signals, agent):
    return settings.weight

### import inside
import sys
import types
mine = types.ModuleType('my_other_settings')
mine.weight = W
sys.modules['my_other_settings'] = mine
def reward(signals, agent):
    from math import sqrt
    from my_other_settings import weight
    return sqrt(weight)

### modules that name each other
import sys
import types
one = types.ModuleType('my_one')
other = types.ModuleType('my_other')
one.other, other.one, other.weight = other, one, W
sys.modules |= {'my_one': one, 'my_other': other}
def reward(signals, agent):
    return one.other.one.other.weight

### functions of libraries
import statistics
import numpy as np
def reward(signals, agent):
    return float(np.clip(statistics.fmean([np.mean([W, W]), W]), 0.0, 1.0))

### closure over functions of libraries
import statistics
import numpy as np
from numpy.polynomial.polynomial import polyval
def make(*functions):
    return lambda signals, agent: float(max(f([W, W]) for f in functions[:2]))
reward = make(np.mean, statistics.fmean, polyval)

### bound built-in
LOOK_UP = {'a': W}.get
def reward(signals, agent):
    return LOOK_UP(agent)

### operator
from operator import itemgetter
GET = itemgetter(W)
def reward(signals, agent):
    return GET({W: 0.5})

### what is excepted
def reward(signals, agent):
    try:
        return signals.quality / W
    except ZeroDivisionError:
        return 0.0
"""

KINDS = dict(re.findall(r"^### (.*)\n((?:.*\n)*?)(?=\n### |\Z)", _SOURCES, re.MULTILINE))


def made(source, weight):
    """The reward that a source defines, in a module of its own."""
    module = types.ModuleType("my_rewards")
    sys.modules["my_rewards"] = module
    exec(re.sub(r"\bW\b", str(weight), source), vars(module))
    return module.reward
