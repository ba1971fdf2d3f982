"""The techniques that add terms or weights to a student's training, one a file."""

from fedstill_server.distill.technique import Technique
from fedstill_server.distill.techniques.attention import AttentionTransfer
from fedstill_server.distill.techniques.attention_matrices import AttentionMatrices
from fedstill_server.distill.techniques.averaged import AveragedTeacher
from fedstill_server.distill.techniques.confidence import ConfidenceWeights
from fedstill_server.distill.techniques.contrastive import ContrastiveDistillation
from fedstill_server.distill.techniques.curriculum import EntropyCurriculum
from fedstill_server.distill.techniques.dist import CorrelationDistillation
from fedstill_server.distill.techniques.distilbert import DistilBert
from fedstill_server.distill.techniques.dkd import DecoupledDistillation
from fedstill_server.distill.techniques.earlier import EarlierTeacher
from fedstill_server.distill.techniques.exits import EarlyExits
from fedstill_server.distill.techniques.fitnets import FitNets
from fedstill_server.distill.techniques.forgetting import LearningWithoutForgetting
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.distill.techniques.mutual import MutualLearning
from fedstill_server.distill.techniques.probabilistic import ProbabilisticTransfer
from fedstill_server.distill.techniques.relational import RelationalDistillation
from fedstill_server.distill.techniques.similarity import SimilarityPreserving
from fedstill_server.distill.techniques.standardized import StandardizedDistillation
from fedstill_server.distill.techniques.top_k import TopKDistillation

TECHNIQUES: dict[str, type[Technique]] = {
    technique.name: technique
    for technique in (
        KnowledgeDistillation,
        DecoupledDistillation,
        CorrelationDistillation,
        StandardizedDistillation,
        TopKDistillation,
        FitNets,
        DistilBert,
        AttentionTransfer,
        AttentionMatrices,
        RelationalDistillation,
        SimilarityPreserving,
        ProbabilisticTransfer,
        ContrastiveDistillation,
        EarlyExits,
        EarlierTeacher,
        AveragedTeacher,
        MutualLearning,
        EntropyCurriculum,
        ConfidenceWeights,
        LearningWithoutForgetting,
    )
}

__all__ = ["TECHNIQUES", "Technique"]
