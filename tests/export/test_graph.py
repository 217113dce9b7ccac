from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.bundle import info_from_config
from export.fold import fold_batchnorm
from export.graph import onnx_from_model
from export.operators import strip_functions
from runtime.bundle import ONNX_METADATA_KEY, ModelInfo
from tests.export.parsers import assert_tensorrt_reads
from training.network.model import normalise

pytestmark = pytest.mark.slow

FIVE_LEVELS = {"DPWConv": 1, "DPWConvLevel": 2, "DPWInvertedResidualLevel": 2, "LabelHead": 1}
OPERATORS = {
    "voc-l": {"DPWConv": 1 + 4 * 2, "DPWConvLevel": 5, "LabelHead": 1},
    "cityscapes-m": FIVE_LEVELS,
    "cityscapes-s": FIVE_LEVELS,
    "camvid-s": FIVE_LEVELS,
    "camvid-l": FIVE_LEVELS | {"DPWInvertedResidualLevel": 3},
    "street-tiny": FIVE_LEVELS,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_variant_runs_in_onnx_runtime_with_any_batch(random_model, random_bundle, name):
    model, bundle = random_model(name), random_bundle(name)
    config, info = model.config, bundle.info
    bare = strip_functions(onnx.load(bundle.onnx()))

    ours = Counter(node.op_type for node in bare.graph.node if node.domain == "hyperseg")
    assert ours == OPERATORS[name]
    assert "BatchNormalization" not in {node.op_type for node in bare.graph.node}
    assert {prop.key: prop.value for prop in bare.metadata_props}[ONNX_METADATA_KEY] == info.to_json()
    assert ModelInfo.from_json(info.to_json()) == info
    assert_tensorrt_reads(bare)

    session = onnxruntime.InferenceSession(bundle.onnx())
    for batch in (1, 3):
        images = np.random.default_rng(batch).integers(0, 256, (batch, info.height, info.width, 3), np.uint8)
        labels, logits = session.run(["labels", "logits"], {"image": images})
        with torch.inference_mode():
            expected = model(normalise(torch.from_numpy(images).permute(0, 3, 1, 2), config)).numpy()
        # Two float32 orders of summation through a deep network: the mean difference is far below the logits' scale.
        assert np.abs(logits - expected).mean() < 1e-4 * expected.std()
        assert labels.dtype == np.uint8
        assert labels.shape == (batch, info.height, info.width)
        assert (labels == expected.argmax(1)).mean() > 0.999


def test_labels_are_the_only_output_unless_logits_are_asked_for(random_model):
    model = random_model("street-tiny")
    bare = onnx_from_model(fold_batchnorm(model), info_from_config(model.config, 64, 128))
    assert not bare.functions
    assert [output.name for output in bare.graph.output] == ["labels"]
    (image,) = bare.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    batch, *size = image.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [dim.dim_value for dim in size] == [64, 128, 3]


def test_levels_that_share_a_mapper_read_one_weight_tensor_at_their_offsets(random_model):
    model = random_model("cityscapes-s")
    bare = onnx_from_model(fold_batchnorm(model), info_from_config(model.config, 64, 128))
    level3, level4 = [node for node in bare.graph.node if node.op_type == "DPWInvertedResidual"]
    offsets = [onnx.helper.get_node_attr_value(node, "weight_offset") for node in (level3, level4)]
    assert level3.input[1] == level4.input[1]
    assert offsets == [0, 868]
