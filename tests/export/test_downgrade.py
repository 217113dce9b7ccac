import numpy as np
import onnxruntime
import pytest
from onnx import version_converter

from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.downgrade import downgrade
from export.fold import fold_batchnorm
from export.graph import OPSET, onnx_from_model
from export.operators import attach_functions


@pytest.fixture(scope="module")
def bare(random_model):
    model = random_model("street-tiny")
    folded, _ = drop_dead_paths(fold_batchnorm(model))
    return onnx_from_model(folded, info_from_config(model.config, 64, 128))


def run(model, image):
    session = onnxruntime.InferenceSession(attach_functions(model).SerializeToString())
    return session.run(["labels"], {"image": image})[0]


@pytest.mark.parametrize("batch", [1, 3])
def test_the_older_forms_compute_the_same(bare, batch):
    older = downgrade(bare)
    image = np.random.default_rng(0).integers(0, 256, (batch, 64, 128, 3), np.uint8)
    # The bodies of our operators need the later opset: ONNX's own converter brings the model back there.
    np.testing.assert_array_equal(run(version_converter.convert_version(older, OPSET), image), run(bare, image))


def test_the_model_itself_stays_as_it_is(bare):
    before = bare.SerializeToString(deterministic=True)
    downgrade(bare)
    assert bare.SerializeToString(deterministic=True) == before


def test_constants_that_nothing_reads_any_more_are_gone(bare):
    graph = downgrade(bare).graph
    assert {constant.name for constant in graph.initializer} <= {name for node in graph.node for name in node.input}


def test_what_the_older_form_cannot_say_is_refused(bare):
    (*_, resize) = (node for node in bare.graph.node if node.op_type == "Resize")
    (antialias,) = (attribute for attribute in resize.attribute if attribute.name == "antialias")
    antialias.i = 1
    with pytest.raises(ValueError, match="antialias = 1"):
        downgrade(bare)
    antialias.i = 0
