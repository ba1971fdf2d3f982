"""The students of a sweep: a family's name for each width and depth.

mlp                 mlp-W-W..., as many layers as the depth
cnn                 cnn-W-2W; it has one depth
gru                 gru-W-2W, a word's width and the state's; it has one depth
ssm                 ssm-W-2W-D
transformer         transformer-W-H-D, with heads of 16 values
hf:PLACE            hf:PLACE?num_hidden_layers=D&hidden_size=W, with heads and inner layers to match; of
                    several widths, all begin anew (weights=none), since none can begin as layers of another
anything with {}    a name with {width}, {depth}, {double} and {quadruple} of the width in it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedstill_server.hugging_face.reference import NO_WEIGHTS, HubReference, is_hub_place
from fedstill_server.sweep.errors import SweepError

_HEAD = 16
_NAMED = {
    "mlp": "",  # as many widths as layers
    "cnn": "cnn-{width}-{double}",
    "gru": "gru-{width}-{double}",
    "ssm": "ssm-{width}-{double}-{depth}",
    "transformer": "transformer-{width}-{heads}-{depth}",
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """One student of a sweep; a width or depth of 0 is the family's own."""

    family: str
    width: int
    depth: int


def sizes_of(family: str, *, widths: Sequence[int], depths: Sequence[int]) -> list[Size]:
    """The students of all widths and depths, from narrow to wide, those of one depth together.

    Args:
        family: A kind, a template, or a list of whole names with commas between.
        widths: () leaves the width as it is.
        depths: () leaves the depth as it is.

    Raises:
        SweepError: There is none, or the family has no such widths or depths.
    """
    if family not in _NAMED and "{" not in family and not is_hub_place(family):
        if widths or depths:
            raise SweepError(
                f"--family: {family!r} is neither {', '.join(_NAMED)}, hf:PLACE nor a name with {{width}} or "
                "{depth} in it; leave --widths and --depths out where names are whole"
            )
        return _whole(family)
    found: dict[str, Size] = {}
    for depth in depths or (0,):
        for width in widths or (0,):
            name = _name(family, width, depth)
            found.setdefault(name, Size(family=name, width=width, depth=depth))
    return list(found.values())


def _whole(families: str) -> list[Size]:
    names = dict.fromkeys(name.strip() for name in families.split(",") if name.strip())
    if not names:
        raise SweepError("--family: names no student; give mlp, gru, hf:PLACE, or names with commas between")
    return [Size(family=name, width=0, depth=0) for name in names]


def _name(family: str, width: int, depth: int) -> str:
    if is_hub_place(family) and "{" not in family:
        return _hub_name(family, width, depth)
    if family == "mlp":
        _needed("mlp", "--widths", width)
        return "-".join(["mlp", *[str(width)] * (depth or 1)])
    template = _NAMED.get(family, family)
    if "{depth}" in template:
        depth = _needed(family, "--depths", depth) if family not in _NAMED else depth or 1
    elif depth:
        raise SweepError(f"--depths: the depth of {family} is no part of its name; leave it out")
    if any(part in template for part in ("{width}", "{double}", "{quadruple}", "{heads}")):
        _needed(family, "--widths", width)
    try:
        return template.format(
            width=width, depth=depth, double=2 * width, quadruple=4 * width, heads=max(1, width // _HEAD)
        )
    except (KeyError, IndexError, ValueError):
        raise SweepError(
            f"--family: {family!r}: fills in {{width}}, {{depth}}, {{double}}, {{quadruple}} and {{heads}} "
            "alone"
        ) from None


def _hub_name(family: str, width: int, depth: int) -> str:
    reference = HubReference.of(family, where="--family")
    fields, weights = dict(reference.fields), reference.weights
    if depth:
        fields["num_hidden_layers"] = str(depth)
    if width:
        heads = max(1, width // (2 * _HEAD))
        fields |= {"hidden_size": str(width), "num_attention_heads": str(heads)}
        fields["intermediate_size"], weights = str(4 * width), NO_WEIGHTS
    return HubReference(reference.place, tuple(sorted(fields.items())), reference.answer, weights).text


def _needed(family: str, option: str, value: int) -> int:
    if not value:
        raise SweepError(f"{option}: {family} needs some, as in {option} 8,16,32")
    return value
