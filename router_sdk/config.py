"""Everything that can be set, in one model: keyword arguments, ``ROUTER_*`` environment variables, or a file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from router_sdk.engine import scheme_of
from router_sdk.errors import InvalidConfigError, InvalidInputError
from router_sdk.loop_settings import (
    DriftConfig,
    ExperimentConfig,
    GateConfig,
    QualityConfig,
    TrainingConfig,
    TriggerConfig,
    WatchConfig,
)
from router_sdk.records import Agent, PrivacyMode
from router_sdk.records.arguments import place
from router_sdk.records.fields import Label
from router_sdk.records.record import describe
from router_sdk.rewards import MetricGoal
from router_sdk.setting_names import check_environment, in_our_words


def _agents(value: Any) -> Any:
    """Names and mappings are agents too, as in ``Router(agents=...)``."""
    return [Agent.of(agent) for agent in value] if isinstance(value, (list, tuple)) else value


def _store_name(value: Any) -> Any:
    """An empty name would stand for the folder that the program runs in; a URL is none of a file."""
    if value == "":
        raise ValueError("give a file name, ':memory:', or a URL")
    return Path(value) if isinstance(value, str) and scheme_of(value) is None else value


class RouterConfig(BaseSettings):
    """How a router behaves. Unknown keys are errors.

    Keyword arguments come before environment variables (``ROUTER_EPSILON=0.05``, lists and mappings as JSON), and those
    before a file. ``strategy``, ``encoder``, ``executor`` and ``training`` are joined key by key, everything else is
    replaced whole. Variables that begin with ``ROUTER_`` and set nothing are errors.

    Args:
        agents: Who can be chosen; None follows what the store knows.
        strategies: The chain: the first that does not abstain decides. None means those of ``bert``,
            ``thompson`` and ``heuristic`` that are installed.
        strategy: Each strategy's own configuration, by its name.
        encoder: Each encoder's own configuration, by its name.
        store: SQLite file, ``":memory:"``, or the URL of a database that a plugin brings, such as ``postgresql://``.
        privacy: What of a text is kept: ``full``, ``redacted``, ``hmac`` or ``none``.
        tenancy: What tenants share of what is learnt: ``shared`` (all of it), ``separate`` (nothing: each has a state
            of its own, and nothing is fitted), or ``prior`` (each starts from what all have taught, and its own
            outcomes take over). See docs/tenants.md.
        most_tenants: How many tenants have a state of their own in memory, those that were taught last.
        reward: Name of a registered reward function, or None for ``OutcomeReward``.
        reward_metrics: What the default reward makes of ``Outcome.metrics``, by name, see ``MetricGoal``: ``{"mape":
            {"goal": "min", "low": 5.0, "high": 30.0, "weight": 1.0}}``. Metrics that are not named teach nothing.
        epsilon: Exploration floor, in [0, 1]: each eligible agent keeps at least ``epsilon / k`` probability.
        seed: Seed of everything random, or None.
        learning: Whether this process learns; False serves what was learnt.
        read_only: Whether the store is only looked at: nothing in it or beside it is changed, nothing learnt or logged.
        learn_now: Learn inside ``record`` and wait for it; for tests and offline replays.
        batch_events: Outcomes that start an update.
        batch_seconds: Longest that an outcome waits for an update, in seconds.
        snapshot_seconds: Time between snapshots, in seconds.
        pending_ttl_seconds: How long an outcome waits for its decision before it is dead-lettered.
        retrain: Whether triggers start fits in this process; by hand it can be done all the same.
        retrain_interval: Fresh examples that make a fit due.
        min_examples: Examples that there must be in all before the first.
        retrain_cooldown_seconds: Shortest time between two fits that a trigger starts, in seconds.
        triggers: What else makes a fit due, and what does not, see ``TriggerConfig``.
        fit_executor: Where fits run: ``process`` (a child at the lowest priority), ``thread``, ``command`` (see
            ``CommandConfig``), what a plugin brings, such as ``ray``, or ``auto``: in a child wherever strategy and
            reward are known there by name.
        executor: Each executor's own configuration, by its name.
        parallel_fits: How many fits may run at once, each of another strategy. One process fits on a store at a time.
        held_out: Share of the examples that no fit trains on, for the gate, in [0, 0.5].
        gate: What a fitted candidate must pass before it serves, see ``GateConfig``.
        training: What a fit is trained on, see ``TrainingConfig``: filters, balance, and a file beside the log.
        watch: What a version must earn once it serves, see ``WatchConfig``.
        drift: What counts as drift, and when an alert is raised, see ``DriftConfig``.
        quality: Who says how good an execution was where nobody did, see ``QualityConfig``; by itself nobody.
        experiment: How experiments are run and when they are decided, see ``ExperimentConfig``.
        promotion: Who lets a fit serve that a trigger started and the gate passed: the ``gate`` itself, an
            ``experiment`` against what serves, or a person (``manual``). A strategy's first version, a pre-training and
            a fit that a person asked for are judged by the gate.
        keep_versions: Fitted versions of a strategy whose files are kept, beside those that serve or a rollback needs.
        keep_versions_days: Younger ones are kept too, in days; None keeps none for its age.
        retention_days: Decisions older than so many days are archived, about once an hour; None keeps them.
        retention_mb: The oldest decisions are archived once the log takes so many megabytes; None lets it grow.
        store_timeout_seconds: Longest that ``record`` waits for a store that another process keeps locked.
        handle_sigterm: Whether SIGTERM, where the program has no handler of its own, closes routers before it ends the
            process.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        queue_size: Decisions that may wait for the disk; beyond it they are counted and not logged.

    Raises:
        InvalidConfigError: from ``RouterConfig.of`` and ``load_config``, if a key or a value is not understood.
    """

    model_config = SettingsConfigDict(
        env_prefix="ROUTER_", extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )

    agents: Annotated[tuple[Agent, ...] | None, BeforeValidator(_agents)] = None
    strategies: tuple[str, ...] | None = None
    strategy: dict[str, dict[str, Any]] = Field(default_factory=dict)
    encoder: dict[str, dict[str, Any]] = Field(default_factory=dict)
    store: Annotated[Path | str, BeforeValidator(_store_name)] = Path("router.db")
    privacy: PrivacyMode = "full"
    tenancy: Literal["shared", "separate", "prior"] = "shared"
    most_tenants: int = Field(default=100, ge=1)
    reward: str | None = None
    reward_metrics: dict[Label, MetricGoal] = Field(default_factory=dict)
    epsilon: float = Field(default=0.02, ge=0.0, le=1.0)
    seed: int | None = Field(default=None, ge=0)
    learning: bool = True
    read_only: bool = False
    learn_now: bool = False
    batch_events: int = Field(default=10, ge=1)
    batch_seconds: float = Field(default=30.0, gt=0)
    snapshot_seconds: float = Field(default=300.0, gt=0)
    pending_ttl_seconds: float = Field(default=7 * 86_400.0, gt=0)
    retrain: bool = True
    retrain_interval: int = Field(default=10, ge=1)
    min_examples: int = Field(default=5, ge=1)
    retrain_cooldown_seconds: float = Field(default=30.0, ge=0)
    triggers: TriggerConfig = Field(default_factory=TriggerConfig)
    fit_executor: Label = "auto"
    executor: dict[str, dict[str, Any]] = Field(default_factory=dict)
    parallel_fits: int = Field(default=1, ge=1)
    held_out: float = Field(default=0.2, ge=0.0, le=0.5)
    gate: GateConfig = Field(default_factory=GateConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    watch: WatchConfig = Field(default_factory=WatchConfig)
    drift: DriftConfig = Field(default_factory=DriftConfig)
    quality: QualityConfig = Field(default_factory=QualityConfig)
    experiment: ExperimentConfig = Field(default_factory=ExperimentConfig)
    promotion: Literal["gate", "experiment", "manual"] = "gate"
    keep_versions: int = Field(default=5, ge=1)
    keep_versions_days: float | None = Field(default=None, ge=0)
    retention_days: float | None = Field(default=None, gt=0)
    retention_mb: float | None = Field(default=None, gt=0)
    store_timeout_seconds: float = Field(default=30.0, gt=0)
    handle_sigterm: bool = True
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    queue_size: int = Field(default=100_000, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, given in (("existing", self.training.existing), ("synthetic_ratio", self.training.synthetic_ratio)):
            if given and self.privacy != "full":
                words = f"versions may keep its texts, and privacy={self.privacy!r} forbids that"
                raise ValueError(f"training.{name}: {words}")
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What is shown of it: of a store's URL the scheme alone, for it may hold a password."""
        for name, value in super().__repr_args__():
            url = scheme_of(value) if name == "store" and isinstance(value, str) else None
            yield name, value if url is None else f"{url}://***"

    @property
    def learns(self) -> bool:
        """Whether this process learns."""
        return self.learning and not self.read_only

    @property
    def fits(self) -> bool:
        """Whether there can be fitted versions: they are made of all tenants' examples."""
        return self.tenancy != "separate"

    @property
    def keep_versions_s(self) -> float | None:
        """``keep_versions_days`` in seconds."""
        return None if self.keep_versions_days is None else 86_400.0 * self.keep_versions_days

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword arguments, then the environment; no dotenv files, no secrets folder."""
        check_environment(settings_cls.model_fields)
        return init_settings, env_settings

    @classmethod
    def of(cls, file: Mapping[str, Any] | None = None, /, **settings: Any) -> RouterConfig:
        """Build a configuration from keyword arguments, the environment, and what a file says, in this order.

        Raises:
            InvalidConfigError: if a key is unknown or a value is out of range.
        """
        try:
            if file is not None:
                settings = _joined(_joined(file, EnvSettingsSource(cls)()), settings)
            return cls(**settings)
        except ValidationError as error:
            raise InvalidConfigError(f"configuration: {describe(error)}{in_our_words(error)}") from None
        except ValueError as error:
            raise InvalidConfigError(f"configuration: {error}") from None


def load_config(path: str | Path, **overrides: Any) -> RouterConfig:
    """Read a configuration from a TOML, YAML or JSON file; keyword arguments and the environment come before it.

    Raises:
        InvalidConfigError: if the file cannot be read or parsed, or says something that is not understood.
    """
    return RouterConfig.of(read_settings(path), **overrides)


def read_settings(path: str | Path) -> dict[str, Any]:
    """What a TOML, YAML or JSON file says, by name.

    Raises:
        InvalidConfigError: if the file cannot be read or parsed, or names nothing.
    """
    try:
        path = place(path, "config")
    except InvalidInputError as error:
        raise InvalidConfigError(str(error)) from None
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidConfigError(f"{path.name}: it must be UTF-8: {error}") from error
    return parse_settings(text, path)


def settings_format(path: Path) -> str:
    """What a configuration's name ends in, in small letters: its own, or that of the file that a link leads to."""
    return (path.suffix or path.resolve().suffix).lower()


