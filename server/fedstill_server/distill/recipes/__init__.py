"""The recipes, which lead to a student through several trainings."""

from fedstill_server.distill.recipes.assistants import Assistants
from fedstill_server.distill.recipes.born_again import BornAgain
from fedstill_server.distill.recipes.budget import BudgetSearch
from fedstill_server.distill.recipes.data_free import (
    AdversarialGenerator,
    DeepInversion,
    OneHotGenerator,
    RandomNoise,
)
from fedstill_server.distill.recipes.pruning import StructuredPruning
from fedstill_server.distill.recipes.sequence_level import SequenceLevel, SyntheticText
from fedstill_server.distill.workshop import Recipe

RECIPES: dict[str, type[Recipe]] = {
    recipe.name: recipe
    for recipe in (
        BornAgain,
        Assistants,
        DeepInversion,
        OneHotGenerator,
        AdversarialGenerator,
        RandomNoise,
        SequenceLevel,
        SyntheticText,
        StructuredPruning,
        BudgetSearch,
    )
}

__all__ = ["RECIPES", "Recipe"]
