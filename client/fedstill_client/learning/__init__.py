"""A device learns from its own examples: within a budget, resumable, and never for the worse."""

from fedstill_client.learning.budget import Budget, BudgetError, LearningCost
from fedstill_client.learning.learner import learn
from fedstill_client.learning.settings import LearningSettings, SettingsError

__all__ = [
    "Budget",
    "BudgetError",
    "LearningCost",
    "LearningSettings",
    "SettingsError",
    "learn",
]
