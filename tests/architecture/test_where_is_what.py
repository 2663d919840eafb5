"""The page on architecture names rooms that there are, and what is done there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import router_sdk

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^\| ([^|`]+) \| `(router_sdk[\w.]+)` \|$", PAGE, re.M)
STEPS = re.findall(r"\b((?:[a-z_]+\.){1,2}[A-Z]\w+(?:\.\w+)?)", PAGE[: PAGE.index("## Where is")])


def test_twenty_questions_are_answered():
    assert len(QUESTIONS) >= 20


def found(path):
    """What a dotted path leads to: as much of it as is a module, then its attributes."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            thing = getattr(thing, name)
        return thing
    raise AssertionError(path)


@pytest.mark.parametrize("path", [path for _, path in QUESTIONS])
def test_what_is_asked_for_is_where_the_page_says(path):
    thing = found(path)
    made_in = getattr(thing, "__module__", None) or thing.__name__  # a function that is only imported is not there
    assert path == made_in or path.startswith(f"{made_in}.")


@pytest.mark.parametrize("step", sorted(set(STEPS)))
def test_every_step_of_the_three_ways_is_there(step):
    assert found(f"{router_sdk.__name__}.{step}")


def test_every_room_has_a_line():
    core = Path(router_sdk.__file__).parent
    rooms = {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    told = PAGE[PAGE.index("## The rooms") : PAGE.index("In `store`")]
    assert {room for room in rooms - {"__init__"} if not re.search(rf"`(?:router_sdk\.)?{room}`", told)} == set()
