"""A device learns from its own examples: within a budget, resumable, and never for the worse."""

from fedstill_client.learning.budget import Budget, BudgetError, Spent
from fedstill_client.learning.learner import learn
from fedstill_client.learning.outcome import Judgement, LearningOutcome, LearningProgress, Result
from fedstill_client.learning.settings import LearningSettings, SettingsError

__all__ = [
    "Budget",
    "BudgetError",
    "Judgement",
    "LearningOutcome",
    "LearningProgress",
    "LearningSettings",
    "Result",
    "SettingsError",
    "Spent",
    "learn",
]
