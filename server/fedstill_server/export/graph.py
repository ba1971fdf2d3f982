"""Writes an ONNX graph node by node: equal nodes are written once, unused ones are dropped."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
"""Both understood by ONNX Runtime 1.20, the oldest that a device may run."""
_FILLED_FROM = 64  # values
MICROSOFT = "com.microsoft"
_MANY = 1024  # values

_ELEMENT_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
}


class GraphWriter:
    """A graph under construction. Names of values are handed out by the writer."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._prefix = ""  # of the values' names
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._named: set[str] = set()  # constants that stay under their names
        self._known: dict[object, str] = {}
        self._shapes: MutableMapping[str, tuple[int, ...]] = {}
        self._reshaped_from: dict[str, str] = {}

    def input(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, _ELEMENT_TYPES[dtype], list(shape)))
        self._shapes[name] = tuple(shape)
        return name

    def unused_name(self, word: str) -> str:
        """A name of an input that nothing has yet."""
        return f"{word}_{len(self._inputs)}"

    def output(self, name: str, source: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, _ELEMENT_TYPES[dtype], list(shape)))
        self._nodes.append(helper.make_node("Identity", [source], [name]))

    def constant(self, array: np.ndarray, *, name: str = "") -> str:
        if name:
            self._constants[name] = np.ascontiguousarray(array)
            self._shapes[name] = array.shape
            self._named.add(name)
            return name
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._known and array.size >= _MANY and (array == array.flat[0]).all():
            # One number in many places: the runtime fills them, a file need not hold them.
            shape = self.constant(np.array(array.shape, np.int64))
            value = numpy_helper.from_array(array.reshape(-1)[:1])
            self._known[key] = self.node("ConstantOfShape", [shape], shape=array.shape, value=value)
        if key not in self._known:
            name = f"constant_{len(self._constants)}"
            self._constants[name] = np.ascontiguousarray(array).reshape(array.shape)
            self._known[key] = name
            self._shapes[name] = array.shape
        return self._known[key]

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        shape: Sequence[int],
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add an operator with one output of this shape, unless it is there already; returns the output's
        name.
        """
        return self.nodes(operator, inputs, shape=shape, domain=domain, **attributes)[0]

    def nodes(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        shape: Sequence[int],
        outputs: int = 1,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add an operator with several outputs of one shape, unless it is there already; returns their
        names.
        """
        key = (operator, domain, tuple(inputs), repr(sorted(attributes.items())))
        if key not in self._known:
            self._known[key] = self._add(operator, inputs, [shape] * outputs, domain=domain, **attributes)[0]
        name = self._known[key]
        return [name, *(f"{name}.{number}" for number in range(1, outputs))]

    def split(self, name: str, sizes: Sequence[int], *, axis: int) -> list[str]:
        """Parts of these sizes along an axis."""
        whole = self._shapes[name]
        shapes = [(*whole[:axis], size, *whole[axis + 1 :]) for size in sizes]
        return self._add("Split", [name, self.constant(np.array(sizes, np.int64))], shapes, axis=axis)

    def scan(self, scan: Scan) -> list[str]:
        """Add a loop over the places of the first axis of some tensors; returns its outputs' names.

        They are the states after the last place, then what each place gives, place by place.
        """
        body, states = scan.body.graph(), len(scan.states)
        shapes = [[d.dim_value for d in port.type.tensor_type.shape.dim] for port in body.output]
        places = self._shapes[scan.scanned[0]][0]
        stacked = [[places, *shape] for shape in shapes[states:]]
        directions = int(scan.is_reversed)
        return self._add(
            "Scan",
            [*scan.states, *scan.scanned],
            [*shapes[:states], *stacked],
            body=body,
            num_scan_inputs=len(scan.scanned),
            scan_input_directions=[directions] * len(scan.scanned),
            scan_output_directions=[directions] * len(stacked),
        )

    def _add(
        self,
        operator: str,
        inputs: Sequence[str],
        shapes: Sequence[Sequence[int]],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        first = f"{self._prefix}{operator.lower()}_{len(self._nodes)}"
        names = [first, *(f"{first}.{at}" for at in range(1, len(shapes)))]
        self._nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        self._shapes.update((name, tuple(shape)) for name, shape in zip(names, shapes, strict=True))
        return names

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """The value under another shape; a reshape of a reshape goes back to the source."""
        source = self._reshaped_from.get(name, name)
        if self._shapes[source] == tuple(shape):
            return source
        target = self.constant(np.array(shape, np.int64))
        reshaped = self.node("Reshape", [source, target], shape=shape)
        self._reshaped_from[reshaped] = source
        return reshaped

    def before_reshape(self, names: Sequence[str]) -> tuple[list[str], tuple[int, ...] | None]:
        """Operands of an element by element operator, in the shape in which the first was computed.

        It is where all operands but single numbers have one shape now. This saves most reshapes.
        """
        wide = [name for name in names if math.prod(self._shapes[name]) > 1]
        if not wide and len(self._constants.keys() & names) == len(names) - 1:
            # One device's single number and a constant: as in a larger stack, whose graph is not to differ.
            wide = [name for name in names if name in self._reshaped_from]
        if len({self._shapes[name] for name in wide}) != 1:
            return list(names), None
        computed = [name for name in wide if name in self._reshaped_from] or wide
        shape = self._shapes[self._reshaped_from.get(computed[0], computed[0])]
        return [self._reshaped_operand(name, shape, single=name not in wide) for name in names], shape

    def _reshaped_operand(self, name: str, shape: tuple[int, ...], *, single: bool) -> str:
        if not single:
            return self.reshape(name, shape)
        # A single number of a higher rank would give that rank to the result.
        return name if len(self._shapes[name]) <= len(shape) else self.reshape(name, (1,))

    def model(self) -> bytes:
        """The finished model: no dead nodes, outputs named by the nodes that compute them where possible."""
        nodes = without_dead_nodes(_without_identities(self._nodes, self._inputs), self._outputs)
        used = {name for node in nodes for name in read_names(node)}
        filled, written = _filled(
            {name: array for name, array in self._constants.items() if name in used}, whole=self._named
        )
        graph = helper.make_graph(
            [*filled, *nodes],
            self._name,
            self._inputs,
            self._outputs,
            initializer=[numpy_helper.from_array(array, name) for name, array in written.items()],
        )
        model = helper.make_model(
            graph,
            producer_name="fedstill",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
        )
        return model.SerializeToString(deterministic=True)


class ScanBody(GraphWriter):
    """What a Scan does at each place; values of the graph around it are read by their names."""

    def __init__(self, outer: GraphWriter) -> None:
        super().__init__(f"scan_{len(outer._nodes)}")
        self._prefix = f"{self._name}."
        self._outer = outer
        self._shapes = ChainMap({}, outer._shapes)

    def constant(self, array: np.ndarray, *, name: str = "") -> str:
        return self._outer.constant(array, name=name)

    def place(self, name: str, shape: Sequence[int]) -> str:
        """An input of this body: a state, or a place of what is scanned."""
        return self.input(f"{self._prefix}{name}", np.dtype(np.float32), shape)

    def give(self, source: str) -> None:
        """Makes a value an output of this body."""
        name = f"{self._prefix}out_{len(self._outputs)}"
        self.output(name, source, np.dtype(np.float32), self._shapes[source])

    def graph(self) -> onnx.GraphProto:
        nodes = without_dead_nodes(_without_identities(self._nodes, self._inputs), self._outputs)
        return helper.make_graph(nodes, self._name, self._inputs, self._outputs)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A loop over the places of the first axis of some tensors.

    Attributes:
        body: What it does at each. Its inputs are the states, then a place of each of `scanned`; its outputs
            the new states, then what the place gives.
        states: The states before the first place.
        scanned: What is read place by place.
        is_reversed: Whether it begins at the last place; outputs stand where they belong all the same.
    """

    body: ScanBody
    states: Sequence[str]
    scanned: Sequence[str]
    is_reversed: bool = False


def _filled(
    constants: dict[str, np.ndarray], *, whole: Collection[str]
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Constants of one number everywhere as nodes of a few bytes, and the others with the nodes' shapes.

    ONNX Runtime makes the constants of them again when it opens the graph. Those of `whole` are never nodes.
    """
    nodes, written = [], {}
    for name, array in constants.items():
        if name in whole or array.size < _FILLED_FROM or (array != array.flat[0]).any():
            written[name] = array
            continue
        shape, value = f"{name}.shape", numpy_helper.from_array(array.reshape(-1)[:1])
        written[shape] = np.array(array.shape, np.int64)
        nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=value))
    return nodes, written


def _without_identities(
    nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto]
) -> list[onnx.NodeProto]:
    """Lets nodes write graph outputs directly; an output that is an input or another output stays a copy."""
    renamed: dict[str, str] = {}
    produced = {name for node in nodes if node.op_type != "Identity" for name in node.output}
    kept = []
    for node in nodes:
        source = node.input[0] if node.op_type == "Identity" else ""
        if source in produced and source not in renamed:
            renamed[source] = node.output[0]
        else:
            kept.append(node)
    for node in with_nested(kept):
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    return kept


def with_nested(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of the graphs that they hold."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from with_nested(attribute.g.node)


def read_names(node: onnx.NodeProto) -> set[str]:
    """The names that a node reads, itself or in a graph that it holds."""
    return {name for each in with_nested([node]) for name in each.input}


def without_dead_nodes(
    nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto]
) -> list[onnx.NodeProto]:
    needed = {output.name for output in outputs}
    alive = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed |= read_names(node)
            alive.append(node)
    return alive[::-1]
