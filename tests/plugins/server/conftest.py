"""A service over a store of its own, called as a program on the same machine would."""

import shutil

import pytest
from dashboard_visits import browser, place, visit  # noqa: F401
from router_sdk_server import ServiceSettings, create_app
from starlette.testclient import TestClient

from router_sdk import Router

AGENTS = [
    {"name": "billing", "description": "invoices and refunds", "capabilities": ["refund"]},
    {"name": "fraud", "description": "stolen cards"},
    {"name": "openai/gpt-5", "description": "anything else"},
]


@pytest.fixture(scope="session")
def three_agents(tmp_path_factory):
    """A folder with a store that has three agents in it, to be copied."""
    folder = tmp_path_factory.mktemp("agents")
    with Router(store=folder / "router.db", strategies=["thompson"]) as router:
        for agent in AGENTS:
            router.add_agent(agent)
    return folder


@pytest.fixture
def store(three_agents, store_path):
    """A store with three agents in it."""
    shutil.copytree(three_agents, store_path.parent, dirs_exist_ok=True)
    return store_path


@pytest.fixture
def make_client(store):
    """Open a service: ``make_client(insecure=True, **settings)``; headers are those of every request."""
    opened = []

    def make(headers=None, *, address="127.0.0.1", host="127.0.0.1", **settings):
        app = create_app(ServiceSettings(store=store, **settings))
        client = TestClient(
            app,
            f"http://{host}",
            raise_server_exceptions=False,
            client=(address, 5000),
            headers=headers,
        )
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client):
    """A service that needs no key."""
    return make_client(insecure=True)


@pytest.fixture
def keyed(make_client):
    """A service that needs keys, and a way to make callers with one: ``keyed(scopes=["route"], tenant="a")``."""
    client = make_client()
    router = client.app.state.service.router

    def make(name="app", **description):
        _, key = router.keys.create(name, **description)
        return Caller(client, key)

    make.client, make.router = client, router
    return make


class Caller:
    """Sends requests with a key."""

    def __init__(self, client, key):
        self.client, self.key = client, key

    def __getattr__(self, verb):
        call = getattr(self.client, verb)
        return lambda path, **options: call(
            path, **{**options, "headers": {"authorization": f"Bearer {self.key}", **options.get("headers", {})}}
        )
