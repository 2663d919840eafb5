"""What ``check_strategy`` checks, one function each."""

from collections.abc import Callable

from router_sdk.testing.checks.concurrency import answers_many_threads_at_once, publishes_in_one_step
from router_sdk.testing.checks.learning import (
    comes_back_from_disk,
    keeps_tenants_apart,
    learns_alike_in_any_batches,
    leaves_an_agent_that_fails,
    refuses_a_corrupt_state,
    saves_no_pickle,
)
from router_sdk.testing.checks.proposals import (
    answers_at_all,
    answers_batches_like_single_requests,
    copes_as_agents_come_and_go,
    declares_what_the_router_calls,
    ignores_the_order_of_agents,
    keeps_requests_apart,
    leaves_its_arguments_alone,
    proposes_distributions,
    repeats_itself_from_one_seed,
)
from router_sdk.testing.trial import Trial

Check = Callable[[Trial], None]

CHECKS: tuple[Check, ...] = (
    declares_what_the_router_calls,
    leaves_its_arguments_alone,
    proposes_distributions,
    answers_at_all,
    ignores_the_order_of_agents,
    repeats_itself_from_one_seed,
    answers_batches_like_single_requests,
    keeps_requests_apart,
    copes_as_agents_come_and_go,
    learns_alike_in_any_batches,
    keeps_tenants_apart,
    leaves_an_agent_that_fails,
    comes_back_from_disk,
    saves_no_pickle,
    refuses_a_corrupt_state,
    publishes_in_one_step,
    answers_many_threads_at_once,
)

__all__ = ["CHECKS", "Check"]
