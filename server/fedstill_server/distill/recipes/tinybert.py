"""TinyBERT's two stages (Jiao et al. 2020, arXiv 1909.10351): first how a text is read, then what is said.

1. Embedding, hidden states and attention matrices of the layers, without any answers.
2. The teacher's answers: the techniques that are asked for, or else its soft labels (kd), or its vectors
   (embedding) where the student is a sentence model.

The layers of the student are spread evenly over those of the teacher, by their configurations. The teacher is
asked batch by batch in the first stage: its attention to all examples would fill the memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.stage_runner import Recipe, StageRunner
from fedstill_server.distill.sub_words import is_sentence_model
from fedstill_server.distill.technique import Technique
from fedstill_server.distill.techniques.attention_matrices import AttentionMatrices
from fedstill_server.distill.techniques.embedding import EmbeddingDistillation
from fedstill_server.distill.techniques.hidden_states import HiddenStates
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.families import build_student


class TinyBert(Recipe):
    name: ClassVar[str] = "tinybert"
    source: ClassVar[str] = "Jiao et al. 2020, arXiv 1909.10351"
    line: ClassVar[str] = "two stages: embedding, hidden states and attention, then answers"

    first_epochs: int = option(0, "Passes of the first stage; 0: as many as the plan's.", least=0)
    states: float = option(1.0, "Weight of embedding and hidden states in the first stage.", least=0)
    attention: float = option(10.0, "Weight of the attention matrices in it.", least=0)

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        if base.teacher is None:
            raise DistillError("tinybert: there is no teacher to be like; give one with --teacher")
        plan = replace(base.plan, epochs=self.first_epochs or base.plan.epochs, soft_weight=1.0, online=True)
        reading: tuple[Technique, ...] = (
            HiddenStates(weight=self.states),
            AttentionMatrices(weight=self.attention),
        )
        first = runner.train("reading", replace(base, plan=plan, techniques=reading, answers=None))
        runner.notes.append(f"tinybert: the first stage ended at {first.loss:.4f}")
        techniques = base.techniques or (_of_answers(base),)
        return runner.train("student", replace(base, techniques=techniques, start=first.parameters))


def _of_answers(base: DistillJob) -> Technique:
    """What the second stage learns where nothing is asked for."""
    student = build_student(base.family, base.input_shape, base.classes)
    return EmbeddingDistillation() if is_sentence_model(student) else KnowledgeDistillation()
