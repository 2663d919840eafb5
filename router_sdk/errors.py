"""Every error the SDK raises on purpose.

::

    RouterError
    ├── InvalidInputError (ValueError)      what was passed in is wrong; nothing was stored
    │   ├── InvalidAgentError
    │   ├── InvalidTaskError
    │   ├── InvalidOutcomeError
    │   │   └── TooManyOutcomesError    a decision has as many outcomes as it may have
    │   ├── InvalidRewardError
    │   ├── InvalidIdError
    │   ├── WrongTenantError            a decision is named that is another tenant's
    │   ├── IdempotencyConflictError    an idempotency key was given before, for something else
    │   └── InvalidConfigError
    ├── UnknownAgentError (LookupError)     a name that no agent has or had
    ├── UnknownDecisionError (LookupError)  an id that the log does not hold
    ├── UnknownVersionError (LookupError)   a fitted version that the registry does not hold
    ├── GateRefusedError                    a version that did not pass the gate shall not serve
    ├── ChampionMovedError                  another version came to serve while this one was made
    ├── ExperimentError                     an experiment that is not there, has ended, or cannot be run
    ├── NoEligibleAgentError                the filters left nobody to choose from
    ├── RouterClosedError
    ├── StreamUnavailableError              a broker cannot be reached, or lacks what is asked for; try again
    ├── ServiceError                        a service was asked, and did not do it
    │   ├── AccessDeniedError               the key is unknown, was revoked, or does not allow it
    │   └── ServiceUnavailableError         it cannot be reached, or says that it cannot now; try again
    ├── PluginError
    │   ├── PluginLoadError                 one plugin could not be imported or registered
    │   ├── DuplicateNameError              two plugins claim one name
    │   └── UnknownStrategyError (LookupError)
    ├── StrategyError
    │   ├── InvalidProposalError            NaN, unknown agents, or probabilities that do not sum to 1
    │   ├── NotTrainableError               ``fit`` was asked of a strategy that has none
    │   ├── EncoderUnavailableError         no weights could be found to embed text with
    │   └── FitError                        a fit failed; what serves is untouched
    │       ├── FitStoppedError             it was told to stop
    │       └── TooFewExamplesError         nothing could have judged its result, so it was not begun
    └── StoreError
        ├── StoreUnavailableError           the log could not be written; the caller still has the event
        │   ├── StoreBusyError              another process kept the store locked for too long
        │   └── NotAStoreError              the file is there, and is something else
        ├── SchemaVersionError              the file was written by a newer release
        └── CorruptArtifactError            a stored file does not match its checksum

And what code that is not ours may raise without ending the program that it was loaded into, ``except FAULTS as error:
let_end(error)``: a plugin that calls ``sys.exit``, as command lines do that somebody wraps, has failed like any other.
What a signal handler of the program raised while the plugin happened to run is no fault of it, and passes; so does
``KeyboardInterrupt``.
"""

from __future__ import annotations

import signal
import threading
import traceback
from types import CodeType

__all__ = [
    "AccessDeniedError",
    "ChampionMovedError",
    "CorruptArtifactError",
    "DuplicateNameError",
    "EncoderUnavailableError",
    "ExperimentError",
    "FitError",
    "FitStoppedError",
    "GateRefusedError",
    "IdempotencyConflictError",
    "InvalidAgentError",
    "InvalidConfigError",
    "InvalidIdError",
    "InvalidInputError",
    "InvalidOutcomeError",
    "InvalidProposalError",
    "InvalidRewardError",
    "InvalidTaskError",
    "NoEligibleAgentError",
    "NotAStoreError",
    "NotTrainableError",
    "PluginError",
    "PluginLoadError",
    "RouterClosedError",
    "RouterError",
    "SchemaVersionError",
    "ServiceError",
    "ServiceUnavailableError",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "StrategyError",
    "StreamUnavailableError",
    "TooFewExamplesError",
    "TooManyOutcomesError",
    "UnknownAgentError",
    "UnknownDecisionError",
    "UnknownStrategyError",
    "UnknownVersionError",
    "WrongTenantError",
]


class RouterError(Exception):
    """Root of the tree: catch this to catch everything the SDK raises on purpose."""


class InvalidInputError(RouterError, ValueError):
    """An argument is malformed; the message names the field and what would be accepted."""


class InvalidAgentError(InvalidInputError):
    """An agent's record is malformed."""


class InvalidTaskError(InvalidInputError):
    """A task has nothing to route by, or a field of the wrong kind."""


class InvalidOutcomeError(InvalidInputError):
    """An outcome holds a value that is not finite, out of range or of the wrong type."""


