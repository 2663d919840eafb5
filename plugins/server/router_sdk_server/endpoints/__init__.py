"""What the service answers, one file for each part of the router's face."""

from router_sdk_server.endpoints import agents, models, outcomes, probes, reports, routing, upkeep

ROUTERS = (
    probes.endpoints,
    routing.endpoints,
    outcomes.endpoints,
    *(agents.figures, agents.reading, agents.changing),
    *(models.reading, models.changing),
    *(reports.figures, reports.asking),
    upkeep.endpoints,
)
