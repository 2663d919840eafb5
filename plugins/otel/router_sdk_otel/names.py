"""The names under which things are told.

The ``gen_ai.*`` ones are those of OpenTelemetry's semantic conventions for generative AI, written out, because the
constants of ``opentelemetry.semconv`` are marked as moved. For routing there are none: those are in a namespace of
their own.
"""

from __future__ import annotations

SCOPE = "router_sdk"
"""The instrumentation scope of all that is told here."""

OPERATION = "gen_ai.operation.name"
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"

EVALUATION = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"
EXPLANATION = "gen_ai.evaluation.explanation"
ERROR_TYPE = "error.type"

DECISION_ID = "router_sdk.decision.id"
STRATEGY = "router_sdk.decision.strategy"
MODEL_VERSION = "router_sdk.decision.model_version"
CONFIDENCE = "router_sdk.decision.confidence"
PROPENSITY = "router_sdk.decision.propensity"
EXPLORED = "router_sdk.decision.explored"
RANKING = "router_sdk.decision.ranking"
ARM = "router_sdk.decision.arm"
TASK_TYPE = "router_sdk.task.type"
TENANT = "router_sdk.tenant"

ORIGIN = "router_sdk.outcome.origin"
ACTOR = "router_sdk.outcome.actor"
