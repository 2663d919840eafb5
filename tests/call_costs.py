"""What calls cost in processor time, of all threads: the machine may be busy."""

import inspect
import time


async def costs(*calls, rounds=300):
    """Microseconds that each call takes, in the median of its rounds; they take turns."""
    found = [[] for _ in calls]
    for i in range(rounds):
        for place in sorted(range(len(calls)), reverse=bool(i % 2)):
            begun = time.process_time()
            ended = calls[place](i)
            if inspect.isawaitable(ended):
                await ended
            found[place].append((time.process_time() - begun) * 1e6)
    return [sorted(each)[len(each) // 2] for each in found]
