"""A function of tensors as the list of ATen operations that it asks for, derivatives taken inside it included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx


class Untraceable(RuntimeError):
    """A function cannot be recorded as a fixed list of operations of its inputs."""


def recorded_operations(function: Callable[..., Any], *inputs: Any) -> GraphModule:
    """A function of tensors as the ATen operations it asked for on these inputs, derivatives included.

    Untraceable when it draws random numbers or the values of its inputs decide shapes; reading a value on the host raises a
    RuntimeError of torch. In-place changes of the inputs are recorded as such.
    """
    record = make_fx(function)(*inputs)
    for node in record.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise Untraceable(f"it draws random numbers, {node.target}")
        by_number = node.target is torch.ops.aten.index.Tensor and not any(
            x.meta["val"].dtype in (torch.bool, torch.uint8) for x in node.args[1] if x is not None
        )
        if {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(tags) and not by_number:
            raise Untraceable(f"values decide shapes, {node.target}")
    _fold_constants(record)
    for node in record.graph.nodes:
        if node.target is torch.ops.aten.detach.default:  # replayed without autograd there is nothing to detach from
            node.replace_all_uses_with(node.args[0])
    record.graph.eliminate_dead_code()
    record.recompile()
    return record


def _fold_constants(record: GraphModule) -> None:
    """Evaluate once what depends on constants alone, such as their way to the device; a captured step could not copy them."""
    changing = _changed_in_place(record)
    values: dict[Node, Tensor] = {}
    for node in record.graph.nodes:
        if node.op == "get_attr" and torch.is_tensor(value := getattr(record, str(node.target), None)):
            values[node] = value
        inputs = node.all_input_nodes
        if node.op == "call_function" and inputs and all(n in values for n in inputs) and not {node, *inputs} & changing:
            made = node.target(*torch.fx.node.map_arg(node.args, values.__getitem__), **node.kwargs)
            if not torch.is_tensor(made):
                continue
            values[node] = made
            name = f"_folded_{len(values)}"
            record.register_buffer(name, made)
            with record.graph.inserting_before(node):
                node.replace_all_uses_with(record.graph.get_attr(name))


def _changed_in_place(record: GraphModule) -> set[Node]:
    """Nodes that an in-place operation changes, and what those are views of."""
    changing: set[Node] = set()
    for node in record.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        target = node.args[0] if schema is not None and schema.is_mutable and node.args else None
        while isinstance(target, Node) and target not in changing:
            changing.add(target)
            target = target.args[0] if target.args else None
    return changing
