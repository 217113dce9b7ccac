from dataclasses import replace

import pytest

from runtime.errors import UserError
from tests.training.official.published import NETWORKS
from tests.training.official.published_files import arch_text
from training.network.variants import VARIANTS
from training.official.architecture import compare_architecture, parse_architecture

M = VARIANTS["cityscapes-m"]
LAYOUTS = {"v0_1": "v0_1", "v1_0": "v1_0", "unify": "v1_0_unify"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_calls_agree_with_our_variants(name):
    arch = parse_architecture(arch_text(NETWORKS[name]))
    sentences = compare_architecture(arch, VARIANTS[name], LAYOUTS[NETWORKS[name].generation])
    assert sentences[1:] == ["the tensors agree with arch"]


def test_a_call_is_read():
    arch = parse_architecture("a.b.f('efficientnet-b1',pretrained=True,levels=2,scale=(1,-.5),other=torch.nn.ReLU)")
    assert (arch.function, arch.trunk) == ("a.b.f", "efficientnet-b1")
    assert arch.arguments == {"pretrained": True, "levels": 2, "scale": (1, -0.5)}
    assert arch.unread == ("other",)


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (None, "no arch text"),
        ("", "no Python expression"),
        ("HyperSeg(", "no Python expression"),
        ("f(\0)", "no Python expression"),
        ("import os", "no Python expression"),
        ("(" * 5000 + ")" * 5000, "no Python expression"),
        ("-" * 15_000 + "1", "arch is no"),
        ("a" + ".a" * 950 + "()", "arch is no"),
        ("a" + ".a" * 9000 + "()", "arch is no"),
        ("'text'", "no plain call"),
        ("(lambda: 1)()", "no plain call"),
        ("f(" + "1," * 20_000 + ")", "characters long"),
    ],
    ids=range(12),
)
def test_what_is_no_call_is_said_and_left_to_the_tensors(arch, reason):
    (sentence,) = compare_architecture(parse_architecture(arch), M, "v1_0")
    assert reason in sentence
    assert sentence.endswith("the tensors alone say what the network is")


@pytest.mark.parametrize(
    "arch",
    [
        "__import__('os').system('touch hacked')",
        "f(__import__('os').system('touch hacked'))",
        "f('efficientnet-b1',levels=__import__('os').system('touch hacked'))",
        "f('efficientnet-b1',**{'levels':__import__('os').system('touch hacked')})",
        "f(levels=[x for x in [__import__('os').system('touch hacked')]])",
        "open('hacked','w').close()",
    ],
)
def test_arch_is_never_evaluated(arch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parsed = parse_architecture(arch)
    sentences = compare_architecture(parsed, M, "v1_0")
    assert sentences
    assert list(tmp_path.iterdir()) == []
    assert isinstance(parsed, str) or parsed.arguments == {}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("num_classes=19", "num_classes=12", "arch says num_classes=12, the tensors 19: the tensors count"),
        ("(1.0,", "(0.25,", "arch says out_feat_scale=(0.25, 0.25, 0.25, 0.25, 0.25), the tensors (1, 0.25"),
        ("[64,32,16,16,16]", "[64,32,16,8,16]", "arch says level_channels=[64, 32, 16, 8, 16]"),
        ("weight_groups=[32,16,8,16,4]", "weight_groups=[]", "arch says weight_groups=[]"),
        ("levels=2", "levels=2,unify_level=4", "arch says unify_level=4, the tensors None"),
        ("levels=2", "levels='2'", "arch says levels='2', the tensors 2"),
        ("levels=2", "levels=2,colour='red',size=f()", "does not know, and left aside: colour, size"),
        ("efficientnet-b1", "efficientnet-b3", "the tensors have the trunk efficientnet-b1, whatever arch says"),
        ("hyperseg_v1_0", "hyperseg_v0_1", "the tensors are laid out as by hyperseg_v1_0, whatever arch says"),
        ("kernel_sizes=[1,1,1,3,3]", "kernel_sizes=3", "arch says kernel_sizes=3"),
    ],
)
def test_a_contradiction_is_said(old, new, sentence):
    text = arch_text(NETWORKS["cityscapes-m"])
    assert text.count(old) == 1
    sentences = compare_architecture(parse_architecture(text.replace(old, new)), M, "v1_0")
    assert len(sentences) == 2
    assert sentence in sentences[1]


def test_a_reduced_stride_2_map_that_arch_says_too_is_no_contradiction():
    text = arch_text(replace(NETWORKS["cityscapes-m"], skip_scales=(0.25,) * 5)).replace(
        "(0.25,0.25,0.25,0.25,0.25)", "0.25"
    )
    sentences = compare_architecture(parse_architecture(text), replace(M, reduction=(0.25,) * 5), "v1_0")
    assert sentences[1:] == ["the tensors agree with arch"]


def test_another_network_with_the_same_tensors_is_refused():
    text = arch_text(NETWORKS["voc-l"]).replace("levels=3", "levels=3,avg_pool=False")
    with pytest.raises(UserError, match="avg_pool=False"):
        compare_architecture(parse_architecture(text), VARIANTS["voc-l"], "v0_1")
