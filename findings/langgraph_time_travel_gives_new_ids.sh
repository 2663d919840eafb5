#!/usr/bin/env bash
# langgraph 1.2.24: a step that is executed again by time travel has another task id and another step number than it had.
#
# Seen with langgraph 1.2.24, langgraph-checkpoint 4.3.2, langchain-core 1.8.3, CPython 3.11, Linux x86_64; a graph of two
# nodes with an in-memory checkpointer, run once, interrupted and resumed, then run again from the checkpoint before node a:
#
#   resume after an interrupt: the same task_id, the same langgraph_step
#   time travel:               another task_id,  langgraph_step one higher
#
# Expected, from "replay … re-executes the steps after a checkpoint": something by which a step is known again, so that what
# it did outside (a payment, a message, a decision that was logged) is done once. execution_info.task_id looks like that, and
# is for a resume; under time travel a fork checkpoint is written first, and ids and numbers are made from it. What stays the
# same is the state alone: who needs a key for "once" has to make it from that.
#
# Source: prepare_single_task in langgraph/pregel/_algo.py (the id is made from the checkpoint's id and the step), and
# PregelLoop in langgraph/pregel/_loop.py of github.com/langchain-ai/langgraph.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/travel.py" <<'PYTHON'
from typing import TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.runtime import get_runtime
from langgraph.types import Command, interrupt


class State(TypedDict, total=False):
    done: bool


seen = {"a": [], "b": []}


def known(node):
    seen[node].append((get_runtime().execution_info.task_id, get_config()["metadata"]["langgraph_step"]))


def a(state):
    known("a")
    return {"done": False}


def b(state):
    known("b")
    interrupt("sure?")
    return {"done": True}


builder = StateGraph(State)
builder.add_node("a", a)
builder.add_node("b", b)
builder.add_edge(START, "a")
builder.add_edge("a", "b")
graph = builder.compile(InMemorySaver())
thread = {"configurable": {"thread_id": "t"}}
graph.invoke({}, thread)
graph.invoke(Command(resume="yes"), thread)
before = next(one for one in graph.get_state_history(thread) if one.next == ("a",))
graph.invoke(None, before.config)
(first, again), (asked, resumed, *_) = seen["a"], seen["b"]
print(asked == resumed, first[0] == again[0], again[1] - first[1])
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint==4.3.2 langchain-core==1.8.3
said="$("$folder/venv/bin/python" "$folder/travel.py")"
echo "same after a resume, same task id after time travel, and by how much its step is higher: $said"
[ "$said" = "True False 1" ]
