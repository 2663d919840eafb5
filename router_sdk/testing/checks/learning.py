"""What outcomes do to a strategy, and what is saved of it and read again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from router_sdk.errors import CorruptArtifactError
from router_sdk.records import ExampleColumns
from router_sdk.testing.comparison import TOLERANCE, require, require_same
from router_sdk.testing.examples import make_example
from router_sdk.testing.trial import LESSONS, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.records import Example, Task
    from router_sdk.strategy import Proposal


FAILURES = 100


def learns_alike_in_any_batches(trial: Trial) -> None:
    """``learn(a + b)`` equals ``learn(a); learn(b)`` and ``learn_columns``; nothing is learnt from nothing."""
    whole, halves, singles, columns = trial.prepared(), trial.prepared(), trial.prepared(), trial.prepared()
    lessons = trial.lessons()
    whole.learn(lessons)
    middle = len(lessons) // 3
    for batch in (lessons[:middle], [], lessons[middle:]):
        halves.learn(batch)
    for lesson in lessons:
        singles.learn([lesson])
    for batch in (lessons[:middle], [], lessons[middle:]):
        columns.learn_columns(ExampleColumns.of(batch))
    answers = trial.ask_all(whole)
    require_same(answers, trial.ask_all(halves), "one batch against two")
    require_same(answers, trial.ask_all(singles), "one batch against one example at a time")
    require_same(answers, trial.ask_all(columns), "examples against their columns")


def keeps_tenants_apart(trial: Trial) -> None:
    """What ``untaught`` makes has learnt nothing, and neither of the two learns what the other is taught."""
    strategy = trial.taught()
    before = trial.ask_all(strategy)
    other = strategy.untaught()
    other.prepare(trial.agents)
    require_same(trial.ask_all(trial.prepared()), trial.ask_all(other), "a new one against what untaught() makes")
    other.learn(trial.lessons(first=LESSONS + 1))
    require_same(before, trial.ask_all(strategy), "after what untaught() made was taught")
    other.close()


def leaves_an_agent_that_fails(trial: Trial) -> None:
    """A hundred failures of its favourite take probability away from it, and it is the favourite no more."""
    if not trial.learns:
        return
    strategy = trial.taught()
    asked = next((task for task in trial.tasks if _clear(trial.ask(strategy, task))), None)
    if asked is None:
        require(not trial.must_answer, "it abstained on every task")
        return
    before = trial.ask(strategy, asked)
    if before is None:
        return
    favourite = max(sorted(before.probabilities), key=lambda name: before.probabilities[name])
    for start in range(0, FAILURES, 10):
        strategy.learn(_failures(trial, asked, favourite, start))
    after = trial.ask(strategy, asked)
    if after is None or after.no_agent_fits:
        return
    was, now = before.probabilities[favourite], after.probabilities[favourite]
    require(
        now < was - TOLERANCE,
        f"{FAILURES} failures of {favourite!r} moved its probability from {was:.6f} to {now:.6f}",
    )
    best = max(share for name, share in after.probabilities.items() if name != favourite)
    require(now <= best, f"after {FAILURES} failures {favourite!r} is still the favourite, with {now:.6f}")


def _clear(proposal: Proposal | None) -> bool:
    return proposal is not None and not proposal.no_agent_fits


def _failures(trial: Trial, task: Task, agent: str, start: int) -> list[Example]:
    vectors = {coder.tag: coder.encode([task.text])[0] for coder in trial.encoders.values()}
    return [
        make_example(
            agent,
            0.0,
            number=LESSONS + 1 + number,
            task=task,
            eligible=trial.agents.names,
            propensity=0.5,
            vectors=vectors,
        )
        for number in range(start, start + 10)
    ]


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
