from __future__ import annotations

import sys
from types import ModuleType

import pytest

from runtime.backends.tensorrt.versions import (
    check_aot_plugins,
    compare_versions,
    finds_domains,
    import_tensorrt,
    parse_version,
    rules_of,
)
from runtime.errors import UserError


def test_versions_compare_by_number_not_by_letter():
    ordered = ["8.6.1", "10.3.0", "10.9", "10.13.2", "10.16.1.11", "11.1.0.106"]
    assert sorted(ordered) != ordered  # what a comparison of texts makes of them
    for index, version in enumerate(ordered):
        for other_index, other in enumerate(ordered):
            assert compare_versions(version, other) == (index > other_index) - (index < other_index)
    assert compare_versions("10.3", "10.3.0") == 0


def test_a_version_ends_where_its_numbers_end():
    assert parse_version("10.3.0.post12.dev1") == (10, 3, 0)
    with pytest.raises(ValueError, match="'trt' is no version"):
        parse_version("trt")


@pytest.mark.parametrize(
    ("version", "network_flags", "features", "int8_flags", "monitor"),
    [
        ("8.6.1.6", ("EXPLICIT_BATCH",), ("PROFILE_SHARING_0806",), ("FP16", "INT8"), False),
        ("10.3.0", ("STRONGLY_TYPED",), (), (), True),
        ("10.16.1.11", ("STRONGLY_TYPED",), (), (), True),
        ("11.1.0.106", (), (), (), True),
    ],
)
def test_each_major_version_has_its_rules(version, network_flags, features, int8_flags, monitor):
    rules = rules_of(version)
    assert (rules.network_flags, rules.preview_features) == (network_flags, features)
    assert rules.builder_flags("int8") == int8_flags
    assert rules.has_progress_monitor is monitor
    assert rules.builder_flags("fp32") == ()
    assert rules.builder_flags("fp16") == int8_flags[:1]


@pytest.mark.parametrize("version", ["7.2.3", "8.5.2", "9.3.0", "12.0.0"])
def test_unknown_versions_are_refused(version):
    with pytest.raises(UserError, match=rf"{version} is not served, only 8\.6, 10 and 11"):
        rules_of(version)


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.8.0.43"])
def test_before_10_9_no_engine_holds_kernels(version):
    with pytest.raises(UserError, match=rf"TensorRT {version} cannot keep kernels in an engine.*10\.9"):
        check_aot_plugins(version)


@pytest.mark.parametrize(("version", "finds"), [("10.9.0.34", False), ("10.10.0", True), ("11.1.0.106", True)])
def test_from_10_10_on_a_plugin_is_found_by_its_nodes_domain(version, finds):
    check_aot_plugins(version)
    assert finds_domains(version) is finds


def test_a_missing_package_says_where_it_comes_from(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UserError, match=r"not installed.*JetPack.*--system-site-packages.*pip install tensorrt"):
        import_tensorrt()


def test_a_package_without_its_libraries_is_told_apart_from_a_missing_one(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(UserError, match=r"does not load: libnvinfer\.so\.10"):
        import_tensorrt()


def test_a_version_that_is_not_served_is_refused_at_once(monkeypatch):
    trt = ModuleType("tensorrt")
    trt.__version__ = "9.1"
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    with pytest.raises(UserError, match=r"9\.1 is not served"):
        import_tensorrt()
