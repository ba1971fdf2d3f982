"""Low-rank adapters on a frozen model of Hugging Face, from its folder to its owner's device.

A BERT of one layer with random weights, whose adapters and head are a device's own: its package, the gate,
the owner's texts, and answers that are torch's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.packages import load_installed
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.subwords import Subwords
from fedstill_proto.subwords.reader import SubwordReader
from fedstill_server.export import ArtifactOptions
from fedstill_server.families import FAMILIES, build_student, initial_parameters
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.training.networks import load_parameters, logits_of
from scipy.special import softmax

from tests.client.subword_samples import PAD, tokenizer_file

transformers = pytest.importorskip("transformers", reason="the extra [transformers] is not installed")

WORDS = tuple(f"word{number}" for number in range(36))
PLACES, SIZE, WIDTH, RANK = 8, 40, 32, 4
FAMILY = "adapted-bert"


def texts(rows: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Texts of five words of either half of the vocabulary, and what the owner calls each."""
    random = np.random.default_rng(seed)
    halves = random.integers(0, 2, rows)
    said = [" ".join(random.choice(WORDS[18 * half : 18 * half + 18], 5)) for half in halves]
    return said, [("near", "far")[half] for half in halves]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> StudentPackage:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=SIZE,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=PLACES,
        pad_token_id=PAD,
    )
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer_file(WORDS))
    FAMILIES.named([f"{FAMILY}=hf:{folder}+lora:{RANK}"])
    options = ArtifactOptions(
        family=FAMILY,
        input_shape=(PLACES,),
        classes=2,
        optimizer=Optimizer.ADAMW,
        soft_labels="dense",
        stack_size=1,
        step_rows=8,
    )
    described = Subwords(places=PLACES, pad=PAD, size=SIZE, library=tokenizers.__version__)
    made = package_of(  # passes the gate: the step beside torch in float64
        options,
        initial_parameters(FAMILY, (PLACES,), 2, 0),
        package_version=1,
        public_x=SubwordReader(tokenizer_file(WORDS), places=PLACES, pad=PAD).rows(texts(24, seed=0)[0]),
        files=PackageFiles(tokenizer=tokenizer_file(WORDS), subwords=described),
    )
    return replace(made, manifest=replace(made.manifest, class_names=("near", "far")))


def test_the_adapters_and_the_head_are_a_devices_own(package: StudentPackage) -> None:
    manifest = package.manifest
    # Two adapters' matrices for each of 6 layers, of 4 x (in + out) values, and a head of 2 x 32 and 2.
    inputs_and_outputs = 4 * (WIDTH + WIDTH) + 2 * (WIDTH + 2 * WIDTH)
    assert manifest.parameter_count == RANK * inputs_and_outputs + 2 * WIDTH + 2
    assert len(manifest.parameters) == 2 * 6 + 2
    assert sum(spec.size for spec in manifest.frozen) > (SIZE + 8 * WIDTH) * WIDTH
    assert not {spec.name for spec in manifest.frozen} & {spec.name for spec in manifest.parameters}
    assert package.int8_graph is not None


def test_an_owners_texts_teach_the_adapters(package: StudentPackage, tmp_path: Path) -> None:
    home = AgentHome(tmp_path)
    home.create()
    home.description.write_text(json.dumps({"name": "kitchen", "family": FAMILY, "owner_share": 0.0}))
    with PrivateStore.create(home) as store:
        folder = install(home, store, package).folder
    frozen = (folder / "frozen.safetensors").read_bytes()
    learned, held_out = texts(150, seed=1), texts(100, seed=2)

    def accuracy(agent: Agent) -> float:
        answers = agent.predict(held_out[0]).argmax(axis=1)
        return float((np.array(["near", "far"])[answers] == held_out[1]).mean())

    with Agent.open(tmp_path) as agent:
        before = accuracy(agent)
        agent.observe(*learned)
        options = PersonalizeOptions(learning_rate=0.01, soft_weight=0.1)
        assert agent.personalize(options).result == "replaced"
        after, answers = accuracy(agent), agent.predict(held_out[0])
    assert before < 0.75
    assert after > 0.95

    with PrivateStore.open(home) as store:
        own = store.students(load_installed(home, store).manifest, 1).latest()
    assert own is not None
    assert (folder / "frozen.safetensors").read_bytes() == frozen
    network = load_parameters(build_student(FAMILY, (PLACES,), 2), own.parameters)
    rows = SubwordReader(tokenizer_file(WORDS), places=PLACES, pad=PAD).rows(held_out[0])
    np.testing.assert_allclose(answers, softmax(logits_of(network, rows), axis=1), rtol=1e-3, atol=1e-5)

    with Agent.open(tmp_path, precision="int8") as agent:  # the same adapters, in 8 bits where they are large
        assert agent.status().precision == "int8"
        assert accuracy(agent) > 0.95
