"""What of a network trains: by hand-checkable networks."""

from __future__ import annotations

import pytest
import torch
from fedstill_proto.errors import FedstillError
from fedstill_server.families import FAMILIES
from fedstill_server.families.adapting import adapted, freeze_unreached, head_of
from fedstill_server.families.train_rule import TrainRule
from torch import nn

import fedstill as fs

_X = torch.zeros(2, 1, 4, 4)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 5), nn.Linear(5, 2))


def _training(network: nn.Module) -> list[str]:
    return [name for name, value in network.named_parameters() if value.requires_grad]


def test_the_head_is_the_linear_layer_that_examples_reach_last() -> None:
    network = _network()
    assert head_of("net", network, _X) is network[3]
    assert _training(adapted("net", network, TrainRule.of("head"), _X)) == ["3.weight", "3.bias"]


def test_a_network_with_adapters_begins_as_the_network_itself() -> None:
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    network = _network()
    expected = network(x)
    network = adapted("net", network, TrainRule.of("lora:2"), x)
    assert torch.equal(network(x), expected)
    assert _training(network) == [
        "0.down.weight",
        "0.up.weight",
        "2.down.weight",
        "2.up.weight",
        "3.weight",
        "3.bias",
    ]
    # alpha / r = 4 / 2: with A = 1 and B = 1 the adapter adds 2 * (sum over r of the inputs' sum).
    with torch.no_grad():
        network[2].down.weight.fill_(1)
        network[2].up.weight.fill_(1)
    ones = torch.ones(1, 48)
    assert torch.allclose(network[2](ones) - network[2].base(ones), torch.full((1, 5), 2.0 * 2 * 48))


def test_parameters_train_by_name() -> None:
    network = adapted("net", _network(), TrainRule.of("0.*+3.bias"), _X)
    assert _training(network) == ["0.weight", "0.bias", "3.bias"]


class _Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.output = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.a(x.flatten(1)[:, :4]).detach())
        return logits


def test_detached_parameters_are_found_and_frozen(caplog: pytest.LogCaptureFixture) -> None:
    network = _Detached()
    freeze_unreached("detached", network, _X)
    assert _training(network) == ["output.weight", "output.bias"]
    assert "no gradient reaches a.weight, a.bias" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lora", "give low-rank adapters as lora:RANK"),
        ("lora:0", "give low-rank adapters as lora:RANK"),
        ("heads:3", "does not say what trains"),
        ("head+", "does not say what trains"),
        ("", "does not say what trains"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(words: str, said: str) -> None:
    with pytest.raises(FedstillError, match=said):
        TrainRule.of(words)


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(FedstillError, match=r"net: train: '3.bais' is unknown; did you mean 3.bias"):
        adapted("net", _network(), TrainRule.of("3.bais"), _X)
    headless = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten())
    with pytest.raises(FedstillError, match=r"net: no head: .* such as 0\.\*"):
        adapted("net", headless, TrainRule.of("head"), _X)
    frozen = _network().requires_grad_(False)
    with pytest.raises(FedstillError, match=r"nothing trains: all of its parameters are frozen"):
        freeze_unreached("net", frozen, _X)


def test_families_are_named_with_what_trains() -> None:
    place = "fedstill_server.families.sized:DeepPerceptron"
    names = FAMILIES.named([f"deep={place}+lora:4", f"{place}+head"])
    assert names == {"deep": f"{place}+lora:4", "DeepPerceptron": f"{place}+head"}
    with pytest.raises(FedstillError, match="deep: 'lora:x'"):
        FAMILIES.named([f"deep={place}+lora:x"])


def test_a_module_that_is_made_already_is_copied() -> None:
    from fedstill.chosen import family_of_student

    made = _network()
    name, place = family_of_student(fs.Student(made, name="made-net", train="head"))
    assert (name, place) == ("made-net", "")
    built = FAMILIES.load("made-net").build((1, 4, 4), 2)
    assert built is not made
    assert torch.equal(built[0].weight, made[0].weight)
    assert _training(built) == ["3.weight", "3.bias"]
    assert len(_training(made)) == 6
    assert torch.equal(built[3].weight, made[3].weight)


def test_a_fresh_head_begins_by_the_seed() -> None:
    before = _network()
    torch.manual_seed(3)
    network = adapted("net", _network(), TrainRule.of("head:fresh"), _X)
    assert torch.equal(network[2].weight, before[2].weight)
    assert not torch.equal(network[3].weight, before[3].weight)
