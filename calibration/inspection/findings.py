"""What an inspection can find: faults, which break a rule of TensorRT's, and notes, which cost or risk something."""

from __future__ import annotations

from dataclasses import dataclass

_AGAIN = "Export again with scripts/export.sh. In a file from elsewhere: "


@dataclass(frozen=True)
class Kind:
    """One rule: what it means to TensorRT not to keep it, and what to do."""

    title: str
    fault: bool
    why: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """A place where a rule is not kept. ``where`` is a layer, by its module, or other node. ``detail`` may be empty."""

    kind: Kind
    where: str
    detail: str = ""


MISSING_SKIP = Kind(
    "residual Add without a quantised skip",
    True,
    "TensorRT computes an INT8 convolution and the Add after it in one kernel only if the Add's other input is INT8 "
    "too. Else the convolution writes floats, and the Add is a pass of its own over the map.",
    _AGAIN + "put Q/DQ on the Add's other input.",
)
BOTH_INPUTS = Kind(
    "residual Add with both inputs quantised",
    True,
    "Q/DQ between a convolution and its Add keeps TensorRT from computing them in one kernel, and rounds once more.",
    _AGAIN + "take away the Q/DQ between the convolution and the Add, and leave that on the skip.",
)
PER_TENSOR = Kind(
    "weights not quantised per output channel",
    True,
    "One scale for all output channels costs accuracy, most in depthwise convolutions, and no time is won by it; along "
    "another axis than the output channels TensorRT has no INT8 kernel.",
    _AGAIN + "give the weights' Q/DQ one scale per output channel.",
)
ASYMMETRIC = Kind(
    "asymmetric quantisation",
    True,
    "TensorRT's INT8 is symmetric: signed, with zero point 0. Its parser refuses other zero points and unsigned types.",
    _AGAIN + "quantise with symmetric activations and weights, to int8.",
)
STRANDED = Kind(
    "INT8 tensor into an operator that is not INT8",
    True,
    "No kernel takes such a Q/DQ in, so that TensorRT quantises and dequantises in passes of their own: the rounding "
    "costs accuracy and wins no time. The plugin's operators (DPW..., LabelHead) have no INT8 kernel.",
    _AGAIN + "let this operator read the float tensor in front of the Q.",
)
TWICE = Kind(
    "tensor quantised twice in a row",
    True,
    "The second Q/DQ rounds again what the first has rounded, and TensorRT takes only one of them into a kernel.",
    _AGAIN + "take one of the two pairs away.",
)
LOOSE_END = Kind(
    "Q or DQ with a loose end",
    True,
    "A DQ that nothing reads is work for nothing, and TensorRT may refuse INT8 where no DQ reads it.",
    _AGAIN + "take it away, or complete the pair.",
)
HALF = Kind(
    "layer with only one of input and weight quantised",
    True,
    "TensorRT has an INT8 kernel for a layer only if both are quantised. So this one runs in float, after a Q/DQ that "
    "costs time and accuracy.",
    _AGAIN + "quantise both, or neither.",
)
QUANTISED_BIAS = Kind(
    "bias behind a DQ",
    True,
    "TensorRT wants a convolution's bias as a float constant, and adds it to the INT32 sums itself.",
    _AGAIN + "quantise without the biases (ONNX Runtime: QuantizeBias=False).",
)
UNTIED = Kind(
    "different scales where values are only moved",
    True,
    "Concat, Slice, MaxPool and their like move INT8 values only if the scales before and after are equal. Else "
    "TensorRT moves floats there, or converts from one scale to the other.",
    _AGAIN + "give these tensors one scale, the largest of them.",
)
BAD_SCALE = Kind(
    "scale that cannot be used",
    True,
    "A scale must be a constant, positive and finite, and the same in the Q and DQ of a pair. Else the layer's values "
    "are wrong or not numbers, or the parser refuses the file.",
    _AGAIN + "calibrate on images with some variety, and keep scales as positive constants.",
)
STRAY_CAST = Kind(
    "stray cast",
    True,
    "A conversion that serves no computation in the other type is a pass over the tensor, and stands between layers "
    "that TensorRT would fuse.",
    _AGAIN + "take the casts away and type the tensors between them alike.",
)

MAY_NOT_FUSE = Kind(
    "INT8 convolution that its residual Add does not join",
    False,
    "Others read the convolution's result too, so it must be written, and the Add is a pass of its own.",
    "Nothing: the network is made so.",
)
ALSO_FLOAT = Kind(
    "tensor read both in INT8 and in float",
    False,
    "Its maker writes it in float for those readers, so the Q is a pass of its own and not that kernel's last step.",
    "Nothing, where the float reader cannot be INT8. If the layers behind the Q are small, leave them in float.",
)
DEPTHWISE = Kind(
    "depthwise convolution in INT8",
    False,
    "It is bound by memory, not arithmetic, so INT8 wins little, and TensorRT may have no kernel. Its issue 3385 "
    "reports no implementation for DQ, depthwise, SiLU, Q on AGX Orin with TensorRT 8.5.2, where ReLU in place of SiLU "
    "builds; issue 4060 reports none for another network with 8.6.",
    "Take these layers off the recipe, unless the build succeeds and the engine is faster than with them in FP16.",
)
# IConvolutionLayer::setNbGroups, in NvInfer.h of TensorRT 5 to 10.
ODD_GROUPS = Kind(
    "grouped convolution in INT8 whose groups are not multiples of 4 channels",
    False,
    "TensorRT's documentation wants input and output channels per group to be multiples of 4 in INT8. The build may "
    "fail, or split the convolution into one for each group, which is slower than FP16.",
    "If the build fails or is slower than FP16, take these layers off the recipe.",
)
TINY_MAP = Kind(
    "INT8 on a map of one pixel",
    False,
    "It has hardly any multiply-accumulates to speed up, while its Q is one more kernel to launch.",
    "Take these layers off the recipe.",
)
FLOAT_CARRIER = Kind(
    "INT8 among FP32",
    False,
    "What is not INT8 runs in FP32. With much of the network there the file can be slower than one in FP16.",
    "Use the INT8 file that scripts/export.sh writes: all else in it is FP16.",
)
FP32_ISLAND = Kind(
    "kept in FP32 among FP16",
    False,
    "Where calibration measured values beyond FP16's range the operators around them stay FP32, between casts.",
    "Nothing, if they are few. If they are many: calibrate on images like the real ones, train with weight decay.",
)
SUBNORMAL = Kind(
    "FP16 scale below FP16's normal numbers",
    False,
    "Below 6.1e-5 an FP16 number has fewer significant bits, and hardware that flushes such numbers takes it for zero.",
    _AGAIN + "raise it to 6.1e-5.",
)
