"""The student families and their first parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fedstill_proto.errors import UnknownName
from fedstill_server.families import ARRAYS, FAMILIES, FamilyError, build_student, initial_parameters
from fedstill_server.families.classifiers import GroupNormalization
from torch.nn import functional


@pytest.mark.parametrize("family", [*sorted(FAMILIES.of_task(ARRAYS)), "mlp-5", "mlp-7-5", "cnn-3-4"])
@pytest.mark.parametrize("input_shape", [(64,), (8, 8), (2, 9, 7)])
def test_a_student_maps_a_batch_to_logits(family: str, input_shape: tuple[int, ...]) -> None:
    student = build_student(family, input_shape, 5)

    logits = student(torch.zeros(3, *input_shape))

    assert logits.shape == (3, 5)


def test_parameter_counts_by_hand() -> None:
    counts = {
        family: sum(array.size for array in initial_parameters(family, (8, 8), 10, 0).values())
        for family in FAMILIES.of_task(ARRAYS)
    }

    assert counts == {
        "mlp-small": 64 * 64 + 64 + 64 * 10 + 10,
        "mlp-wide": 64 * 256 + 256 + 256 * 10 + 10,
        "cnn": (9 * 8 + 8) + (8 * 9 * 16 + 16) + (16 * 2 * 2 * 10 + 10),
        "cnn-norm": (9 * 8 + 8) + (8 * 9 * 16 + 16) + (16 * 2 * 2 * 10 + 10) + 2 * (8 + 16),
    }


def test_widths_are_in_the_names_of_sized_families() -> None:
    def count(family: str) -> int:
        return sum(array.size for array in initial_parameters(family, (8, 8), 10, 0).values())

    assert count("mlp-32") == 64 * 32 + 32 + 32 * 10 + 10
    assert count("mlp-32-8") == 64 * 32 + 32 + 32 * 8 + 8 + 8 * 10 + 10
    assert count("cnn-8-16") == count("cnn")
    for family in ("mlp-0", "mlp-", "mlp-32-", "cnn-8", "cnn-8-8-8", "mlp-32x2", "gru-8"):
        with pytest.raises(UnknownName, match=f"student family: '{family}' is unknown"):
            build_student(family, (8, 8), 10)


def test_flat_examples_are_images_of_height_one() -> None:
    parameters = initial_parameters("cnn", (20,), 4, 0)

    assert parameters["conv1.weight"].shape == (8, 1, 1, 3)
    assert parameters["output.weight"].shape == (4, 16 * 5)  # 20 -> 10 -> 5


def test_the_seed_decides_the_parameters_and_nothing_else_changes() -> None:
    torch.manual_seed(7)
    expected_next = torch.rand(1)
    torch.manual_seed(7)

    first, again, other = (initial_parameters("mlp-small", (6,), 3, seed) for seed in (1, 1, 2))

    assert list(first) == ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    assert all(array.dtype == np.float32 for array in first.values())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["hidden.weight"], other["hidden.weight"])
    assert torch.equal(torch.rand(1), expected_next)


@pytest.mark.parametrize(
    ("family", "input_shape", "classes", "named"),
    [
        ("cnn", (3, 8), 10, "too small"),
        ("cnn", (1, 2, 3, 4), 10, "4 dimensions"),
        ("mlp-small", (), 10, "input shape"),
        ("mlp-small", (8,), 1, "1 classes"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(
    family: str, input_shape: tuple[int, ...], classes: int, named: str
) -> None:
    with pytest.raises(FamilyError, match=named):
        build_student(family, input_shape, classes)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_normalization_is_that_of_torch(groups: int) -> None:
    x = torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    norm = GroupNormalization(4, groups=groups)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)

    expected = torch.nn.functional.group_norm(x, groups, norm.weight.flatten(), norm.bias.flatten())

    torch.testing.assert_close(norm(x), expected)


def test_a_recurrent_student_is_torchs_gru_over_tied_embeddings() -> None:
    student = build_student("gru", (5,), 37)
    theirs = torch.nn.GRU(64, 64, batch_first=True)
    theirs.load_state_dict(
        {
            "weight_ih_l0": student.of_word.weight,  # type: ignore[union-attr]
            "bias_ih_l0": student.of_word.bias,  # type: ignore[union-attr]
            "weight_hh_l0": student.of_state.weight,  # type: ignore[union-attr]
            "bias_hh_l0": student.of_state.bias,  # type: ignore[union-attr]
        }
    )
    x = torch.arange(10).reshape(2, 5)

    states, _ = theirs(student.embedding(x))  # type: ignore[operator]

    torch.testing.assert_close(student(x), states @ student.embedding.weight.t())  # type: ignore[union-attr,operator]


def test_text_is_a_row_of_words() -> None:
    with pytest.raises(FamilyError, match=r"gru: input shape \[2, 3\]"):
        build_student("gru", (2, 3), 37)


def test_a_transformer_is_torchs_attention_over_tied_embeddings() -> None:
    student = build_student("transformer", (5,), 37)
    x = torch.arange(10).reshape(2, 5)
    rows = student.embedding(x) + student.place  # type: ignore[operator]

    for block in student.blocks:  # type: ignore[union-attr]
        attention, heads = block.attention, (2, 5, 4, 16)
        normal = functional.rms_norm(rows, (64,), block.norm1.weight, eps=1e-5)
        query, key, value = (
            part(normal).reshape(heads).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        rows = rows + attention.output(seen.transpose(1, 2).reshape(2, 5, 64))
        hidden = block.hidden(functional.rms_norm(rows, (64,), block.norm2.weight, eps=1e-5))
        rows = rows + block.output(hidden * torch.sigmoid(1.702 * hidden))
    expected = functional.rms_norm(rows, (64,), student.norm.weight, eps=1e-5)  # type: ignore[arg-type, union-attr]

    torch.testing.assert_close(student(x), expected @ student.embedding.weight.t())  # type: ignore[union-attr,operator]


def test_a_place_sees_no_word_behind_it() -> None:
    student = build_student("transformer", (5,), 37)
    x = torch.arange(5).reshape(1, 5)
    changed = x.clone()
    changed[0, 3:] = 30

    before, after = student(x), student(changed)

    torch.testing.assert_close(after[:, :3], before[:, :3], rtol=0, atol=0)
    assert not torch.allclose(after[:, 3], before[:, 3])


def test_text_students_are_of_one_size() -> None:
    gru, transformer = (
        sum(array.size for array in initial_parameters(family, (20,), 10_000, 0).values())
        for family in ("gru", "transformer")
    )

    assert gru == 10_000 * 64 + 2 * (64 * 192 + 192)
    attention = 4 * 64 * 64 + 3 * 64
    layer = 64 * 128 + 128 + 128 * 64 + 64
    assert transformer == 10_000 * 64 + 20 * 64 + 2 * (attention + layer + 2 * 64) + 64
    assert transformer / gru < 1.07
