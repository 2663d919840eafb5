"""How a decision-model server is asked, and how far it is trusted."""

from __future__ import annotations

from pydantic import Field, field_validator

from router_sdk.plugin import StrategyConfig

PATH = "/v1/systemone"


class SystemOneConfig(StrategyConfig):
    """Settings of the strategy ``systemone``.

    Attributes:
        url: Of the server, such as ``"http://127.0.0.1:8080"``; ``/v1/systemone`` is added where it is not there.
        model: Which of its models; None leaves it to the server.
        api_key_variable: The environment variable that holds a bearer token; where it is not set, none is sent.
        instructions: What the server is told to do.
        timeout_ms: Longest that an answer is waited for, and a request may take, in milliseconds.
        wait: Whether a request waits for its answer, so long at most: a coroutine gives way meanwhile, a thread
            stands. False never waits: an answer then serves the next task with the same words.
        parallel: Requests to the server at once.
        per_minute: Most requests to the server in a minute.
        per_day: Most requests in a day; None sets no limit.
        cache_size: Answers that are kept, those that were asked for last.
        cache_seconds: How long an answer is kept, in seconds.
        held_out: Share of tasks on which the rest of the chain is heard although the server is trusted, to know how
            well it would do, in (0, 0.5].
        probe: Share of tasks on which a server is heard that is not trusted, to know whether it got better.
        trust: How likely it is, before there are any outcomes, that the server is as sure as it says, in (0, 1).
    """

    url: str = Field(pattern=r"^https?://\S+$")
    model: str | None = None
    api_key_variable: str = "SYSTEMONE_API_KEY"
    instructions: str = "Which agent should get this task?"
    timeout_ms: float = Field(default=300.0, gt=0, le=60_000)
    wait: bool = True
    parallel: int = Field(default=4, ge=1, le=64)
    per_minute: int = Field(default=600, ge=1)
    per_day: int | None = Field(default=None, ge=1)
    cache_size: int = Field(default=10_000, ge=1)
    cache_seconds: float = Field(default=3_600.0, gt=0)
    held_out: float = Field(default=0.1, gt=0.0, le=0.5)
    probe: float = Field(default=0.005, ge=0.0, le=0.5)
    trust: float = Field(default=0.9, gt=0, lt=1)

    @field_validator("url")
    @classmethod
    def _whole(cls, url: str) -> str:
        url = url.rstrip("/")
        return url if url.endswith(PATH) else url + PATH
