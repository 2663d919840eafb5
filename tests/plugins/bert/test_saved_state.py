"""A state on disk: a place that lasts for its encoder, what is carried on, and nothing that was forgotten."""

import gc
import json
import os
import shutil
import stat
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fit_cases import NAMES
from head_cases import clusters, files, labelled, new_head
from router_sdk_bert.encoding.sealed_folder import SealedFolder, write_sealed
from router_sdk_bert.finetuning.carried_state import OLD_FILE, CarriedState, load_carried, load_weights
from router_sdk_bert.finetuning.samples import Sample
from version_cases import AGENTS, ask, context, data, make_serving, with_config

from router_sdk.plugin import CorruptArtifactError, Signals
from router_sdk.testing import make_example, make_services


@dataclass(eq=False)
class Held:
    """A folder that goes with this object, as a store's parts go when no process serves from them."""

    path: Path

    def __del__(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Parts:
    """Gives folders a place that lasts."""

    def __init__(self, folder):
        self.folder, self.given = folder, []

    def keep(self, source):
        place = self.folder / str(len(self.given))
        held = Held(Path(shutil.copytree(source, place, copy_function=os.link)))
        self.given.append(weakref.ref(held))
        return held


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path / "parts")


@pytest.fixture
def keeping(parts):
    """Builds strategies whose services give folders a place that lasts."""

    def make(**more):
        return make_serving(services=replace(make_services(), keep=parts.keep), **more)

    return make


def stories(count, *, first=1):
    """Labelled examples whose texts are found nowhere else."""
    return [
        make_example(
            NAMES[number % 3],
            1.0,
            number=number,
            task=f"the {('bill', 'crash', 'flight')[number % 3]} in case zq{number}x",
            signals=Signals(correct_agent=NAMES[number % 3]),
            eligible=NAMES,
        )
        for number in range(first, first + count)
    ]


def saved(strategy, folder):
    folder.mkdir()
    strategy.save(folder)
    return folder


def told_in(folder, examples):
    """Texts and ids of examples that are found in any file of a folder."""
    whole = b"".join(content for name, content in files(folder).items() if not name.endswith("tokenizer.json"))
    return [one.task.text for one in examples if one.task.text.split()[-1].encode() in whole]


@pytest.mark.slow
@pytest.mark.parametrize("update", ["head", "lora"])
def test_a_loaded_state_needs_its_folder_no_more(keeping, tmp_path, update):
    version = keeping(update="lora").fit(data(stories(45)), context(tmp_path / "fit"))
    state = saved(version, tmp_path / "state")
    shutil.rmtree(tmp_path / "fit")
    expected = ask(version, "pay the bill").scores
    served = keeping(update=update)
    served.load(state)
    shutil.rmtree(state)
    assert ask(served, "pay the bill").scores == expected
    again = served.fit(data(stories(60)), context(tmp_path / "again"))
    assert (again.encoder.tag == served.encoder.tag) == (update == "head")
    third = keeping()
    third.load(saved(served, tmp_path / "second"))
    assert ask(third, "pay the bill").scores == expected


def test_a_place_is_held_for_as_long_as_the_encoder_is_used(keeping, parts, tmp_path):
    version = keeping(update="lora", epochs=1).fit(data(stories(30)), context(tmp_path / "fit"))
    state = saved(version, tmp_path / "state")
    served = keeping()
    served.load(state)
    (held,) = [given for given in parts.given if given() is not None and given().path == served.encoder.folder]
    later = served.successor()
    del served
    gc.collect()
    assert held() is not None, "a successor serves from it, too"
    del later
    gc.collect()
    assert held() is None


@pytest.mark.slow
def test_the_encoders_folder_holds_no_text_of_an_example(keeping, tmp_path):
    examples, made_up = stories(45, first=1000), stories(45)
    first = keeping(update="lora").fit(data(made_up, synthetic=True), context(tmp_path / "a"))
    version = first.fit(data(examples), context(tmp_path / "b"))
    for folder in (first.encoder.folder, version.encoder.folder):
        assert told_in(folder, [*examples, *made_up]) == []
        assert load_weights(folder) is not None, "tensors of a fit stay beside the encoder"
    assert len(version.carried.synthetic) == 45


