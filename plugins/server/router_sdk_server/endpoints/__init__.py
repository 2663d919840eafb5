"""What the service answers, one file for each part of the router's face."""

from router_sdk_server.endpoints import outcomes, probes, routing

ROUTERS = (probes.endpoints, routing.endpoints, outcomes.endpoints)
