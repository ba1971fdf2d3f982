"""Which training graph the devices of a fleet need: the soft labels it reads, and the rows of a step."""

from __future__ import annotations

from fedstill_proto.soft_labels.codec import Encoding

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.many_classes import spreads_rest
from fedstill_server.data.forms import Labels
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.methods import method_of
from fedstill_server.methods.interface import SoftLabelUse
from fedstill_server.tasks import task_of


def artifact_options(config: FleetConfig, family: str, *, stack_size: int = 1) -> ArtifactOptions:
    """The options of a family's training artifact, from what the fleet's method reads."""
    method, training = method_of(config.method), config.training
    use = method.graph_labels
    form, k, rows = "none", 0, training.batch_size
    if use is not SoftLabelUse.NONE and training.soft_weight > 0:
        form = "dense"
        sparse = config.downlink.encoding in (Encoding.TOP_K, Encoding.LEVELS, Encoding.DRAWN)
        spread = task_of(config).form.labels is Labels.ONE and spreads_rest(config.downlink, config.classes)
        if sparse and config.downlink.kept(config.classes) and not spread:
            form, k = "top-k", config.downlink.kept(config.classes)
        rows *= 2 if use is SoftLabelUse.PUBLIC_ROWS else 1
    return ArtifactOptions(
        family=family,
        input_shape=config.input_shape,
        classes=config.classes,
        optimizer=training.optimizer,
        soft_labels=form,
        k=k,
        stack_size=stack_size,
        step_rows=rows,
        step_vocabulary=task_of(config).step_words(config),
        features=method.features,
        target=config.target,
    )
