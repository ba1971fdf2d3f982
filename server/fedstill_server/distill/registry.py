"""The techniques and recipes by name, without torch: a class is imported when one is made.

An own technique is a subclass of Technique (technique.py), an own recipe one of Recipe (stage_runner.py), in
any module. A command finds it as `module:Class`, or by an entry point of the group "fedstill.techniques".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import options_of
from fedstill_server.plugins import PluginError, Registry

if TYPE_CHECKING:
    from fedstill_server.distill.stage_runner import Recipe
    from fedstill_server.distill.technique import Technique

_HERE = "fedstill_server.distill"
_TECHNIQUES = {
    "kd": f"{_HERE}.techniques.kd:KnowledgeDistillation",
    "dkd": f"{_HERE}.techniques.dkd:DecoupledDistillation",
    "dist": f"{_HERE}.techniques.dist:CorrelationDistillation",
    "standardized": f"{_HERE}.techniques.standardized:StandardizedDistillation",
    "reverse-kl": f"{_HERE}.techniques.reverse_kl:ReverseDivergence",
    "skewed-kl": f"{_HERE}.techniques.skewed_kl:SkewedDivergence",
    "gkd": f"{_HERE}.techniques.gkd:GeneralizedDistillation",
    "minillm": f"{_HERE}.techniques.minillm:PolicyGradientDistillation",
    "top-k": f"{_HERE}.techniques.top_k:TopKDistillation",
    "drawn-tails": f"{_HERE}.techniques.drawn_tails:DrawnTailDistillation",
    "fitnets": f"{_HERE}.techniques.fitnets:FitNets",
    "distilbert": f"{_HERE}.techniques.distilbert:DistilBert",
    "attention": f"{_HERE}.techniques.attention:AttentionTransfer",
    "attention-matrices": f"{_HERE}.techniques.attention_matrices:AttentionMatrices",
    "hidden-states": f"{_HERE}.techniques.hidden_states:HiddenStates",
    "minilm": f"{_HERE}.techniques.minilm:MiniLm",
    "embedding": f"{_HERE}.techniques.embedding:EmbeddingDistillation",
    "rkd": f"{_HERE}.techniques.relational:RelationalDistillation",
    "similarity": f"{_HERE}.techniques.similarity:SimilarityPreserving",
    "pkt": f"{_HERE}.techniques.probabilistic:ProbabilisticTransfer",
    "crd": f"{_HERE}.techniques.contrastive:ContrastiveDistillation",
    "exits": f"{_HERE}.techniques.exits:EarlyExits",
    "earlier-teacher": f"{_HERE}.techniques.earlier:EarlierTeacher",
    "ema-teacher": f"{_HERE}.techniques.averaged:AveragedTeacher",
    "mutual": f"{_HERE}.techniques.mutual:MutualLearning",
    "curriculum": f"{_HERE}.techniques.curriculum:EntropyCurriculum",
    "confidence": f"{_HERE}.techniques.confidence:ConfidenceWeights",
    "lwf": f"{_HERE}.techniques.forgetting:LearningWithoutForgetting",
}
_RECIPES = {
    "born-again": f"{_HERE}.recipes.born_again:BornAgain",
    "assistants": f"{_HERE}.recipes.assistants:Assistants",
    "deep-inversion": f"{_HERE}.recipes.data_free:DeepInversion",
    "dafl": f"{_HERE}.recipes.data_free:OneHotGenerator",
    "dfad": f"{_HERE}.recipes.data_free:AdversarialGenerator",
    "noise": f"{_HERE}.recipes.data_free:RandomNoise",
    "sequence-level": f"{_HERE}.recipes.sequence_level:SequenceLevel",
    "synthetic-text": f"{_HERE}.recipes.sequence_level:SyntheticText",
    "tinybert": f"{_HERE}.recipes.tinybert:TinyBert",
    "pruning": f"{_HERE}.recipes.pruning:StructuredPruning",
    "budget": f"{_HERE}.recipes.budget:BudgetSearch",
}


def part_of_training(found: object) -> type[Technique] | type[Recipe]:
    """The class, if it is a technique or a recipe.

    Raises:
        PluginError: It is neither.
    """
    from fedstill_server.distill.stage_runner import Recipe
    from fedstill_server.distill.technique import Technique

    if not (isinstance(found, type) and issubclass(found, Technique | Recipe)):
        raise PluginError(
            f"{'a class' if isinstance(found, type) else f'a {type(found).__name__}'} that derives from "
            "neither fedstill_server.distill.technique.Technique "
            "nor fedstill_server.distill.stage_runner.Recipe"
        )
    missing = [name for name in ("name", "line") if not getattr(found, name, "")]
    if missing:
        raise PluginError(f"it says nothing of its {' and its '.join(missing)}; set each to a text")
    try:
        options_of(found)
    except ConfigError as error:
        raise PluginError(str(error)) from None
    return found


TECHNIQUES: Registry[type[Technique] | type[Recipe]] = Registry(
    "technique",
    group="fedstill.techniques",
    built_in={**_TECHNIQUES, **_RECIPES},
    check=part_of_training,
)
"""What can be asked for by name: techniques, and recipes, of which one leads a distillation."""

RECIPES = tuple(_RECIPES)
"""The names of the built-in recipes."""
