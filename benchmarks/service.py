"""The service beside a FastAPI endpoint that validates the same body and returns the same bytes, in one run.

    python benchmarks/service.py [--seconds 2] [--rounds 5] [--connections 32]

Each server is one uvicorn process, the client another on the same machine, with connections that are kept alive. What
is compared takes turns, so that the machine's other work falls on both; figures are medians over the rounds, and only
the ratios mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

TASK = {"text": "I was charged twice for my last invoice and want my money back", "task_type": "support"}
AGENTS = ("billing", "fraud", "technical", "sales", "claims")

PLAIN = """
import sys
import uvicorn
from fastapi import FastAPI, Response
from router_sdk_server.endpoints.outcomes import OutcomesBody
from router_sdk_server.endpoints.routing import RouteBody
ROUTE, RECORD = sys.argv[1].encode(), sys.argv[2].encode()
app = FastAPI()

@app.post("/v1/route")
async def route(body: RouteBody):
    return Response(ROUTE, media_type="application/json")

@app.post("/v1/outcomes")
async def record(body: OutcomesBody):
    return Response(RECORD, media_type="application/json")

uvicorn.run(app, port=0, access_log=False)
"""


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[tuple[int, int]]:
    """A server, once it listens: its port, and the id of its process."""
    log = folder / f"{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, stderr=file, stdout=file)
    try:
        while not (found := re.search(r"running on http://[\d.]+:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        yield int(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


async def ask(port: int, head: str, body: bytes = b"") -> bytes:
    """One request's answer, with its head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n".encode())
    writer.write(f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


def ready(port: int) -> bool:
    """Whether the service listens, and is ready."""
    try:
        return asyncio.run(ask(port, "GET /readyz"))[9:12] == b"200"
    except OSError:
        return False


def post(port: int, path: str, body: bytes) -> bytes:
    """The body of one request's answer."""
    return asyncio.run(ask(port, f"POST {path}", body)).partition(b"\r\n\r\n")[2]


async def load(
    port: int, path: str, body: Callable[[], bytes], connections: int, seconds: float, key: str = ""
) -> list[float]:
    """Send as fast as each connection is answered, and return how long each answer took, in seconds."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer {key}\r\ncontent-length: " if key else "content-length: "

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < end:
            content = body()
            writer.write(f"{head}{len(content)}\r\n\r\n".encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = re.search(rb"content-length: (\d+)", answer)
            assert length is not None
            await reader.readexactly(int(length[1]))
            took.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return took


def figures(took: list[float], seconds: float) -> tuple[float, float]:
    """Requests a second, and the 99th percentile in milliseconds."""
    return len(took) / seconds, 1_000 * sorted(took)[int(0.99 * len(took))]


def compare(
    servers: Sequence[tuple[int, int]],
    path: str,
    body: Callable[[], bytes],
    connections: int,
    seconds: float,
    rounds: int,
) -> None:
    """Let the two servers take turns, and print what came of it."""
    pairs = []
    spent, answered = [0.0, 0.0], [0, 0]
    for number in range(rounds):
        found: list[tuple[float, float]] = [(0.0, 0.0)] * 2
        for which in (number % 2, 1 - number % 2):
            port, pid = servers[which]
            before = cpu_s(pid)
            took = asyncio.run(load(port, path, body, connections, seconds))
            spent[which] += cpu_s(pid) - before
            answered[which] += len(took)
            found[which] = figures(took, seconds)
        pairs.append((*found[0], *found[1]))
    mine, mine_p99, theirs, theirs_p99 = (statistics.median(column) for column in zip(*pairs, strict=True))
    rate = statistics.median(pair[0] / pair[2] for pair in pairs)
    tail = statistics.median(pair[1] / pair[3] for pair in pairs)
    print(f"{path:14} {mine:8,.0f}/s of {theirs:8,.0f}/s: {rate:5.1%}", end="; ")
    print(f"p99 {mine_p99:.1f} of {theirs_p99:.1f} ms: {tail:.2f} x", end="; ")
    each = [1e6 * time_s / requests for time_s, requests in zip(spent, answered, strict=True)]
    print(f"processor {each[0]:.0f} of {each[1]:.0f} us a request: {each[1] / each[0]:.1%}", flush=True)


def in_process(store: Path, seconds: float, threads: int) -> float:
    """Outcomes a second that as many threads record in one process."""
    from router_sdk import Router

    counts = [0] * threads
    with Router(AGENTS, ["thompson"], store) as router:
        decisions = [router.route(TASK).decision_id for _ in range(1_000)]
        router.flush()
        end = time.perf_counter() + seconds

        def record(mine: int) -> None:
            while time.perf_counter() < end:
                router.record(decisions[(counts[mine] * threads + mine) % len(decisions)], {"success": True})
                counts[mine] += 1

        workers = [threading.Thread(target=record, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return sum(counts) / seconds


def cpu_s(pid: int) -> float:
    """Seconds of processor that a process took so far; where nothing says, NaN."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return float("nan")
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Memory of a process, in MB; where nothing says, NaN."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1_024 if found else float("nan")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    told = parser.parse_args()
    turns = (told.connections, told.seconds, told.rounds)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "router.json").write_text(json.dumps({"agents": AGENTS, "strategies": ["thompson"]}))
        serve = [sys.executable, "-c", "from router_sdk.cli import main; main()", "serve", "--port", "0", "--insecure"]
        begun = time.perf_counter()
        ours, pid = stack.enter_context(running([*serve, "--store", "router.db"], folder))
        while not ready(ours):
            time.sleep(0.01)
        took = time.perf_counter() - begun
        print(f"from start to ready {took:.2f} s, {cpu_s(pid):.2f} s of processor", end=", ")
        print(f"{resident_mb(pid):.0f} MB", flush=True)
        asked = json.dumps({"task": TASK}).encode()
        many = json.dumps({"tasks": [TASK] * 1_000}).encode()
        decisions: list[str] = []
        turn = count()

        def fresh() -> None:
            """A decision takes a thousand outcomes."""
            decisions[:] = [one["decision_id"] for one in json.loads(post(ours, "/v1/route", many))["decisions"]]

        def report() -> bytes:
            decision = decisions[next(turn) % len(decisions)]
            return b'{"decision_id":"%b","outcome":{"success":true,"latency_ms":850.0}}' % decision.encode()

        def reports() -> bytes:
            return b'{"outcomes":[' + b",".join(report() for _ in range(100)) + b"]}"

        fresh()
        answers = (post(ours, "/v1/route", asked), post(ours, "/v1/outcomes", report()))
        beside = [sys.executable, "-c", PLAIN, *(answer.decode() for answer in answers)]
        servers = [(ours, pid), stack.enter_context(running(beside, folder))]
        compare(servers, "/v1/route", lambda: asked, *turns)
        compare(servers, "/v1/outcomes", report, *turns)
        pairs = []
        for number in range(told.rounds):
            fresh()
            before = cpu_s(pid)
            took = asyncio.run(load(ours, "/v1/outcomes", reports, 8, told.seconds))
            mine = (100 * len(took) / told.seconds, (cpu_s(pid) - before) / (100 * len(took)))
            before = cpu_s(os.getpid())
            alone = in_process(folder / f"{number}.db", told.seconds, turns[0])
            pairs.append((*mine, alone, (cpu_s(os.getpid()) - before) / (alone * told.seconds)))
    rate, each, alone, each_alone = (statistics.median(column) for column in zip(*pairs, strict=True))
    share = statistics.median(pair[0] / pair[2] for pair in pairs)
    print(f"outcomes in batches of 100: {rate:,.0f}/s of {alone:,.0f}/s by {turns[0]} threads: {share:.1%}", end="; ")
    print(f"processor {1e6 * each:.0f} of {1e6 * each_alone:.0f} us an outcome: {each_alone / each:.1%}")


if __name__ == "__main__":
    main()
