"""Every ablation is a network like the others: it trains and it exports."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.fuse import fuse
from export.graph import onnx_from_model
from export.operators import attach_functions
from tests.export.parsers import assert_tensorrt_reads
from training import HyperSeg
from training.losses import cross_entropy
from training.network.model import normalise
from training.network.variants import ABLATIONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_trains_a_few_steps_and_exports(name):
    config = ABLATIONS[name]
    height = config.size_multiple  # 16 patches a side need 512 pixels
    size = (height, 2 * height if config.generation == "v1" else height)
    torch.manual_seed(0)
    model = HyperSeg(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    labels = torch.randint(0, config.num_classes, (2, *size))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(2):
        optimizer.zero_grad()
        loss = cross_entropy(model(normalise(images, config)), labels)
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    unmoved = [
        path
        for (path, parameter), old in zip(model.named_parameters(), before, strict=True)
        if torch.equal(parameter, old)
    ]
    assert not unmoved
    model.eval()
    folded, _ = drop_dead_paths(fold_batchnorm(model))
    graph = fuse(onnx_from_model(folded, info_from_config(config, *size), logits=True))
    assert Counter(node.op_type for node in graph.graph.node if node.domain == "hyperseg") == operators_of(folded)
    assert_tensorrt_reads(graph)
    session = onnxruntime.InferenceSession(attach_functions(graph).SerializeToString())
    labels, logits = session.run(None, {"image": images.permute(0, 2, 3, 1).numpy()})
    with torch.inference_mode():
        expected = model(normalise(images, config)).numpy()
    # Two float32 orders of summation through a deep network: the mean difference is far below the logits' scale.
    assert np.abs(logits - expected).mean() < 1e-4 * expected.std()
    assert (labels == expected.argmax(1)).mean() > 0.999


def operators_of(model):
    """Count from the network's plan what its levels become: all but the first read a level before them."""
    found = Counter({"LabelHead": 1})
    for index, level in enumerate(model.decoder.plan.levels if model.config.dynamic else []):
        three_nodes = level.hidden_channels is not None and model.config.generation != "v1"
        one_node = level.hidden_channels is not None and not three_nodes
        found[f"{'DPWInvertedResidual' if one_node else 'DPWConv'}{'Level' if index else ''}"] += 1
        found["DPWConv"] += 2 * three_nodes
    return found


@pytest.mark.parametrize("name", ["cityscapes-m-pspnet18", "cityscapes-m-regular", "cityscapes-m-no-positions"])
def test_folded_equals_unfolded(random_model, name):
    model = random_model(name).double()
    images = torch.randn(2, 3, 64, 128, dtype=torch.double)
    with torch.no_grad():
        logits = model(images)
        difference = (fold_batchnorm(model)(images) - logits).abs().max() / logits.abs().max()
    assert difference < 1e-9  # float64: round-off is about 1e-15


def test_a_grid_gives_each_patch_the_average_of_its_signal():
    """Equal to a network whose signal is constant within each patch of the grid."""
    torch.manual_seed(0)
    coarse = HyperSeg(ABLATIONS["voc-l-grid-4"]).double().eval()
    whole = HyperSeg(replace(coarse.config, grid=None)).double().eval()
    whole.load_state_dict(coarse.state_dict())
    skips = [torch.randn(1, 96, 8, 8), torch.randn(1, 34, 16, 16)]
    signal = torch.randn(1, 1536, 8, 8, dtype=torch.double)
    average = signal.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    spread = average.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for decoder in (coarse.decoder, whole.decoder):
        decoder.levels = decoder.levels[:2]  # point-wise: patches do not see each other
        decoder.plan = replace(decoder.plan, levels=decoder.plan.levels[:2])
    maps = [skip.double() for skip in skips]
    with torch.no_grad():
        difference = (coarse.decoder(maps, signal) - whole.decoder(maps, spread)).abs().max()
    assert difference < 1e-12
