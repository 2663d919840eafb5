"""Servers of chat completions on this machine, which answer, fail, break off or hang as their model's name says."""

import asyncio
import json
import threading

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
}
WORDS = ["Hel", "lo", ' \u00e9 "model": "x"']


def chunk(model, delta, finish=None, **more):
    """One event of a stream."""
    told = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def completion(model, message=None):
    """A whole answer."""
    message = message or {"role": "assistant", "content": "".join(WORDS)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "system_fingerprint": None,
        "model": model,
        "usage": USAGE,
    }


class UpstreamServer:
    """Listens on a free port; ``asked`` has what came: headers and body.

    Its models: ``fine``; ``dies`` within a stream; ``status-N`` answers with a status; ``silent`` says nothing;
    ``slow`` says no more within a stream; ``errs`` tells of an error at once in its stream; ``tools`` calls a tool;
    ``html`` answers a page; ``packed`` compresses; ``abrupt`` ends a whole answer before its end.
    """

    def __init__(self):
        self.asked = []
        self.gone = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def close(self):
        async def end():
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers["content-length"]))
                self.asked.append((headers, body))
                told = json.loads(body)
                await self._answer(reader, writer, told["model"], told)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()

    async def _answer(self, reader, writer, model, told):
        if model == "silent":
            await reader.read(1)
            raise ConnectionError
        if model.startswith("status-"):
            return await self._whole(writer, {"error": {"message": "no", "code": 7}}, int(model[7:]))
        if model == "html":
            return await self._whole(writer, "<html>")
        if model == "packed":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b")
            return await writer.drain()
        if model == "abrupt":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
            await writer.drain()
            raise ConnectionError
        if not told.get("stream"):
            calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"model": "y"}'}}]
            message = {"role": "assistant", "content": None, "tool_calls": calls} if model == "tools" else None
            return await self._whole(writer, completion(f"{model}-2026", message))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n")
        for number, event in enumerate(self.events(model, told)):
            if model == "dies" and number == 2:
                raise ConnectionError
            if model == "slow" and number == 2:
                await reader.read(1)  # until the other side goes away
                raise ConnectionError
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return None

    @staticmethod
    def events(model, told):
        """What is streamed."""
        if model == "errs":
            return [b'data: {"error": {"message": "overloaded"}}\n\n']
        name, wants = f"{model}-2026", (told.get("stream_options") or {}).get("include_usage")
        more = {"usage": None} if wants else {}
        said = [chunk(name, {"role": "assistant", "content": ""}, **more)]
        said += [chunk(name, {"content": word}, **more) for word in WORDS]
        said += [chunk(name, {}, "stop", **more)]
        if wants:
            told = json.dumps({"model": name, "choices": [], "usage": USAGE})
            said.append(f"data: {told}\n\n".encode())
        return [*said, b"data: [DONE]\n\n"]

    @staticmethod
    async def _whole(writer, told, status=200):
        kind = "text/html" if isinstance(told, str) else "application/json"
        body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
        writer.write(f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
