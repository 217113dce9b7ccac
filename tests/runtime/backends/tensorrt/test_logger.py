from __future__ import annotations

import gc

import pytest

from runtime.backends.tensorrt.logger import failure, likely_cause, logger_of, make
from runtime.errors import UserError
from tests.runtime.backends.tensorrt.tensorrt_double import make_tensorrt

# Messages as TensorRT, CUDA and our plugin write them, and a word of the answer.
MESSAGES = [
    ("[virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (Requested size was 2097152)", "memory"),
    ("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)", "--workspace-mib"),
    ("CUDA initialization failure with error: 35. Please check your CUDA installation", "driver"),
    ("Error Code 1: Cuda Runtime (CUDA driver version is insufficient for CUDA runtime version)", "driver"),
    ("Plugin not found, are the plugin name, version, and namespace correct?", "scripts/build_plugin.sh"),
    ("No importer registered for op: DPWConv. Attempting to import as plugin.", "scripts/build_plugin.sh"),
    ("DPWConv: the field kernel_shape is missing", "scripts/export.sh"),
    ("DPWInvertedResidualLevel: P is not half as large as S", "scripts/export.sh"),
    ("LabelHead: 300 classes are more than 256", "scripts/export.sh"),
    ("DPWConv: the launch failed: no kernel image is available for execution on the device", "this GPU"),
    ("Error Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed. Version tag "
     "does not match. Note: Current Version: 239, Serialized Engine Version: 236)", "another version of TensorRT"),
    ("The engine plan file is generated on an incompatible device, expecting compute 8.7 got compute 8.6",
     "another GPU"),
    ("Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed. Magic tag does not "
     "match)", "broken"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "word"), MESSAGES)
def test_known_messages_have_a_cause_and_a_remedy(message: str, word: str):
    assert word in likely_cause(["something general", message])


def test_an_unknown_message_gets_no_guess():
    assert likely_cause(["[shapeMachine.cpp] condition '==' violated"]) == ""


def test_a_failure_shows_the_last_errors_on_one_line_each():
    errors = ["first", "second\n  goes on", "x" * 400, "fourth: Cuda Runtime (out of memory)"]
    message = str(failure("It did not build", errors, "Try again."))
    assert message.startswith("It did not build. TensorRT says: second goes on / " + "x" * 297 + "... / fourth")
    assert message.endswith("Try again.")
    assert "--batch" in message


def test_errors_and_warnings_are_taken_once_and_told_once():
    trt = make_tensorrt("10.3.0")
    logger = logger_of(trt)
    assert logger_of(trt) is logger  # TensorRT keeps the first it is given
    for text in ("a", "b", "a"):
        logger.log(trt.ILogger.Severity.ERROR, text)
    logger.log(trt.ILogger.Severity.WARNING, "w")
    logger.log(trt.ILogger.Severity.INFO, "i")
    assert (logger.take_errors(), logger.take_warnings()) == (["a", "b"], ["w"])
    assert (logger.take_errors(), logger.take_warnings()) == ([], [])


def test_an_object_that_comes_with_errors_is_neither_used_nor_deleted():
    """TensorRT 10.16 and 11.1 give such a Runtime without a driver, and crash when it is deleted."""
    trt = make_tensorrt("10.16.1.11")
    logger = logger_of(trt)
    deleted = []

    class Crashing:
        def __init__(self, logger):
            logger.log(trt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")

        def __del__(self):
            deleted.append(self)

    with pytest.raises(UserError, match=r"TensorRT cannot start\. TensorRT says: CUDA initialization failure"):
        make(Crashing, logger)
    gc.collect()
    assert deleted == []