@pytest.mark.slow
@pytest.mark.parametrize("update", ["head", "lora"])
def test_what_was_forgotten_is_in_no_byte_that_is_saved(keeping, tmp_path, update):
    made_up = stories(45)
    version = keeping(update=update).fit(data(made_up, synthetic=True), context(tmp_path / "fit"))
    assert len(told_in(saved(version, tmp_path / "before"), made_up)) == 45
    gone, kept = made_up[::3], [one for one in made_up if one not in made_up[::3]]
    version.forget_examples([one.decision_id for one in gone])
    state = saved(version, tmp_path / "after")
    assert told_in(state, gone) == []
    whole = b"".join(files(state).values())
    assert not [one for one in gone if one.decision_id.encode() in whole]
    again = keeping(update=update)
    again.load(state)
    assert [one.text for one in again.carried.synthetic] == [
        one.text for one in version.carried.synthetic if one.text in {example.task.text for example in kept}
    ]
    assert len(again.carried.synthetic) == 30
    successor = again.fit(data(stories(24, first=500)), context(tmp_path / "next"))
    assert successor.report()["stored"] == 24 + 30
    assert told_in(saved(successor, tmp_path / "last"), gone) == []


@pytest.mark.parametrize("why", ["replaced", "given up for others"])
def test_a_row_that_was_dropped_before_it_was_forgotten_is_gone_too(tmp_path, why):
    vectors, right = clusters(40)
    head = new_head(memory_size=20 if why == "given up for others" else 100, refit_interval=1_000, refit_share=1.0)
    rows = labelled(vectors, right)
    head.add(rows)
    if why == "replaced":
        head.add([replace(rows[3], label=None, labelled=False)])
    gone = [row for row in rows if head.memory.place_of(row.decision_id) is None]
    assert gone
    head.forget_examples([row.decision_id for row in gone])
    head.save(tmp_path)
    whole = b"".join(files(tmp_path).values())
    assert not [row for row in gone if row.vector.tobytes() in whole or row.decision_id.encode() in whole]


def test_the_analytic_head_keeps_no_row_that_waits_once_something_is_forgotten(tmp_path):
    vectors, right = clusters(10)
    head = new_head(head="analytic", analytic_features=64)
    rows = labelled(vectors, right)
    head.add(rows)
    head.forget_examples([rows[0].decision_id])
    head.save(tmp_path)
    whole = b"".join(files(tmp_path).values())
    assert not [row for row in rows if row.vector.tobytes() in whole]
    assert head.report()["seen"] == 10.0
    again = new_head(head="analytic", analytic_features=64)
    again.load(tmp_path)
    np.testing.assert_array_equal(
        again.predict(vectors, NAMES).probabilities, head.predict(vectors, NAMES).probabilities
    )


def test_pretraining_the_head_makes_no_encoder_of_its_own(keeping, tmp_path):
    version = keeping(update="head").fit(data(stories(45), synthetic=True), context(tmp_path / "fit"))
    assert len(version.carried.synthetic) == 45
    assert version.report()["fine_tuned"] is version.fine_tuned is False
    assert not (saved(version, tmp_path / "state") / "encoder").exists()


def test_only_the_version_of_a_fit_that_moved_the_encoder_is_fine_tuned(keeping, tmp_path):
    def loaded(version, name, **more):
        made = keeping(**more)
        made.load(saved(version, tmp_path / name))
        return made

    served = keeping(update="full", epochs=1)
    moved = served.fit(data(stories(30)), context(tmp_path / "a"))
    assert (served.fine_tuned, moved.fine_tuned) == (False, True)
    again = loaded(moved, "moved", update="head")
    assert again.fine_tuned
    head_only = again.fit(data(stories(30)), context(tmp_path / "b"))
    assert not head_only.fine_tuned
    later = loaded(head_only, "head")
    assert not later.fine_tuned
    assert [one.report()["fine_tuned"] for one in (served, moved, again, head_only, later)] == [False, *[True] * 4]
    assert later.encoder.tag == moved.encoder.tag


