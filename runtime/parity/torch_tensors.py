"""What the modules of the PyTorch reference compute, out of ``model.pt2``."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.parity.onnx_tensors import LOGITS

if TYPE_CHECKING:
    from torch.fx import Graph, Node


class TorchTensors:
    """Runs one image, uint8 [1, H, W, 3], through the reference and catches what its modules return.

    A BatchNorm right after a convolution counts as part of it. Raises UserError where torch is not installed.
    """

    def __init__(self, bundle: Bundle, image_nhwc: np.ndarray) -> None:
        try:
            import torch
        except ImportError:
            raise UserError("looking into the reference needs PyTorch, which is not installed.") from None
        self._network = torch.export.load(bundle.torch_reference).module()
        self._ends = _ends(self._network.graph)
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (bundle.info.mean, bundle.info.std))
        self._x_nchw = (torch.from_numpy(image_nhwc).permute(0, 3, 1, 2).contiguous().float() / 255 - mean) / std

    @property
    def modules(self) -> list[str]:
        """All modules, in the order in which they finish; LOGITS is the whole network."""
        return list(self._ends)

    def run(self, modules: Collection[str]) -> dict[str, np.ndarray]:
        """Return the outputs of these modules, float32."""
        import torch

        wanted = {self._ends[module] for module in modules}  # one node may end several modules
        caught: dict[Node, np.ndarray] = {}

        class Catcher(torch.fx.Interpreter):
            def run_node(self, n: Node) -> Any:
                value = super().run_node(n)
                if n in wanted:
                    caught[n] = value.numpy().copy()  # the activation that follows may work in place
                return value

        with torch.inference_mode():
            Catcher(self._network).run(self._x_nchw)
        return {module: caught[self._ends[module]] for module in modules}


def _ends(graph: Graph) -> dict[str, Node]:
    """The node whose value each module returns, in the graph's order."""
    import torch

    order = {node: position for position, node in enumerate(graph.nodes)}
    last = {
        path: node
        for node in graph.nodes
        if node.op == "call_function"
        for path, _ in node.meta.get("nn_module_stack", {}).values()
    }
    ends = {path: _with_batchnorm(node, torch.ops.aten) for path, node in last.items()}
    (ends[LOGITS],) = graph.output_node().all_input_nodes
    return dict(sorted(ends.items(), key=lambda end: order[end[1]]))


def _with_batchnorm(node: Node, aten: Any) -> Node:
    users = list(node.users)
    if node.target == aten.conv2d.default and len(users) == 1 and users[0].target == aten.batch_norm.default:
        return users[0]
    return node
