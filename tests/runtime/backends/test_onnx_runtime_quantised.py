import numpy as np
import onnx

from runtime.backends.onnx_runtime import _open_session, _session_options

CONV = """
<ir_version: 10, opset_import: ["": 19]>
small (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)
<float one = {1}, float tenth = {0.1}, int8 zero = {0}, float[1] ones = {1}, int8[1] zeros = {0},
 float[1, 1, 1, 1] weight = {2}, float[1] bias = {0.3}> {
    x_quantised = QuantizeLinear(x, one, zero)
    x_dequantised = DequantizeLinear(x_quantised, one, zero)
    weight_quantised = QuantizeLinear<axis = 0>(weight, ones, zeros)
    weight_dequantised = DequantizeLinear<axis = 0>(weight_quantised, ones, zeros)
    convolved = Conv(x_dequantised, weight_dequantised, bias)
    activated = Relu(convolved)
    y_quantised = QuantizeLinear(activated, tenth, zero)
    y = DequantizeLinear(y_quantised, tenth, zero)
}
"""


def test_the_bias_of_a_quantised_convolution_stays_a_float(tmp_path):
    """An INT32 bias, in steps of the scales' product, here 1, would be 0."""
    onnx.save(onnx.parser.parse_model(CONV), tmp_path / "small.onnx")
    x = np.array([[[[0, 1], [2, 3]]]], np.float32)
    (y,) = _open_session(tmp_path / "small.onnx", _session_options(1), grouped=False).run(None, {"x": x})
    np.testing.assert_allclose(y, 2 * x + 0.3, rtol=1e-6)  # whole tenths, in float32