def test_how_far_the_encoder_has_seen_the_log_is_handed_on(keeping, tmp_path):
    examples = stories(30)
    moved = keeping(update="lora", epochs=1).fit(data(examples), context(tmp_path / "a"))
    assert moved.carried.upto == examples[-1].seq
    head_only = with_loaded(keeping(update="head"), moved, tmp_path / "state").fit(
        data(stories(40)), context(tmp_path / "b")
    )
    assert head_only.carried.upto == examples[-1].seq, "only an encoder that is trained sees more of it"


def with_loaded(strategy, version, folder):
    strategy.load(saved(version, folder))
    return strategy


def test_examples_of_agents_that_left_are_carried_on_but_not_learnt(keeping, tmp_path):
    version = keeping(update="head").fit(data(stories(45), synthetic=True), context(tmp_path / "a"))
    fewer = replace(data(stories(24, first=500)), agents=type(AGENTS)([one for one in AGENTS if one.name != "code"]))
    again = version.fit(fewer, context(tmp_path / "b"))
    assert again.report()["stored"] == 24 + 30
    assert len(again.carried.synthetic) == 45
    assert again.fit(data(stories(24, first=500)), context(tmp_path / "c")).report()["stored"] == 24 + 45


def test_a_state_of_an_earlier_release_is_read_and_saved_without_its_texts(keeping, tmp_path):
    made_up = stories(45)
    version = keeping(update="lora", epochs=1).fit(data(made_up, synthetic=True), context(tmp_path / "fit"))
    state = saved(version, tmp_path / "state")
    told = json.loads((state / "strategy.json").read_text())
    del told["facts"]["state_version"], told["facts"]["fine_tuned"]
    (state / "strategy.json").write_text(json.dumps(told))
    shutil.move(state / "encoder", tmp_path / "encoder")
    (state / "carried.json").rename(tmp_path / "encoder" / OLD_FILE)
    (tmp_path / "encoder" / "manifest.json").unlink()
    write_sealed(state / "encoder", lambda draft: shutil.copytree(tmp_path / "encoder", draft, dirs_exist_ok=True))
    served = keeping()
    served.load(state)
    assert served.carried == version.carried
    served.forget_examples([one.decision_id for one in made_up[:5]])
    now = saved(served, tmp_path / "now")
    assert told_in(now, made_up[:5]) == []
    assert OLD_FILE not in SealedFolder(now / "encoder")
    moved = with_config(served, update="lora", epochs=1)
    moved.load(now)
    again = moved.fit(data(stories(30, first=500)), context(tmp_path / "again"))
    assert told_in(again.encoder.folder, made_up) == []


def test_a_state_of_a_later_release_is_refused(keeping, tmp_path):
    state = saved(keeping(), tmp_path / "state")
    told = json.loads((state / "strategy.json").read_text())
    told["facts"]["state_version"] = 99
    (state / "strategy.json").write_text(json.dumps(told))
    with pytest.raises(CorruptArtifactError, match="version 99"):
        keeping().load(state)


def test_a_state_without_what_it_carries_is_refused(keeping, tmp_path):
    state = saved(keeping(), tmp_path / "state")
    (state / "carried.json").unlink()
    with pytest.raises(CorruptArtifactError, match="carried"):
        keeping().load(state)


def test_an_error_tells_no_text(tmp_path):
    kept = CarriedState(3, (Sample("1", "my secret", "billing", True, reward=0.5, agent="code"),))
    kept.save(tmp_path)
    path = tmp_path / "carried.json"
    assert load_carried(path).synthetic[0].text == "my secret"
    for wrong in ('"my secret', '"reward":0.5', '"upto":3'):
        path.write_text(path.read_text().replace(wrong, '"my secret":{', 1))
        with pytest.raises(CorruptArtifactError) as raised:
            load_carried(path)
        assert "secret" not in str(raised.value)
        kept.save(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_is_written_is_the_owners_alone(keeping, tmp_path):
    before = os.umask(0o022)
    try:
        version = keeping(update="lora", epochs=1, strategy="hybrid").fit(
            data(stories(30)), context(tmp_path / "fit", checkpoints=tmp_path / "kept" / "epochs")
        )
        version.save(tmp_path / "states" / "new")
    finally:
        os.umask(before)
    for root in (tmp_path / "states", tmp_path / "kept", tmp_path / "fit" / "encoder"):
        for path in (root, *root.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path} is {mode:o}"
