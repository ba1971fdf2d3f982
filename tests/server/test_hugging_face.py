"""Models of Hugging Face: opened from a folder, found by their configuration, and refused where they are not
what they say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_proto.errors import FedstillError
from fedstill_proto.subwords.reader import SubwordReader
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.families.family import SUBWORDS
from fedstill_server.hugging_face.initialization import chosen_layers
from fedstill_server.hugging_face.opening import open_model
from fedstill_server.hugging_face.parts import parts_of
from fedstill_server.hugging_face.reference import MINILM_PACKAGE, HubReference
from safetensors.torch import load_file, save_file

import fedstill as fs
from tests.server.hub_models import SIZE, WORDS, configuration, save_model, save_tokenizer

pytest.importorskip("transformers", reason="models of Hugging Face need fedstill[transformers]")

TEXTS = ["The red cat sleeps here", "a dog", "the black owl runs, a blue fox sleeps there"]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra", "gpt2", "llama", "albert"])
def test_padding_changes_no_answer_and_parts_are_found_by_configuration(tmp_path: Path, kind: str) -> None:
    opened = open_model(f"hf:{save_model(tmp_path / kind, kind)}")
    assert opened.tokenizer is not None
    wide = opened.tokenizer.rows(TEXTS, places=40)

    with torch.no_grad():
        together = opened.network(torch.from_numpy(wide))
        for row, length in enumerate(opened.tokenizer.lengths(TEXTS)):
            alone = opened.network(torch.from_numpy(wide[row : row + 1, :length].copy()))
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)

    assert (opened.kind, together.shape) == ("embedding", (3, 16))
    if kind == "albert":  # which has one layer for all places
        return
    parts, seen = parts_of(opened.network, opened.config), {}
    modules = dict(opened.network.named_modules())
    named = (parts.embedding, *parts.layers, *(one.module for one in parts.attention))
    for name in named:
        modules[name].register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    with torch.no_grad():
        opened.network(torch.from_numpy(wide))
    for name in (parts.embedding, *parts.layers):
        states = seen[name][0] if isinstance(seen[name], tuple) else seen[name]
        assert states.shape == (3, 40, 8 if (kind, name) == ("electra", parts.embedding) else 16)
    for one in parts.attention:
        matrices = seen[one.module][1]
        assert matrices.shape == (3, parts.heads, 40, 40)
        torch.testing.assert_close(matrices.sum(-1), torch.ones(3, parts.heads, 40))
        assert one.fused == (kind == "gpt2")
    assert len(parts.layers) == len(parts.attention) == 2


def test_a_student_begins_as_layers_of_its_teacher(tmp_path: Path) -> None:
    assert chosen_layers(6, 3) == (1, 3, 5)
    assert chosen_layers(12, 4) == (2, 5, 8, 11)
    assert chosen_layers(6, 3, choice="first") == (0, 1, 2)
    place = f"hf:{save_model(tmp_path / 'four', layers=4)}"
    whole = open_model(place).network.state_dict()

    def layer_of(options: str, number: int) -> torch.Tensor:
        opened = open_model(f"{place}?num_hidden_layers=2{options}").network.state_dict()
        assert torch.equal(
            opened["model.embeddings.word_embeddings.weight"],
            whole["model.embeddings.word_embeddings.weight"],
        ) == (not options.endswith("none"))
        return opened[f"model.encoder.layer.{number}.output.dense.weight"]

    def of_teacher(number: int) -> torch.Tensor:
        return whole[f"model.encoder.layer.{number}.output.dense.weight"]

    assert torch.equal(layer_of("", 0), of_teacher(1))
    assert torch.equal(layer_of("", 1), of_teacher(3))
    assert torch.equal(layer_of("&weights=first", 1), of_teacher(1))
    assert not any(torch.equal(layer_of("&weights=none", 1), of_teacher(one)) for one in range(4))
    with pytest.raises(FedstillError, match="of width 32 and 2 heads cannot begin as one of width 16"):
        open_model(f"{place}?hidden_size=32")
    assert open_model(f"{place}?hidden_size=32&weights=none").classes == 32


def test_a_model_is_a_family_by_its_place(tmp_path: Path) -> None:
    place = f"hf:{save_model(tmp_path / 'Tiny one', labels=('no', 'yes'))}"

    assert FAMILIES.named([f"{place}?num_hidden_layers=1+head", f"other={place}"]) == {
        "hf-Tiny-one-num_hidden_layers-1": f"{place}?num_hidden_layers=1+head",
        "other": place,
    }

    assert fs.Student(place, train="head").name == "hf-Tiny-one"
    assert FAMILIES.task_of("other") == SUBWORDS
    student = build_student("other", (12,), 2, seed=5)
    x = torch.from_numpy(
        FAMILIES.form_of("other").random((4, 12), classes=2, random=np.random.default_rng(0))
    )
    assert x.max() < SIZE
    torch.testing.assert_close(student.eval()(x), open_model(place).network(x))  # it begins as the model
    heads = [build_student("other", (12,), 3, seed=seed).model.classifier.weight for seed in (5, 5, 6)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])  # of other classes, it begins anew
    only_head = build_student("hf-Tiny-one-num_hidden_layers-1", (12,), 2)
    assert {name for name, value in only_head.named_parameters() if value.requires_grad} == {
        "model.classifier.weight",
        "model.classifier.bias",
    }
    with pytest.raises(FedstillError, match="at most 48 of them"):
        build_student("other", (49,), 2)
    long = HubReference.of("hf:" + "x" * 200 + "?hidden_size=8")
    assert len(long.name) <= 80
    assert HubReference.of(long.text) == long


def test_rows_are_those_that_devices_read(tmp_path: Path) -> None:
    opened = open_model(f"hf:{save_model(tmp_path / 'bert')}")
    assert opened.tokenizer is not None
    texts = [*TEXTS, "a [PAD] cat", "the wolf"]

    content, subwords = opened.tokenizer.packaged(places=8, size=SIZE, answer="classes")

    reader = SubwordReader(content, places=subwords.places, pad=subwords.pad)
    rows = opened.tokenizer.rows(texts, places=8)
    assert np.array_equal(reader.rows(texts), rows)
    # [CLS] a dog [SEP], then padding; a text that spells the padding does not say it.
    assert rows[1].tolist() == [2, 5, 7, 3, 0, 0, 0, 0]
    assert rows[3, :3].tolist() == [2, 5, 1]


def _edit(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _slow_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.txt")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_pickled, "pytorch_model.bin, which can hold code; only safetensors are read"),
        (
            _edit(model_type="my-own", auto_map={"AutoModel": "code.Model"}),
            "brings code of its own, which is not",
        ),
        (_edit(num_hidden_layers=10**9), "num_hidden_layers is 1000000000, not a whole number of 0 to 256"),
        (_edit(vocab_size=1 << 24, hidden_size=1 << 15), "parameters, more than 2,147,483,648"),
        (_edit(hidden_size=32), "config.json and the weights are not of one model"),
        (_edit(num_hidden_layers=3), "layer.2.* are missing, or of another shape"),
        (_edit(vocab_size=9), "its tokenizer makes numbers to 16, and config.json says vocab_size 9"),
        (_without_a_layer, "config.json and the weights are not of one model"),
        (_slow_tokenizer, "slow tokenizers run on no device; make one with"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a model's configuration"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "not a tokenizer"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 80), "its weights cannot be read"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused(
    tmp_path: Path, harm: Callable[[Path], object], says: str
) -> None:
    folder = save_model(tmp_path / "model")
    harm(folder)
    with pytest.raises(FedstillError, match=says.replace("(", r"\(")):
        open_model(f"hf:{folder}")


def test_words_that_name_no_model_are_refused(tmp_path: Path) -> None:
    place = f"hf:{save_model(tmp_path / 'gpt2', 'gpt2')}"
    for text, says in (
        ("hf:no/such", "nothing is fetched"),
        (f"{place}?n_layers=1", "did you mean n_layer"),
        (f"{place}?n_layer=many", "is 'many', and was 2"),
        (f"{place}?n_layer", "is not option=value"),
        (f"{place}?answer=song", "none of classes, embedding, next-token"),
        (f"{place}?architectures=x", "is unknown"),
    ):
        with pytest.raises(FedstillError, match=says):
            open_model(text)
    assert open_model(f"{place}?num_hidden_layers=1").config.n_layer == 1  # by the common name of a field


def test_a_folder_of_a_configuration_alone_makes_a_student_that_begins_anew(tmp_path: Path) -> None:
    configuration("electra").save_pretrained(tmp_path)
    opened = open_model(f"hf:{tmp_path}")
    assert (opened.fresh, opened.tokenizer, opened.pad) == (True, None, 0)
    save_tokenizer(tmp_path, WORDS[:4])
    assert open_model(f"hf:{tmp_path}").tokenizer is not None


@pytest.mark.skipif(
    __import__("importlib.util", fromlist=["util"]).find_spec(MINILM_PACKAGE) is None,
    reason="MiniLM's weights come with fedstill[assistant]",
)
def test_minilm_gives_the_vectors_that_the_assistant_hears() -> None:
    from fedstill_server.tasks.utterances.encoder import SentenceEncoder, SentenceModelFiles

    opened = open_model("hf:minilm")
    assert opened.tokenizer is not None
    with torch.no_grad():
        mine = opened.network(torch.from_numpy(opened.tokenizer.rows(TEXTS, places=16)))
        theirs = SentenceEncoder(SentenceModelFiles.installed()).eval()(TEXTS)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
