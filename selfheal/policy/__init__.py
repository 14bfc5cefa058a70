"""The policy of one model: rules, declarations, and how its loop may act. One YAML file, owned by domain people.

The file is parsed here and then held against the model's columns and classes; every fault is refused with the
file, the line and the nearest valid name.
"""

from selfheal.policy.document import Policy
from selfheal.policy.hours import covering
from selfheal.policy.logs import LabelColumns, Log, LogColumns, LogLabels
from selfheal.policy.sections import Budget, Cost, Declare, Heal, Monitor, Release, RuleEntry, Serve, UntilConfirmed
from selfheal.policy.values import LONGEST_DURATION, WindowSpec, check_name, format_duration, parse_duration

__all__ = [
    "LONGEST_DURATION",
    "Budget",
    "Cost",
    "Declare",
    "Heal",
    "LabelColumns",
    "Log",
    "LogColumns",
    "LogLabels",
    "Monitor",
    "Policy",
    "Release",
    "RuleEntry",
    "Serve",
    "UntilConfirmed",
    "WindowSpec",
    "check_name",
    "covering",
    "format_duration",
    "parse_duration",
]
