"""The driver's functions, called in a small library that answers like it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from runtime.backends.tensorrt.gpu import Gpu, current_gpu
from runtime.errors import UserError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")

DRIVER = r"""
#include <string.h>
static int started;
int cuInit(unsigned flags) { started = flags == 0; return INIT_ERROR; }
int cuDeviceGet(int* device, int ordinal) { *device = 40 + ordinal; return started && ordinal == 0 ? 0 : 101; }
int cuDeviceGetName(char* name, int length, int device) {
    strncpy(name, "Orin", length);
    return device == 40 ? 0 : 101;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
    return device == 40 ? 0 : 101;
}
int cuGetErrorString(int error, const char** text) {
    *text = error == 100 ? "no CUDA-capable device is detected" : 0;
    return 0;
}
"""


@pytest.fixture
def build_driver(tmp_path):
    def build(init_error):
        (tmp_path / "driver.c").write_text(DRIVER)
        library = tmp_path / f"libcuda{init_error}.so"
        define = f"-DINIT_ERROR={init_error}"
        subprocess.run(["cc", "-shared", "-fPIC", define, tmp_path / "driver.c", "-o", library], check=True)
        return str(library)

    return build


def test_the_first_gpu_is_named(build_driver):
    assert current_gpu(build_driver(0)) == Gpu("Orin", "8.7")


def test_a_missing_driver_is_a_clear_message():
    with pytest.raises(UserError, match=r"there is no NVIDIA driver: libno-such-driver\.so.*nvidia-smi"):
        current_gpu("libno-such-driver.so")


@pytest.mark.parametrize(("error", "reason"), [(100, "no CUDA-capable device is detected"), (803, "no reason given")])
def test_a_driver_without_a_gpu_is_a_clear_message(build_driver, error, reason):
    with pytest.raises(UserError, match=rf"no usable GPU: {reason} \(CUDA error {error}\)"):
        current_gpu(build_driver(error))
