"""What the service answers, one file for each part of the router's face."""

from router_sdk_server.access import Direct
from router_sdk_server.dashboard import files
from router_sdk_server.endpoints import (
    agents,
    chat,
    compat,
    evaluations,
    experiments,
    models,
    outcomes,
    overview,
    probes,
    reports,
    routing,
    systemone,
    upkeep,
)

ROUTERS = (
    probes.endpoints,
    routing.endpoints,
    systemone.endpoints,
    chat.endpoints,
    outcomes.endpoints,
    evaluations.endpoints,
    *(agents.figures, agents.reading, agents.changing),
    *(models.reading, models.changing, models.listing),
    *(experiments.reading, experiments.changing),
    *(reports.figures, reports.asking),
    *(overview.figures, overview.telling, overview.trying, overview.own),
    files.endpoints,
    upkeep.endpoints,
    *(compat.open_to_all, compat.figures, compat.routing, compat.changing),
)

DIRECT = {
    ("POST", direct.path): direct
    for direct in (
        Direct("/v1/route", "route", routing.route),
        Direct("/v1/rank", "route", routing.rank),
        Direct("/v1/chat/completions", "route", chat.chat),
        Direct("/v1/systemone", "route", systemone.systemone),
        Direct("/v1/outcomes", "record", outcomes.record),
    )
}
"""What is asked most, past FastAPI."""