def parse_settings(text: str, path: Path) -> dict[str, Any]:
    """What the text of a configuration says, by name.

    Args:
        text: TOML, YAML or JSON.
        path: The file that it is of; ``settings_format`` says which.

    Raises:
        InvalidConfigError: if it cannot be parsed, or names nothing.
    """
    try:
        match settings_format(path):
            case ".toml":
                settings = tomllib.loads(text)
            case ".json":
                settings = json.loads(text)
            case ".yaml" | ".yml":
                settings = _parse_yaml(text)
            case other:
                raise InvalidConfigError(f"{path.name}: {other!r} is no known format; use .toml, .yaml or .json")
    except ValueError as error:
        if isinstance(error, InvalidConfigError):
            raise
        raise InvalidConfigError(f"{path.name}: {error}") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise InvalidConfigError(f"{path.name}: expected named settings at the top")
    return settings


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of which the latter come first; mappings are joined key by key."""
    joined = dict(below)
    for name, value in above.items():
        under = joined.get(name)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        joined[name] = _joined(under, value) if both else value  # type: ignore[arg-type]
    return joined


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise InvalidConfigError("a YAML file needs PyYAML: pip install 'router-sdk[yaml]', or use TOML") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfigError(f"not valid YAML: {error}") from error


def configure(config: RouterConfig | str | Path | None, settings: dict[str, Any]) -> RouterConfig:
    """Join a configuration, or the path of one, with settings that come before it.

    Raises:
        InvalidConfigError: if a key is unknown or a value is out of range.
    """
    if config is None:
        return RouterConfig.of(**settings)
    if isinstance(config, RouterConfig):
        return RouterConfig.of(**_joined(config.model_dump(exclude_unset=True), settings)) if settings else config
    return load_config(config, **settings)
