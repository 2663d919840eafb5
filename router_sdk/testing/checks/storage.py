"""What is saved and read again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from router_sdk.errors import CorruptArtifactError
from router_sdk.testing.comparison import require, require_same
from router_sdk.testing.trial import LESSONS, Trial

if TYPE_CHECKING:
    from pathlib import Path


def comes_back_from_disk(trial: Trial) -> None:
    """``save`` then ``load`` is the identity: the same answers now and after more outcomes."""
    original = trial.taught()
    folder = trial.new_folder()
    original.save(folder)
    before, after = trial.prepared(), trial.build()
    before.load(folder)
    after.load(folder)
    after.prepare(trial.agents)
    answers = trial.ask_all(original)
    require_same(answers, trial.ask_all(before), "loaded after prepare")
    require_same(answers, trial.ask_all(after), "loaded before prepare")
    more = trial.lessons(first=LESSONS + 1, count=LESSONS // 2)
    original.learn(more)
    before.learn(more)
    require_same(trial.ask_all(original), trial.ask_all(before), "loaded, then taught more")
    original.load(folder)
    require_same(answers, trial.ask_all(original), "loaded in place of what was learnt since")


def saves_no_pickle(trial: Trial) -> None:
    """Nothing saved needs ``pickle``, which runs code when it is read."""
    folder = trial.new_folder()
    trial.taught().save(folder)
    for path in _files(folder):
        start = path.read_bytes()[:512]
        binary_pickle = len(start) > 1 and start[0] == 0x80 and start[1] in range(2, 6)
        objects = start.startswith(b"\x93NUMPY") and b"'descr': '|O'" in start
        require(
            not (binary_pickle or objects or path.suffix in {".pkl", ".pickle", ".joblib"}),
            f"{path.name} holds a pickle",
        )


def refuses_a_corrupt_state(trial: Trial) -> None:
    """A file that is cut off or holds rubbish is refused with ``CorruptArtifactError``, and changes nothing."""
    folder = trial.new_folder()
    trial.taught().save(folder)
    strategy = trial.prepared()
    strategy.learn(trial.lessons(count=LESSONS // 2))
    before = trial.ask_all(strategy)
    for path in _files(folder):
        whole = path.read_bytes()
        for damage, content in (("cut in half", whole[: len(whole) // 2]), ("rubbish", b"\x00rubbish\xff" * 8)):
            broken = trial.new_folder() / "state"
            shutil.copytree(folder, broken)
            (broken / path.relative_to(folder)).write_bytes(content)
            try:
                strategy.load(broken)
            except CorruptArtifactError:
                require_same(before, trial.ask_all(strategy), f"after a load was refused: {path.name}, {damage}")
                continue
            except Exception as error:
                raise AssertionError(
                    f"{path.name}, {damage}: load raised {type(error).__name__}, not CorruptArtifactError"
                ) from error
            raise AssertionError(f"{path.name}, {damage}: load accepted it")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
