"""Agents that speak the protocol, in this process: each answers at an address of its own."""

import asyncio
import json

import httpx
from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part
from starlette.applications import Starlette


class Worker(AgentExecutor):
    """Does what it is told: ``fail``, ``reject``, ``ask``, ``wait``, ``message``, ``raise``, or answers."""

    def __init__(self, name):
        self.name, self.asked, self.cancelled = name, [], []
        self.begun = asyncio.Event()

    async def execute(self, context, event_queue):
        text = context.get_user_input()
        self.asked.append((text, context.context_id))
        if "message" in text:
            await event_queue.enqueue_event(new_text_message(f"{self.name} says hello"))
            return
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        await updater.start_work()
        self.begun.set()
        if "raise" in text:
            raise RuntimeError("broken")
        if "wait" in text:
            await asyncio.Event().wait()
        said = updater.new_agent_message([Part(text=f"{self.name}: {text}")])
        if "ask" in text:
            await updater.requires_input(said)
        elif "fail" in text:
            await updater.failed(said)
        elif "reject" in text:
            await updater.reject(said)
        else:
            await updater.add_artifact([Part(text=f"{self.name} ")], "answer", "answer")
            await updater.add_artifact([Part(text="did it")], "answer", append=True, last_chunk=True)
            await updater.complete()

    async def cancel(self, context, event_queue):
        self.cancelled.append(context.task_id)
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


class Agents:
    """A network of agents: ``add`` puts one at ``http://NAME.test``."""

    def __init__(self):
        self.apps, self.workers, self.cards, self.requests = {}, {}, {}, []

    def add(self, name, streaming=True, **skill):
        skill = {"description": f"{name} matters", "tags": [name], "examples": [f"about {name}"], **skill}
        self.cards[name] = AgentCard(
            name=name,
            description=f"The {name} desk",
            version="1",
            supported_interfaces=[
                AgentInterface(url=f"http://{name}.test/", protocol_binding="JSONRPC", protocol_version="1.0")
            ],
            capabilities=AgentCapabilities(streaming=streaming),
            default_input_modes=["text/plain"],
            default_output_modes=["text/plain"],
            skills=[AgentSkill(id="s", name=f"{name} skill", **skill)],
        )
        self.workers[name] = Worker(name)
        handler = DefaultRequestHandler(self.workers[name], InMemoryTaskStore(), self.cards[name])
        routes = [
            *create_agent_card_routes(self.cards[name]),
            *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
        ]
        self.apps[f"{name}.test"] = Starlette(routes=routes)
        return self.workers[name]

    def add_raw(self, name, body, headers=None, status=200):
        """A host that answers with these bytes."""

        async def app(scope, receive, send):
            told = [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
            await send({"type": "http.response.start", "status": status, "headers": told})
            await send(
                {"type": "http.response.body", "body": body if isinstance(body, bytes) else json.dumps(body).encode()}
            )

        self.apps[f"{name}.test"] = app

    def remove(self, name):
        """It does not answer any more."""
        del self.apps[f"{name}.test"]

    async def __call__(self, scope, receive, send):
        host = dict(scope["headers"])[b"host"].decode()
        self.requests.append((host, scope["method"], scope["path"]))
        if host not in self.apps:
            raise httpx.ConnectError(f"{host} does not answer")
        await self.apps[host](scope, receive, send)
