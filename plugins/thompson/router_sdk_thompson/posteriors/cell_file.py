"""Evidence per task type on disk: JSON, whose numbers come back bit by bit."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.drift.agent_evidence import Standing, checked_pair

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk_thompson.posteriors.beta import Cell, CellEvidence


def save_cells(evidence: CellEvidence, path: Path) -> None:
    """Write the evidence."""
    rows = {kind: {name: cell[:2] for name, cell in row.items()} for kind, row in evidence.cells.items()}
    state = {
        "events": evidence.events,
        "origin": evidence.origin,
        "latest": None if evidence.latest == -math.inf else evidence.latest,
        "cells": rows,
        "standings": {name: standing.state() for name, standing in evidence.standings.items()},
    }
    path.write_text(json.dumps(state, allow_nan=False), encoding="utf-8")


def load_cells(evidence: CellEvidence, path: Path) -> None:
    """Read what ``save_cells`` wrote; ``evidence`` stays as it was if it is not valid.

    Raises:
        CorruptArtifactError: if a count is negative or not finite, or the file cannot be read.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        standings = {str(name): Standing.restored(each, evidence.config) for name, each in state["standings"].items()}
        cells: dict[str, dict[str, Cell]] = {
            str(kind): {str(name): [*checked_pair(pair), standings[name]] for name, pair in row.items()}
            for kind, row in state["cells"].items()
        }
        origin = None if state["origin"] is None else float(state["origin"])
        latest = -math.inf if state["latest"] is None else float(state["latest"])
        events = int(state["events"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptArtifactError(f"evidence in {path.name} cannot be used: {error}") from error
    evidence.cells, evidence.standings = cells, standings
    evidence.origin, evidence.latest, evidence.events = origin, latest, events
