"""The records that cross the SDK's boundary, one file each."""

from router_sdk.records.access import SCOPES, AccessKey, Scope
from router_sdk.records.agent import Agent, AgentLike, AgentSet, agents_of
from router_sdk.records.alert import Alert
from router_sdk.records.columns import ExampleColumns, LoggedTexts
from router_sdk.records.decision import Decision, Ranked, Skipped
from router_sdk.records.distribution import Distribution, Evidence
from router_sdk.records.example import Context, Example, FixedExampleContext, Forecast, TrainingData
from router_sdk.records.faults import fault_words, models_called, models_in
from router_sdk.records.fields import MAX_TEXT_CHARS, FeatureValue, Name, PrivacyMode
from router_sdk.records.outcome import Outcome, OutcomeLike, Signals
from router_sdk.records.record import Record
from router_sdk.records.task import DEFAULT_TASK_TYPE, Task, TaskLike
from router_sdk.records.version import ModelVersion, version_name

__all__ = [
    "DEFAULT_TASK_TYPE",
    "MAX_TEXT_CHARS",
    "SCOPES",
    "AccessKey",
    "Agent",
    "AgentLike",
    "AgentSet",
    "Alert",
    "Context",
    "Decision",
    "Distribution",
    "Evidence",
    "Example",
    "ExampleColumns",
    "FeatureValue",
    "FixedExampleContext",
    "Forecast",
    "LoggedTexts",
    "ModelVersion",
    "Name",
    "Outcome",
    "OutcomeLike",
    "PrivacyMode",
    "Ranked",
    "Record",
    "Scope",
    "Signals",
    "Skipped",
    "Task",
    "TaskLike",
    "TrainingData",
    "agents_of",
    "fault_words",
    "models_called",
    "models_in",
    "version_name",
]
