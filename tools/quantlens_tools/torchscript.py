"""Weights of a scripted int8 model, from the quantized ops of its inlined graph.

The graph serves both a plainly scripted model, where scales are attributes of modules, and one that was optimized for
mobile, where modules are gone and scales are constants. Names come from the network itself: the n-th quantized op of the
graph is the n-th of a converted model of the same network.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from .collect import Tensors, add_quant, add_weights, float_tensors
from .errors import ToolError
from .networks import NETWORKS, build_converted, build_float, use_engine
from .recognize import classes_of, conv_shapes, known_shapes, recognize

# Graph op -> (kind, position of scale, position of zero point); packed weights are always argument 1.
_OPS = {
    "aten::quantize_per_tensor": ("quantize", 1, 2),
    "quantized::conv2d": ("conv", 2, 3),
    "quantized::conv2d_relu": ("conv", 2, 3),
    "quantized::linear": ("linear", 2, 3),
    "quantized::linear_relu": ("linear", 2, 3),
    "quantized::add": ("functional", 2, 3),
    "quantized::add_relu": ("functional", 2, 3),
    "quantized::mul": ("functional", 2, 3),
    "quantized::cat": ("functional", 2, 3),
    "quantized::hardswish": ("hardswish", 1, 2),
}
_COMPARISONS = {
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::gt": operator.gt,
    "aten::lt": operator.lt,
    "aten::__not__": operator.not_,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
}


@dataclass
class Scripted:
    """A scripted model's weights and what it was found to be."""

    network: str
    precision: str
    arguments: dict[str, Any]
    tensors: Tensors


@dataclass
class _Op:
    kind: str
    packed: Any
    scale: float
    zero_point: int


def read(path: Path, name: str | None, arguments: dict[str, Any], half: bool) -> Scripted:
    """Reads a TorchScript file; the network is recognized by its convolutions unless named."""
    use_engine("qnnpack" if name and NETWORKS[name].engine == "qnnpack" else "fbgemm")
    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise ToolError(f"{path}: cannot load as TorchScript: {str(error).splitlines()[0]}") from error
    ops = list(_quantized_ops(module))
    if not ops:
        return _float(path, module, name, arguments, half)
    weights = [_unpack(op) for op in ops]
    name = name or _recognize_by_order([w[0].shape for op, w in zip(ops, weights) if op.kind == "conv"])
    arguments = {"num_classes": [w for w in weights if w][-1][0].shape[0]} | arguments
    return Scripted(name, "int8", arguments, _named(path, ops, weights, name, arguments))


def _float(path: Path, module: torch.jit.ScriptModule, name: str | None, arguments: dict, half: bool) -> Scripted:
    state = dict(module.state_dict())
    if not conv_shapes(state):
        raise ToolError(f"{path}: no quantized ops and no named float weights (frozen?): export from the checkpoint instead")
    name = name or recognize(conv_shapes(state))
    arguments = {"num_classes": classes_of(state)} | arguments
    model = build_float(name, arguments)
    model.load_state_dict(state)
    return Scripted(name, "f32", arguments, float_tensors(model, half))


def _named(path: Path, ops: list[_Op], weights: list, name: str, arguments: dict[str, Any]) -> Tensors:
    places = _execution_order(build_converted(name, arguments))
    if [op.kind for op in ops] != [kind for _, kind, _ in places]:
        raise ToolError(f"{path}: {len(ops)} quantized ops whose kinds do not follow {name}'s {len(places)}")
    tensors: Tensors = {}
    for (place, _, shape), op, unpacked in zip(places, ops, weights):
        if unpacked:
            if tuple(unpacked[0].shape) != shape:
                raise ToolError(f"{path}: {place}.weight is {tuple(unpacked[0].shape)}, expected {shape}")
            add_weights(tensors, place, *unpacked)
        add_quant(tensors, place, op.scale, op.zero_point)
    return tensors


def _execution_order(model: nn.Module) -> list[tuple[str, str, tuple[int, ...] | None]]:
    """Path, kind and weight shape of each quantized module in the order in which a run calls them."""
    order: list[tuple[str, str, tuple[int, ...] | None]] = []
    kinds = {nnq.Quantize: "quantize", nnq.Conv2d: "conv", nnq.Linear: "linear", nnq.Hardswish: "hardswish"}

    def note(path: str, kind: str, module: nn.Module) -> None:
        order.append((path, kind, tuple(module.weight().shape) if kind in ("conv", "linear") else None))

    for path, module in model.named_modules():
        kind = next((kind for cls, kind in kinds.items() if isinstance(module, cls)), None)
        if kind:
            module.register_forward_hook(lambda m, _i, _o, path=path, kind=kind: note(path, kind, m))
        elif isinstance(module, nnq.QFunctional):
            # A functional's methods are called directly; each hands its result to this submodule.
            module.activation_post_process.register_forward_hook(
                lambda m, _i, _o, path=path: note(path, "functional", m)
            )
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    return order


def _quantized_ops(module: torch.jit.ScriptModule) -> Iterator[_Op]:
    graph = module.forward.graph.copy()
    torch._C._jit_pass_inline(graph)
    for node in _nodes(module, graph):
        if node.kind() in _OPS:
            kind, scale, zero_point = _OPS[node.kind()]
            inputs = list(node.inputs())
            packed = _value(module, inputs[1]) if kind in ("conv", "linear") else None
            yield _Op(kind, packed, float(_value(module, inputs[scale])), int(_value(module, inputs[zero_point])))


def _nodes(module: torch.jit.ScriptModule, block: Any) -> Iterator[Any]:
    """All nodes in order; of an `if` on the module's own attributes (a block with or without residual) the taken branch."""
    for node in block.nodes():
        yield node
        branches = list(node.blocks())
        if node.kind() == "prim::If":
            try:
                branches = [branches[0 if _value(module, next(node.inputs())) else 1]]
            except ToolError:
                pass  # depends on the input, as checks of its shape do: no quantized op is in there
        for inner in branches:
            yield from _nodes(module, inner)


def _value(module: torch.jit.ScriptModule, value: Any) -> Any:
    """What a graph value is before any input is known: a constant, or an attribute reached from the module."""
    node = value.node()
    if node.kind() == "prim::Constant":
        return value.toIValue()
    if node.kind() == "prim::GetAttr":
        return getattr(_value(module, next(node.inputs())), node.s("name"))
    if node.kind() == "prim::Param":
        return module
    if node.kind() in ("aten::item", "aten::Int", "aten::Float", "aten::FloatImplicit", "aten::IntImplicit"):
        return _value(module, next(node.inputs()))
    if node.kind() in _COMPARISONS:
        return _COMPARISONS[node.kind()](*(_value(module, operand) for operand in node.inputs()))
    raise ToolError(f"cannot tell a scale or weight from the graph: it comes from {node.kind()}")


def _unpack(op: _Op) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    if op.kind == "conv":
        return torch.ops.quantized.conv2d_unpack(op.packed)
    if op.kind == "linear":
        return torch.ops.quantized.linear_unpack(op.packed)
    return None


def _recognize_by_order(shapes: list[torch.Size]) -> str:
    found = [tuple(shape) for shape in shapes]
    for name in NETWORKS:
        if sorted(known_shapes(name).values()) == sorted(found):
            return name
    raise ToolError("the convolutions' shapes fit no known network: say which with --network and --arguments")
