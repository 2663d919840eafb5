"""The router in LiteLLM: which model a group's call goes to, what came of it, and what came of earlier ones."""

try:
    import litellm
except ModuleNotFoundError as error:
    raise ImportError(
        "router_sdk_litellm needs litellm 1.110: pip install 'litellm>=1.110.0,<1.111'", name=error.name
    ) from error

from router_sdk_litellm.callback import RoutedModels
from router_sdk_litellm.classifier import RoutedTiers
from router_sdk_litellm.spend_logs import import_spend_logs

__all__ = ["RoutedModels", "RoutedTiers", "import_spend_logs"]

del litellm
