"""One changed byte in a version's files: it is not loaded, that is said once, and what serves serves on."""

import logging
import random
import shutil

import pytest

from router_sdk import Agent, Outcome, Router
from router_sdk.errors import CorruptArtifactError, UnknownVersionError

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}


def open_router(store, encoder):
    model = {"model": str(encoder), "wait_for_encoder": True, "update": "head"}
    options = {"retrain": False, "fit_executor": "thread", "snapshot_seconds": 3_600.0}
    return Router(agents=AGENTS, strategies=[("bert", model)], store=store, **options)


def fit(router, round_):
    for number in range(20):
        for word, agent in RIGHT.items():
            text = f"{word} number {number} of {round_}"
            router.observe(text, agent=agent, outcome=Outcome(correct_agent=agent))
    router.flush()
    made = router.models.retrain("bert", wait=True).version
    assert made is not None
    router.models.promote("bert", made.version, force=True)


def flip_everywhere(path, encoder, caplog, flips):
    """Flip a byte of an earlier version, and try to go back to it, many times over."""
    dice = random.Random(20)
    with open_router(path, encoder) as router:
        for round_ in range(2):
            fit(router, round_)
        first, second = router.models.versions("bert")
        folder = path.with_name(f"{path.name}.artifacts") / "versions" / first.folder
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        assert len({file.suffix for file in files}) > 1, "tables and weights alike"
        kept = path.parent / "kept"
        shutil.copytree(folder, kept)
        for number in range(flips):
            file = files[number % len(files)]
            damage(file, dice)
            caplog.clear()
            with caplog.at_level(logging.ERROR, logger="router_sdk"), pytest.raises(CorruptArtifactError):
                router.models.promote("bert", 1, force=True)
            assert len(caplog.records) == 1, "one alert"
            assert router.status()["strategies"][0]["model_version"] == second.version
            assert router.route("refund please").strategy == "bert"
            with pytest.raises((CorruptArtifactError, UnknownVersionError)):
                router.models.promote("bert", 1, force=True)  # it was set aside: there is nothing to load
            shutil.copytree(kept, folder)
        router.models.promote("bert", 1, force=True)
        assert router.status()["strategies"][0]["model_version"] == 1, "whole, it would have served"


def damage(file, dice):
    """Change one byte; a file may be shared with a version that is whole, by a hard link."""
    whole = bytearray(file.read_bytes())
    whole[dice.randrange(len(whole))] ^= dice.randrange(1, 256)
    file.unlink()
    file.write_bytes(whole)


@pytest.mark.slow
def test_a_few_flipped_bytes(tmp_path, encoder, caplog):
    flip_everywhere(tmp_path / "r.db", encoder, caplog, 3)


@pytest.mark.reliability
def test_two_hundred_flipped_bytes(tmp_path, encoder, caplog):
    flip_everywhere(tmp_path / "r.db", encoder, caplog, 200)
