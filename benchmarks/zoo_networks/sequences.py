"""Networks of sensors, sound and words: one-dimensional convolutions, recurrent layers, keywords."""

from __future__ import annotations

import functools

import torch
from fedstill_server.data.forms import NGRAMS
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo_networks.network import (
    SENSORS,
    SHORT_SENSORS,
    SPECTROGRAM,
    TOKENS,
    Shape,
    ZooNetwork,
)

WORDS = 200


class SensorConvolutions(nn.Module):
    """Two convolutions over time."""

    def __init__(self, input_shape: Shape, classes: int, *, norm: bool = False, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(input_shape[0], 16, 5, padding=2, stride=stride)
        self.norm = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.conv2 = nn.Conv1d(16, 32, 5, padding=2, stride=stride)
        self.output = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv1(x)))
        return self.output(functional.relu(self.conv2(x)).mean(-1))


class HARCNN(nn.Module):
    """Activities from a phone's sensors: convolutions with max pooling over time, and dropout."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        channels, length = input_shape
        self.body = nn.Sequential(
            nn.Conv1d(channels, 32, 9),
            nn.ReLU(),
            nn.MaxPool1d(2, 2),
            nn.Conv1d(32, 64, 9),
            nn.ReLU(),
            nn.MaxPool1d(2, 2),
            nn.Flatten(),
        )
        left = ((length - 8) // 2 - 8) // 2
        self.head = nn.Sequential(
            nn.Linear(64 * left, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class TemporalBlock(nn.Module):
    """Dilated causal convolutions (Bai et al., 2018, arXiv:1803.01271)."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.padding = 2 * dilation
        self.conv1 = nn.Conv1d(inputs, outputs, 3, padding=self.padding, dilation=dilation)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=self.padding, dilation=dilation)
        self.around = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.conv1(x)[:, :, : -self.padding])
        y = functional.relu(self.conv2(y)[:, :, : -self.padding])
        return functional.relu(y + self.around(x))


class TCN(nn.Module):
    """A temporal convolutional network (Bai et al., 2018, arXiv:1803.01271)."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(TemporalBlock(i, 16, 2**n) for n, i in enumerate((input_shape[0], 16, 16)))
        )
        self.output = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.blocks(x)[:, :, -1])


class SensorResNet(nn.Module):
    """A residual network over time (Wang et al., 2016, arXiv:1611.06455)."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self._block(i, o) for i, o in ((input_shape[0], 16), (16, 32)))
        self.around = nn.ModuleList(nn.Conv1d(i, o, 1) for i, o in ((input_shape[0], 16), (16, 32)))
        self.output = nn.Linear(32, classes)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(inputs, outputs, 7, padding=3),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.Conv1d(outputs, outputs, 3, padding=1),
            nn.BatchNorm1d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        for block, around in zip(self.blocks, self.around, strict=True):
            x = functional.relu(block(x) + around(x))
        return self.output(functional.adaptive_avg_pool1d(x, 1).squeeze(-1))


class KeywordCNN(nn.Module):
    """DS-CNN of spoken keywords (Zhang et al., 2017, arXiv:1711.07128) on 49 x 10 coefficients."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(input_shape[0], width, (10, 4), stride=(2, 2), padding=(5, 1)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(3):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, groups=width),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.body(x))


class Recurrent(nn.Module):
    """A recurrent layer over time; its last state answers."""

    def __init__(self, input_shape: Shape, classes: int, *, kind: type[nn.RNNBase], **options: int) -> None:
        super().__init__()
        self.layer = kind(input_shape[0], 32, batch_first=True, **options)
        self.output = nn.Linear(64 if options.get("bidirectional") else 32, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.layer(x.transpose(1, 2))
        return self.output(states[:, -1])


class DeepConvLSTM(nn.Module):
    """Convolutions over time and an LSTM on them (Ordonez and Roggen, 2016)."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(input_shape[0], 16, 5, stride=2)
        self.conv2 = nn.Conv1d(16, 16, 5, stride=2)
        self.lstm = nn.LSTM(16, 24, batch_first=True)
        self.output = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        _, (last, _) = self.lstm(x.transpose(1, 2))
        return self.output(last[-1])


class TextCNN(nn.Module):
    """Convolutions over a sentence's words, each pooled to its largest (Kim, 2014, arXiv:1408.5882)."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.convolutions = nn.ModuleList(nn.Conv1d(16, 16, width) for width in (2, 3, 4))
        self.output = nn.Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        words = self.embedding(x.long()).transpose(1, 2)
        pooled = [functional.relu(conv(words)).amax(-1) for conv in self.convolutions]
        return self.output(torch.cat(pooled, 1))


def _recurrent(kind: type[nn.RNNBase], **options: int) -> ZooNetwork:
    return ZooNetwork(functools.partial(Recurrent, kind=kind, **options), SHORT_SENSORS)


NETWORKS = {
    "conv1d": ZooNetwork(SensorConvolutions, SENSORS),
    "conv1d-batchnorm-stride": ZooNetwork(
        functools.partial(SensorConvolutions, norm=True, stride=2), SENSORS
    ),
    "harcnn": ZooNetwork(HARCNN, SENSORS),
    "tcn": ZooNetwork(TCN, SENSORS),
    "resnet-1d": ZooNetwork(SensorResNet, SENSORS),
    "ds-cnn": ZooNetwork(KeywordCNN, SPECTROGRAM),
    "lstm": _recurrent(nn.LSTM),
    "gru-layer": _recurrent(nn.GRU),
    "rnn": _recurrent(nn.RNN),
    "bilstm": _recurrent(nn.LSTM, bidirectional=True),
    "lstm-2": _recurrent(nn.LSTM, num_layers=2),
    "deep-conv-lstm": ZooNetwork(DeepConvLSTM, SENSORS),
    "text-cnn": ZooNetwork(TextCNN, TOKENS, NGRAMS),
}
