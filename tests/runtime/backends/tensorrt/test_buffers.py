import dataclasses

import numpy as np
import pytest

from runtime.backends.tensorrt.buffers import EngineTensor, Place, check_tensors, plan_buffers
from runtime.errors import UserError
from tests.runtime.tiny_models import COLOUR_INFO

IMAGE = EngineTensor("image", True, "UINT8", (-1, 32, 48, 3))
LABELS = EngineTensor("labels", False, "INT32", (-1, 32, 48))
LOGITS = EngineTensor("logits", False, "HALF", (-1, 3, 32, 48))


def test_a_desktop_gpu_has_its_own_copy():
    image, labels, logits = plan_buffers([IMAGE, LABELS, LOGITS], 4, integrated=False)
    assert (image.shape, image.dtype, image.place) == ((4, 32, 48, 3), np.uint8, Place.STAGED)
    assert (labels.shape, labels.dtype, labels.place) == ((4, 32, 48), np.int32, Place.STAGED)
    assert (logits.shape, logits.dtype, logits.place) == ((4, 3, 32, 48), np.float16, Place.DEVICE)
    assert [buffer.nbytes for buffer in (image, labels, logits)] == [4 * 32 * 48 * 3, 4 * 32 * 48 * 4, 4 * 3 * 1536 * 2]


def test_an_integrated_gpu_shares_the_hosts_memory():
    places = [buffer.place for buffer in plan_buffers([IMAGE, LABELS, LOGITS], 1, integrated=True)]
    assert places == [Place.MAPPED, Place.MAPPED, Place.DEVICE]


def test_the_batch_may_be_written_in_the_graph():
    fixed = [dataclasses.replace(tensor, shape=(1, *tensor.shape[1:])) for tensor in (IMAGE, LABELS)]
    check_tensors(fixed, COLOUR_INFO)
    assert [buffer.shape[0] for buffer in plan_buffers(fixed, 1, integrated=False)] == [1, 1]


@pytest.mark.parametrize("dtype", ["UINT8", "INT8", "INT32", "INT64"])
def test_labels_of_every_integer_type(dtype: str):
    labels = dataclasses.replace(LABELS, dtype=dtype)
    check_tensors([IMAGE, labels], COLOUR_INFO)
    assert plan_buffers([labels], 1, integrated=False)[0].dtype == np.dtype(dtype.lower())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([LABELS], r"no input image of type UINT8 and shape \['N', 32, 48, 3\]"),
        ([IMAGE, LOGITS], "no output labels of type UINT8 or INT8 or INT32 or INT64"),
        ([dataclasses.replace(IMAGE, dtype="FLOAT"), LABELS], "image is an input of type FLOAT"),
        ([IMAGE, dataclasses.replace(LABELS, shape=(-1, 64, 48))], r"labels is an output of .* \[-1, 64, 48\]"),
        ([IMAGE, dataclasses.replace(LABELS, is_input=True)], "labels is an input"),
        ([IMAGE, LABELS, dataclasses.replace(LOGITS, dtype="BF16")], "logits is an output of type BF16"),
        ([IMAGE, LABELS, dataclasses.replace(LOGITS, shape=(-1, 19, 32, 48))], r"shape \['N', 3, 32, 48\] belongs"),
        ([IMAGE, LABELS, EngineTensor("boxes", False, "FLOAT", (-1, 4))], "the tensor boxes"),
    ],
)
def test_an_engine_of_something_else(tensors: list[EngineTensor], message: str):
    with pytest.raises(UserError, match=message):
        check_tensors(tensors, COLOUR_INFO)
