"""Texts for the transformer's benchmarks: made from a seed, so that every run routes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

AGENTS = {
    "analyst": "reads tables, draws charts and explains sales figures",
    "billing": "invoices, refunds and payments",
    "coder": "writes, reviews and repairs programs",
    "planner": "books trips, hotels and meetings",
    "support": "passwords, devices and accounts that do not work",
}
_THINGS = {
    "analyst": "the chart of sales,revenue by month,the forecast,campaign figures,a table of costs,the dashboard",
    "billing": "my invoice,a refund,the payment,my last bill,the charge on my card,a receipt",
    "coder": "the unit test,this query,a function,the build,an exception,the pull request",
    "planner": "a flight,the hotel,our meeting,a train ticket,the calendar,a table for two",
    "support": "my password,the printer,my laptop,the login page,my phone,the wifi",
}
_ASKING = (
    "please help me with,I have a question about,what is wrong with,show me,I need,can you change,tell me more about"
)
_WHEN = "today,as soon as possible,before Friday,when you have time,for my manager,for the second time,this week"


def make_texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts, each with the agent that should get it."""
    rng = np.random.default_rng(seed)
    names = list(AGENTS)
    made = []
    for number in range(count):
        agent = names[number % len(names)]
        parts = [rng.choice(words.split(",")) for words in (_ASKING, _THINGS[agent], _WHEN)]
        made.append((f"{' '.join(parts)}, number {rng.integers(10_000)}", agent))
    return made


def of_length(tokenize: Callable[[Sequence[str]], list[list[int]]], tokens: int, count: int = 40) -> list[str]:
    """Different texts of exactly so many tokens, special ones included."""
    words = " ".join(text for text, _ in make_texts(400, seed=1)).replace(",", "").split()
    rng = np.random.default_rng(tokens)
    found: list[str] = []
    while len(found) < count:
        start = int(rng.integers(len(words) - tokens))
        for length in range(tokens // 2, tokens):
            text = " ".join(words[start : start + length])
            (ids,) = tokenize([text])
            if len(ids) == tokens:
                found.append(text)
                break
    return found
