"""Networks that torchvision, timm and transformers bring, made anew: nothing is downloaded."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from fedstill_server.data.forms import NGRAMS
from torch import Tensor, nn

from benchmarks.zoo_networks.network import PHOTO, PICTURE, TOKENS, Shape, ZooNetwork

VOCABULARY = 500


def torchvision_models() -> types.ModuleType:
    """torchvision.models, also where its compiled operators are of another torch's: none of them is used.

    They are declared, one by one, until the import goes through.
    """
    declared = torch.library.Library("torchvision", "FRAGMENT")
    while True:
        try:
            import torchvision.models

            return torchvision.models
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            declared.define(f"{missing[1]}(Tensor a) -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]


class Answering(nn.Module):
    """What a Hugging Face model says of a row of tokens: its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(input_ids=x.long()).logits


class LastPlace(nn.Module):
    """A head on what a model says of the last place."""

    def __init__(self, model: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.model = model
        self.score = nn.Linear(width, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.model(input_ids=x.long()).last_hidden_state[:, -1])


def _torchvision(name: str, **options: Any) -> ZooNetwork:
    def build(_: Shape, classes: int) -> nn.Module:
        network: nn.Module = getattr(torchvision_models(), name)(num_classes=classes, **options)
        return network

    return ZooNetwork(build, PHOTO)


def _timm(name: str, shape: Shape = PHOTO, **options: Any) -> ZooNetwork:
    def build(_: Shape, classes: int) -> nn.Module:
        torchvision_models()
        import timm

        network: nn.Module = timm.create_model(name, num_classes=classes, **options)
        return network

    return ZooNetwork(build, shape)


def bert(_: Shape, classes: int, **options: Any) -> nn.Module:
    """BERT (Devlin et al., 2018, arXiv:1810.04805) of two small layers."""
    torchvision_models()  # transformers imports it where it is there
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=classes,
        **options,
    )
    return Answering(BertForSequenceClassification(config))


def distilbert(_: Shape, classes: int) -> nn.Module:
    """DistilBERT (Sanh et al., 2019, arXiv:1910.01108) of two small layers."""
    torchvision_models()  # transformers imports it where it is there
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=32,
        num_labels=classes,
    )
    return Answering(DistilBertForSequenceClassification(config))


def _gpt2(classes: int) -> Any:
    torchvision_models()  # transformers imports it where it is there
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=32,
        num_labels=classes,
        pad_token_id=0,
    )


def gpt2(_: Shape, classes: int) -> nn.Module:
    """GPT-2 of two small layers, with a head on the last place."""
    torchvision_models()  # transformers imports it where it is there
    from transformers import GPT2Model

    return LastPlace(GPT2Model(_gpt2(classes)), 32, classes)


def gpt2_classifier(_: Shape, classes: int) -> nn.Module:
    """GPT-2 as transformers classifies with it: at the last token that is no padding."""
    torchvision_models()  # transformers imports it where it is there
    from transformers import GPT2ForSequenceClassification

    return Answering(GPT2ForSequenceClassification(_gpt2(classes)))


def _tokens(build: Callable[[Shape, int], nn.Module]) -> ZooNetwork:
    return ZooNetwork(build, TOKENS, NGRAMS)


NETWORKS = {
    "mobilenet-v2": _torchvision("mobilenet_v2"),
    "mobilenet-v3-small": _torchvision("mobilenet_v3_small"),
    "shufflenet-v2": _torchvision("shufflenet_v2_x0_5"),
    "squeezenet": _torchvision("squeezenet1_1"),
    "resnet18": _torchvision("resnet18"),
    "efficientnet-b0": _torchvision("efficientnet_b0"),
    "mnasnet": _torchvision("mnasnet0_5"),
    "timm-mobilenet-v3": _timm("mobilenetv3_small_050"),
    "timm-vit-tiny": _timm("vit_tiny_patch16_224", PICTURE, img_size=32, depth=2),
    "timm-convnext-atto": _timm("convnext_atto"),
    "bert": _tokens(bert),
    "distilbert": _tokens(distilbert),
    "gpt2": _tokens(gpt2),
    "gpt2-classifier": _tokens(gpt2_classifier),
}
