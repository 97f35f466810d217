"""What option files name by ``type``: networks, losses, terms, metrics, optimizers, schedules."""

from .binding import component_problems, network_problems
from .kind import KINDS, LOSS, METRIC, NETWORK, OPTIMIZER, SCHEDULER, TEACHER, TERM, Kind, lookup, short_name
from .signature import binding_problems, parameters_of

__all__ = [
    "KINDS",
    "LOSS",
    "METRIC",
    "NETWORK",
    "OPTIMIZER",
    "SCHEDULER",
    "TEACHER",
    "TERM",
    "Kind",
    "binding_problems",
    "component_problems",
    "lookup",
    "network_problems",
    "parameters_of",
    "short_name",
]
