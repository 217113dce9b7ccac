from types import SimpleNamespace

from runtime.parity.compare import _compiled_operators
from runtime.parity.names import NetworkName


def test_a_report_says_which_networks_ran_with_compiled_operators():
    fp32, fp16, torch = (
        NetworkName(*name) for name in (("onnxruntime", "fp32"), ("onnxruntime", "fp16"), ("torch", "fp32"))
    )
    networks = {
        fp32: SimpleNamespace(uses_operators=True),
        fp16: SimpleNamespace(uses_operators=False),
        torch: SimpleNamespace(uses_operators=False),
    }
    assert _compiled_operators(networks) == {"compiled operators": "in ONNX Runtime fp32"}
    assert _compiled_operators({torch: SimpleNamespace(uses_operators=False)}) == {}
