"""PyTorch against TensorRT: builds an engine of each variant, so it takes a GPU, TensorRT, the plugin and a while."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.backends.tensorrt.gpu import current_gpu
from runtime.backends.tensorrt.plugin import find_plugin
from runtime.backends.tensorrt.versions import import_tensorrt, rules_of
from runtime.bundle import open_bundle
from runtime.errors import UserError
from runtime.parity.budgets import PASSED
from runtime.parity.compare import Request, compare
from training.network.variants import VARIANTS

pytestmark = pytest.mark.usefixtures("brief_timing")

PROJECT_ROOT = Path(__file__).parents[2]


def missing():
    """Say what TensorRT lacks here, or nothing."""
    try:
        version = import_tensorrt().__version__
        current_gpu()
        find_plugin(rules_of(version).major, None, PROJECT_ROOT)
    except UserError as error:
        return str(error)
    return ""


needs_tensorrt = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.mark.tensorrt
@pytest.mark.slow
@needs_tensorrt
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_variant_is_within_its_budget(random_bundle, tmp_path, name):
    bundle = open_bundle(shutil.copytree(random_bundle(name).folder, tmp_path / name))  # engines will lie in it
    for precision in bundle.precisions:
        subprocess.run(
            [sys.executable, "-m", "runtime", "build", str(bundle.folder), "--precision", precision],
            cwd=PROJECT_ROOT,
            check=True,
        )
    report = compare(bundle, Request(backends=("torch", "tensorrt"), precisions=bundle.precisions, scenes=2))
    assert {comparison.name.precision for comparison in report.comparisons} == set(bundle.precisions)
    for comparison in report.comparisons:
        assert (comparison.status, comparison.reason) == (PASSED, "")
        assert comparison.measured.speed.network.percentiles.p50_ms > 0


@pytest.mark.slow
@pytest.mark.skipif(not missing(), reason="TensorRT is here, so nothing is skipped")
def test_require_gpu_turns_skips_into_failures():
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-m", "tensorrt", "-k", "tiny"]
    skipped = subprocess.run(words, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    required = subprocess.run([*words, "--require-gpu"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert (skipped.returncode, "1 skipped" in skipped.stdout) == (0, True)
    assert required.returncode == 1
    assert "--require-gpu was given, but: " in required.stdout
