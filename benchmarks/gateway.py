"""What the gateway adds to a streamed answer, beside the bare upstream and LiteLLM's proxy, in one run.

    python benchmarks/gateway.py [--rounds 7] [--streams 32] [--litellm PATH_OF_ITS_COMMAND]

The upstream is a server of its own that streams a completion's chunks, one every few milliseconds, as models do; each
server is one process, the client another. What is compared takes turns, so that the machine's other work falls on all;
figures are medians over the rounds, with the spread between them, and only the ratios and differences mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from service import cpu_s, running

CHUNKS = 60
KEY = f"sk-{'0123456789abcdef' * 3}"
"""What LiteLLM's proxy wants; nobody else asks for one here."""
ASKED = {
    "messages": [{"role": "user", "content": "I was charged twice for my last invoice and want my money back"}],
    "stream": True,
}

UPSTREAM = """
import asyncio, json, sys
GAP_S, CHUNKS = float(sys.argv[1]), int(sys.argv[2])
def chunk(delta, finish=None):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
events = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": f"word{i} "}) for i in range(CHUNKS)),
          chunk({}, "stop")]
lines = [b"data: " + json.dumps(one).encode() + b"\\n\\n" for one in events] + [b"data: [DONE]\\n\\n"]
pieces = [b"%x\\r\\n%b\\r\\n" % (len(line), line) for line in lines]
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n"
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
            writer.write(HEAD + pieces[0])
            for piece in pieces[1:]:
                if GAP_S:
                    await asyncio.sleep(GAP_S)
                writer.write(piece)
                await writer.drain()
            writer.write(b"0\\r\\n\\r\\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"running on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Server:
    """What is asked: its port, path, model, and key."""

    def __init__(self, name: str, port: int, pid: int, model: str, path: str = "/v1/chat/completions") -> None:
        self.name, self.port, self.pid = name, port, pid
        body = json.dumps({**ASKED, "model": model}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        head += f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body


async def stream(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[float, float]:
    """One completion: seconds until the first byte of its first event, and until the last."""
    begun = time.perf_counter()
    writer.write(server.request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], (server.name, head, await reader.read(2_000))
    first = 0.0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        first = first or time.perf_counter() - begun
        await reader.readexactly(size + 2)
    await reader.readexactly(2)
    return first, time.perf_counter() - begun


async def alone(server: Server, times: int) -> tuple[float, float]:
    """Seconds to the first byte, of one stream after the other on a connection that is kept: median, best tenth."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    found = sorted([(await stream(server, reader, writer))[0] for _ in range(times)])
    writer.close()
    return statistics.median(found), found[times // 10]


async def together(server: Server, streams: int, seconds: float) -> tuple[float, float]:
    """Completions a second, and the median time to the first byte, of so many streams at once."""
    firsts: list[float] = []
    begun = time.perf_counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while time.perf_counter() - begun < seconds:
            firsts.append((await stream(server, reader, writer))[0])
        writer.close()

    await asyncio.gather(*(one() for _ in range(streams)))
    return len(firsts) / (time.perf_counter() - begun), statistics.median(firsts)


def until(ready: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a server."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.2)


def answers(server: Server) -> bool:
    """Whether a server streams a completion."""
    try:
        asyncio.run(alone(server, 1))
    except (OSError, AssertionError, ValueError, asyncio.IncompleteReadError):
        return False
    return True


def spread(values: list[float]) -> str:
    """The middle half of some figures."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.2f} to {high:.2f}"


def gateway(stack: ExitStack, folder: Path, upstream: int, name: str) -> Server:
    """A service with three agents on one upstream."""
    metadata = {"base_url": f"http://127.0.0.1:{upstream}/v1", "model": "m"}
    agents = [{"name": one, "metadata": metadata} for one in ("small", "medium", "large")]
    place = folder / name
    place.mkdir()
    (place / "router.json").write_text(json.dumps({"agents": agents, "strategies": ["thompson"]}))
    serve = [sys.executable, "-c", "from router_sdk.cli import main; main()", "serve", "--port", "0", "--insecure"]
    port, pid = stack.enter_context(running([*serve, "--store", "router.db"], place))
    return Server("gateway", port, pid, "auto")


def litellm(stack: ExitStack, folder: Path, upstream: int, command: str, port: int) -> Server:
    """LiteLLM's proxy with the same three models on the same upstream."""
    lines = ["model_list:"]
    for one in ("small", "medium", "large"):
        lines += [f"  - model_name: auto\n    model_info: {{id: {one}}}\n    litellm_params:"]
        lines += ["      model: openai/m", f"      api_base: http://127.0.0.1:{upstream}/v1", "      api_key: sk-none"]
    return Server("LiteLLM", port, proxy(stack, folder, "\n".join(lines) + "\n", command, port), "auto")


def proxy(stack: ExitStack, folder: Path, config: str, command: str, port: int) -> int:
    """LiteLLM's proxy of one worker, which begins to listen some time later; the id of its process."""
    place = folder / f"litellm-{port}"
    place.mkdir()
    (place / "config.yaml").write_text(config)
    log = (place / "log").open("wb")
    settings = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment = {**os.environ, **settings, "LITELLM_MASTER_KEY": KEY}
    process = subprocess.Popen(
        [command, "--config", "config.yaml", "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"],
        cwd=place, env=environment, stdout=log, stderr=log,
    )  # fmt: skip

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(60)

    stack.callback(end)
    return process.pid


def words(rounds: list[list[tuple[float, float]]], which: int, told: argparse.Namespace, spent_s: float | None) -> str:
    """What came of one server's turns, beside the upstream's, which come first."""
    if spent_s is None:
        added, best = ([1e3 * (found[which][i] - found[0][i]) for found in rounds] for i in (0, 1))
        return (
            f"one stream after the other, first byte {statistics.median(added):+.2f} ms ({spread(added)}), at best "
            f"{statistics.median(best):+.2f} ms ({spread(best)})"
        )
    ratios = [100 * found[which][0] / found[0][0] for found in rounds]
    first = [1e3 * (found[which][1] - found[0][1]) for found in rounds]
    return (
        f"{told.streams} streams, {statistics.median(ratios):.1f} % of the upstream's rate ({spread(ratios)} %), "
        f"first byte {statistics.median(first):+.2f} ms ({spread(first)}), "
        f"{spent_s / (told.rounds * told.seconds):.0%} of a core"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=40, help="streams one after the other, of each turn")
    parser.add_argument("--streams", type=int, default=32, help="streams at once")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn with many streams")
    parser.add_argument("--gap-ms", type=float, default=20.0, help="between two chunks, where many stream at once")
    parser.add_argument("--litellm", help="the command of its proxy, in an environment of its own")
    told = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for gap_s, kind in ((0.0, "first byte"), (told.gap_ms / 1_000, "throughput")):
            source = [sys.executable, "-c", UPSTREAM, str(gap_s), "1" if not gap_s else str(CHUNKS)]
            port, pid = stack.enter_context(running(source, folder))
            servers = [Server("upstream", port, pid, "m"), gateway(stack, folder, port, f"gateway-{kind[0]}")]
            if told.litellm:
                servers.append(litellm(stack, folder, port, told.litellm, 40_000 + os.getpid() % 20_000 + bool(gap_s)))
            for server in servers:
                until(lambda server=server: answers(server))  # type: ignore[misc]
            rounds: list[list[tuple[float, float]]] = []
            spent = [0.0] * len(servers)
            for number in range(told.rounds):
                found = [(0.0, 0.0)] * len(servers)
                for step in range(len(servers)):
                    which = (number + step) % len(servers)
                    before = cpu_s(servers[which].pid)
                    if gap_s:
                        found[which] = asyncio.run(together(servers[which], told.streams, told.seconds))
                    else:
                        found[which] = asyncio.run(alone(servers[which], told.times))
                    spent[which] += cpu_s(servers[which].pid) - before
                rounds.append(found)
            for which, server in enumerate(servers[1:], start=1):
                print(f"{server.name}: {words(rounds, which, told, spent[which] if gap_s else None)}", flush=True)


if __name__ == "__main__":
    main()
