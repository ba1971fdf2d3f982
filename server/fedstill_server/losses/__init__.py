"""Distillation losses as pure functions, one algorithm a file.

Classes are the last dimension, and everything is computed in log space. A loss of logits is the sum over
classes, averaged over the examples, or over the tokens where `mask` is true; a loss of features documents its
own reduction. T^2 multiplies every soft term, so that its gradient keeps its size when the temperature T
changes (Hinton et al. 2015, arXiv 1503.02531). Teachers' tensors are not detached: the caller does that.
"""

from fedstill_server.losses.agreement import agreement_weights
from fedstill_server.losses.attention import attention_map_loss, attention_matrix_loss
from fedstill_server.losses.class_means import class_means
from fedstill_server.losses.contrastive import contrastive_loss
from fedstill_server.losses.correlation import correlation_loss
from fedstill_server.losses.data_free import activation_loss, information_entropy_loss, one_hot_loss
from fedstill_server.losses.decoupled import decoupled_kd_loss
from fedstill_server.losses.drawn_tails import drawn_tail_loss, drawn_tails
from fedstill_server.losses.embedding import pairwise_cosine_loss
from fedstill_server.losses.hidden_states import hidden_state_loss
from fedstill_server.losses.hint import hint_loss
from fedstill_server.losses.jensen_shannon import jensen_shannon_loss
from fedstill_server.losses.policy_gradient import policy_gradient_loss, rewards_behind
from fedstill_server.losses.probabilistic import probabilistic_transfer_loss
from fedstill_server.losses.relational import angle_loss, distance_loss
from fedstill_server.losses.response import (
    cross_entropy,
    distillation_loss,
    divergence,
    kd_loss,
    masked_mean,
    soft_label_loss,
)
from fedstill_server.losses.self_attention import self_attention_relation_loss
from fedstill_server.losses.similarity import similarity_loss
from fedstill_server.losses.skewed import reverse_kl_loss, skewed_kl_loss, skewed_reverse_kl_loss
from fedstill_server.losses.standardized import standardized, standardized_kd_loss
from fedstill_server.losses.top_k import top_k_bucket_loss, top_k_renormalized_loss
from fedstill_server.losses.triple import cosine_loss, triple_loss

__all__ = [
    "activation_loss",
    "agreement_weights",
    "angle_loss",
    "attention_map_loss",
    "attention_matrix_loss",
    "class_means",
    "contrastive_loss",
    "correlation_loss",
    "cosine_loss",
    "cross_entropy",
    "decoupled_kd_loss",
    "distance_loss",
    "distillation_loss",
    "divergence",
    "drawn_tail_loss",
    "drawn_tails",
    "hidden_state_loss",
    "hint_loss",
    "information_entropy_loss",
    "jensen_shannon_loss",
    "kd_loss",
    "masked_mean",
    "one_hot_loss",
    "pairwise_cosine_loss",
    "policy_gradient_loss",
    "probabilistic_transfer_loss",
    "reverse_kl_loss",
    "rewards_behind",
    "self_attention_relation_loss",
    "similarity_loss",
    "skewed_kl_loss",
    "skewed_reverse_kl_loss",
    "soft_label_loss",
    "standardized",
    "standardized_kd_loss",
    "top_k_bucket_loss",
    "top_k_renormalized_loss",
    "triple_loss",
]
