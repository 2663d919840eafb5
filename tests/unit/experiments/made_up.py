"""Units of one decision each, as a test wants them."""

import numpy as np

from router_sdk.experiments.units import HOUR_S, Steps, Units


def units(
    arm,
    quality,
    probability=0.5,
    *,
    hours=100.0,
    arms=("old", "new"),
    agent=0,
    metrics=None,
    window_h=24.0,
    waited_h=24.0,
):
    """Units that came evenly over some hours, and as many hours waited for as closes all of them."""
    arm, quality = np.asarray(arm), np.asarray(quality, dtype=float)
    count = arm.size
    shares = np.broadcast_to(np.asarray(probability, dtype=float), (count,) if np.ndim(probability) == 1 else ())
    chance = shares if shares.ndim else np.where(arm == 0, 1.0 - shares * (len(arms) - 1), shares)
    values = {"quality": quality, "success": np.full(count, np.nan), "latency": np.full(count, np.nan)}
    values |= {"feedback": np.full(count, np.nan)} | (metrics or {})
    reported = np.any([~np.isnan(column) for column in values.values()], axis=0)
    agents = np.broadcast_to(np.asarray(agent, dtype=np.int64), (count,))
    steps = Steps(np.arange(count), agents, np.zeros(count, dtype=np.int64), quality, ("a", "b"), ("ask",))
    at = np.linspace(0.0, hours * HOUR_S, count)
    return Units(arms, arm, chance, at, values, reported, steps, (hours + waited_h) * HOUR_S, window_h * HOUR_S, {})


def drawn(seed, count, means, share=0.5, **options):
    """Arms drawn by their shares, and outcomes of 0 and 1 with these means."""
    rng = np.random.default_rng(seed)
    shares = [1.0 - share * (len(means) - 1), *[share] * (len(means) - 1)]
    arm = rng.choice(len(means), count, p=shares)
    quality = (rng.random(count) < np.asarray(means)[arm]).astype(float)
    return units(arm, quality, share, **options)
