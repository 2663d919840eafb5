"""Requests for three agents, and long texts that hold one."""

from router_sdk import Outcome

VERBS = ("cancel", "change", "update", "check", "stop")
THINGS = {
    "billing": ("card", "bill", "account", "invoice"),
    "coder": ("program", "server", "query", "code"),
    "travel": ("flight", "hotel", "trip", "ticket"),
}
NOUNS = ("apples", "baskets", "pencils", "marbles", "cookies", "oranges", "buckets", "stamps", "ribbons", "coins")
NAMES = ("Janet", "Tom", "Maria", "Ahmed", "Susan", "Peter")


def request(rng, agent=None):
    """What one asks an agent, any without one, in words that the tiny model knows."""
    agent = agent or rng.choice(list(THINGS))
    return (
        f"please {rng.choice(VERBS)} my {rng.choice(THINGS[agent])} for {rng.choice(('today', 'a day', 'this month'))}"
    )


def around(asked, rng, mark=". ", place=None):
    """A request among 110 problems."""

    def problem():
        one, other = rng.choice(NAMES, 2)
        return f"{one} has {rng.integers(99)} {rng.choice(NOUNS)} and gives {rng.integers(9)} to {other}"

    parts = [problem() for _ in range(110)]
    parts.insert(int(rng.integers(111)) if place is None else place, asked)
    return mark.join(parts) + "."


def right_at_last(router, rng, rounds):
    """Share of the last long texts whose favourite is the agent that they belong to; every second text is long."""
    found, agents = [], sorted(THINGS)
    for turn in range(rounds):
        agent = agents[rng.integers(3)]
        asked = request(rng, agent)
        long = turn % 2 == 1
        decision = router.route(around(asked, rng, place=30) if long else asked)
        if long and turn >= rounds // 2:
            favourite = decision.distribution.agents.names[decision.distribution.favourite]
            found.append(favourite == agent)
        router.record(decision, Outcome(correct_agent=agent))
    return sum(found) / len(found)
