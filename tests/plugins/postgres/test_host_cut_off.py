"""Two machines, each with a network of its own, and the server in a third: the leader is cut off for a while.

What is sent over a cut cable gets lost, and nobody is told: there is no refusal, and no connection that ends.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import time

import pytest
from hosts import agree_on, hosts, leader_of

pytestmark = pytest.mark.services

SOON_S, PATIENCE_S = 5.0, 60.0
"""Within how long the leader is replaced, and all agree; and how long is waited on a machine with much to do."""
WORST_S = 2.0
NETWORK = "198.18.0.0/15"
"""For tests alone (RFC 2544)."""


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Cable:
    """A network namespace, and the cable between it and the server."""

    def __init__(self, place):
        self.name = f"rt{secrets.token_hex(3)}"
        self._outer, inner = f"{self.name}o", f"{self.name}i"
        self.server, client = f"198.18.{place}.1", f"198.18.{place}.2"
        self.within = ["ip", "netns", "exec", self.name]
        ip("netns", "add", self.name)
        ip("link", "add", self._outer, "type", "veth", "peer", "name", inner, "netns", self.name)
        ip("address", "add", f"{self.server}/30", "dev", self._outer)
        ip("link", "set", self._outer, "up")
        ip("-n", self.name, "address", "add", f"{client}/30", "dev", inner)
        ip("-n", self.name, "link", "set", inner, "up")

    def cut(self):
        ip("link", "set", self._outer, "down")

    def mend(self):
        ip("link", "set", self._outer, "up")

    def remove(self):
        for words in (("link", "delete", self._outer), ("netns", "delete", self.name)):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip(*words)


@pytest.fixture
def cables():
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux's ip, and root")
    made = []
    try:
        for place in secrets.SystemRandom().sample(range(250), 2):
            made.append(Cable(place))
    except subprocess.CalledProcessError as error:
        for cable in made:
            cable.remove()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    yield made
    for cable in made:
        cable.remove()


@pytest.mark.parametrize(
    ("lasts_s", "soon_s"), [(3.0, PATIENCE_S), pytest.param(30.0, SOON_S, marks=pytest.mark.reliability)]
)
def test_routing_goes_on_and_all_agree_soon_after(cluster, cables, tmp_path, lasts_s, soon_s):
    port = 20_000 + secrets.randbelow(10_000)
    cluster.listen([cable.server for cable in cables], port, NETWORK)
    stores = [
        f"postgresql://router@{cable.server}:{port}/postgres?sslmode=disable&folder={tmp_path}/{cable.name}"
        for cable in cables
    ]
    with hosts(stores, [cable.within for cable in cables]) as machines:
        leader = leader_of(machines)
        (follower,) = (machine for machine in machines if machine is not leader)
        cable = cables[machines.index(leader)]
        for machine in machines:
            machine("flood")
        cable.cut()
        cut_at = time.monotonic()
        leader_of([follower], soon_s)
        assert not leader("leads")
        for machine in machines:
            machine("routed")
        time.sleep(max(0.5, cut_at + lasts_s - time.monotonic()))
        told = [machine("routed") for machine in machines]
        assert leader_of(machines) is follower
        cable.mend()
        mended_at = time.monotonic()
        for machine in machines:
            machine("stop")
        agree_on(machines, mended_at + soon_s - time.monotonic())
        assert leader_of(machines) is follower
        for count, worst_s in told:
            assert count > 10
            assert worst_s < WORST_S