class TooManyOutcomesError(InvalidOutcomeError):
    """A decision has as many outcomes as it may have: send only what changes what is known of it."""


class InvalidRewardError(InvalidInputError):
    """A reward function returned something other than a number in [0, 1] or None."""


class InvalidIdError(InvalidInputError):
    """A decision or outcome id does not have the form that the SDK hands out."""


class WrongTenantError(InvalidInputError):
    """A decision is named together with a tenant, and is another one's."""


class IdempotencyConflictError(InvalidInputError):
    """An idempotency key was given before, for another task or outcome: a retry repeats it as it was."""


class InvalidConfigError(InvalidInputError):
    """A configuration key is unknown or its value is out of range."""


class UnknownAgentError(RouterError, LookupError):
    """An agent is named that neither this process nor the log knows."""


class UnknownDecisionError(RouterError, LookupError):
    """A decision is asked for that the log does not hold."""


class UnknownVersionError(RouterError, LookupError):
    """A fitted version is named that the registry does not hold."""


class GateRefusedError(RouterError):
    """A version is to serve that the gate refused."""


class ChampionMovedError(RouterError):
    """What serves was changed while a candidate was made, so that it was judged against something else."""


class ExperimentError(RouterError):
    """There is no such experiment, it has ended, or what it asks for cannot be run here; the message says which."""


class NoEligibleAgentError(RouterError):
    """Requirements, exclusions, limits and filters left no agent to choose from; the message says which of them."""


class RouterClosedError(RouterError):
    """The router was closed; make a new one on the same store."""

    def __init__(self, words: str = "the router was closed; make a new one on the same store") -> None:
        super().__init__(words)


class ServiceError(RouterError):
    """A service was asked over HTTP, and did not do it; the message says why."""


class AccessDeniedError(ServiceError):
    """The key is unknown, was revoked, or does not allow what was asked."""


class ServiceUnavailableError(ServiceError):
    """The service cannot be reached, or says that it cannot now; try again."""


class PluginError(RouterError):
    """A plugin is at fault."""


class PluginLoadError(PluginError):
    """A plugin could not be imported or registered; the others are not affected."""


class DuplicateNameError(PluginError):
    """Two plugins registered the same name."""


class UnknownStrategyError(PluginError, LookupError):
    """A strategy is named that no installed plugin registers."""


class StreamUnavailableError(RouterError):
    """A broker cannot be reached, or has not what is asked for; whoever follows a stream tries again."""


class StrategyError(RouterError):
    """A strategy misbehaved."""


class InvalidProposalError(StrategyError):
    """A strategy's proposal is not a probability distribution over the agents it was given."""


class NotTrainableError(StrategyError):
    """``fit`` was asked of a strategy that does not implement it."""


class EncoderUnavailableError(StrategyError):
    """An encoder's weights, or the library that runs them, are not there; the message says how to get them."""


class FitError(StrategyError):
    """A fit failed: out of memory, a loss that is not finite, nothing to learn from … What serves is untouched.

    Args:
        words: Why.
        logged: Why, for the log, where ``words`` may quote what people wrote.
    """

    def __init__(self, words: str, logged: str | None = None) -> None:
        super().__init__(words)
        self.logged = words if logged is None else logged


class FitStoppedError(FitError):
    """A fit was told to stop, and did."""


class TooFewExamplesError(FitError):
    """There are too few examples to judge a candidate by, so none was made."""


class StoreError(RouterError):
    """The log is at fault."""


class StoreUnavailableError(StoreError):
    """The log could not be written in time; nothing was acknowledged, so try again."""


class StoreBusyError(StoreUnavailableError):
    """Another process kept the store locked for too long; nothing was acknowledged, so try again."""


class NotAStoreError(StoreUnavailableError):
    """The file is not a store of this SDK, and was left as it was."""


class SchemaVersionError(StoreError):
    """The database was written by a newer release than this one."""


class CorruptArtifactError(StoreError):
    """A stored file is missing or does not match its checksum; it was not loaded."""


FAULTS = (Exception, SystemExit)
"""What to catch around the code of a plugin, a strategy, a reward or a check."""


def let_end(error: BaseException) -> None:
    """Raise again what a signal handler of the program raised in the midst of other code."""
    if isinstance(error, SystemExit) and threading.current_thread() is threading.main_thread():
        handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
        if any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise error


def _code(handler: object) -> CodeType | None:
    """The code of a handler: a function, a method, a partial of one, or an object that can be called."""
    handler = getattr(handler, "func", handler)
    handler = getattr(handler, "__func__", handler)
    found = getattr(handler, "__code__", None)
    if found is None and callable(handler):
        found = getattr(type(handler).__call__, "__code__", None)
    return found if isinstance(found, CodeType) else None
