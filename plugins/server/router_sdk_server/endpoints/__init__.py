"""What the service answers, one file for each part of the router's face."""

from router_sdk_server.endpoints import agents, compat, models, outcomes, probes, reports, routing, systemone, upkeep

ROUTERS = (
    probes.endpoints,
    routing.endpoints,
    systemone.endpoints,
    outcomes.endpoints,
    *(agents.figures, agents.reading, agents.changing),
    *(models.reading, models.changing),
    *(reports.figures, reports.asking),
    upkeep.endpoints,
    *(compat.open_to_all, compat.figures, compat.routing, compat.changing),
)
