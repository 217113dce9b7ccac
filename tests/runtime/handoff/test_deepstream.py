import argparse
import configparser
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.handoff import deepstream
from runtime.handoff.deepstream import PARSER_SOURCE, write_deepstream_config
from tests.runtime.handoff import text_proto

INFER_CONFIG = {
    "infer_config": {
        "unique_id": 1,
        "gpu_ids": [0],
        "max_batch_size": 2,
        "backend": {
            "triton": {
                "model_name": "colours",
                "version": -1,
                "model_repo": {"root": "models", "strict_model_config": "true"},
            }
        },
        "preprocess": {
            "network_format": "IMAGE_FORMAT_RGB",
            "tensor_order": "TENSOR_ORDER_NHWC",
            "tensor_name": "image",
            "maintain_aspect_ratio": 0,
            "normalize": {"scale_factor": 1.0},
        },
        "postprocess": {
            "segmentation": {
                "num_segmentation_classes": 3,
                "custom_parse_segmentation_func": "HyperSegParseLabels",
            }
        },
        "custom_lib": {"path": "models/colours/plugin/libhyperseg_deepstream.so"},
    },
    "input_control": {"process_mode": "PROCESS_MODE_FULL_FRAME", "interval": 0},
}


def write(bundle: Bundle, plugin: Path, out: Path) -> configparser.ConfigParser:
    app = configparser.ConfigParser()
    assert app.read(write_deepstream_config(bundle, "fp16", out, plugin=plugin)) == [str(out / "deepstream_app.txt")]
    return app


def test_configurations_lead_to_the_files(bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path):
    add_engine(batches=(1, 2))
    out = tmp_path / "deepstream"
    app = write(bundle, plugin, out)
    assert app["primary-gie"]["plugin-type"] == "1"
    infer = text_proto.read((out / app["primary-gie"]["config-file"]).read_text())
    assert infer == INFER_CONFIG
    for group in ("streammux", "segvisual"):
        assert (app[group]["width"], app[group]["height"]) == ("48", "32")
    model = out / infer["infer_config"]["backend"]["triton"]["model_repo"]["root"] / "colours"
    assert text_proto.read((model / "config.pbtxt").read_text())["max_batch_size"] == 2
    # The library is compiled into the folder of its two sources, beside the plugins that the loader looks for there.
    library = out / infer["infer_config"]["custom_lib"]["path"]
    assert {path.name for path in library.parent.iterdir()} == {
        "libhyperseg_plugins.so",
        "load_hyperseg.cpp",
        "parse_labels.cpp",
    }
    function = infer["infer_config"]["postprocess"]["segmentation"]["custom_parse_segmentation_func"]
    assert f'extern "C" bool {function}(' in (library.parent / "parse_labels.cpp").read_text()


def test_writing_again_keeps_what_is_not_the_command_s(
    bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path
):
    add_engine()
    out = tmp_path / "deepstream"
    write(bundle, plugin, out)
    for kept in (out / "my_app.txt", out / "models/other/config.pbtxt"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("kept")
    write(bundle, plugin, out)
    assert (out / "my_app.txt").read_text() == (out / "models/other/config.pbtxt").read_text() == "kept"


def test_another_folder_is_left_alone(bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path):
    add_engine()
    photo = tmp_path / "photos/holiday.jpg"
    photo.parent.mkdir()
    photo.touch()
    with pytest.raises(UserError, match="was not written by this command"):
        write_deepstream_config(bundle, "fp16", photo.parent, plugin=plugin)
    assert list(photo.parent.iterdir()) == [photo]
    photo.unlink()
    write(bundle, plugin, photo.parent)  # an empty folder will do


def test_without_an_engine_there_is_nothing_to_write(bundle: Bundle, tmp_path: Path):
    out = tmp_path / "deepstream"
    with pytest.raises(UserError, match=r"has no engine colours\.fp32\.engine\. Build it on the device.*runtime build"):
        write_deepstream_config(bundle, "fp32", out)
    assert not out.exists()


def test_the_command_says_how_to_compile(bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path, capsys):
    add_engine()
    parser = argparse.ArgumentParser()
    deepstream.add_arguments(parser)
    words = [str(bundle.folder), "--out", str(tmp_path / "ds"), "--precision", "fp16", "--plugin", str(plugin)]
    deepstream.main(parser.parse_args(words))
    printed = capsys.readouterr().out
    assert "g++ -O2 -shared -fPIC parse_labels.cpp load_hyperseg.cpp -o libhyperseg_deepstream.so" in printed
    assert f"cd {tmp_path}/ds/models/colours/plugin\n" in printed


def test_an_engine_that_holds_its_kernels_needs_no_loader(bundle: Bundle, add_engine: Callable, tmp_path: Path, capsys):
    add_engine(holds_kernels=True)
    parser = argparse.ArgumentParser()
    deepstream.add_arguments(parser)
    deepstream.main(parser.parse_args([str(bundle.folder), "--out", str(tmp_path / "ds"), "--precision", "fp16"]))
    assert "g++ -O2 -shared -fPIC parse_labels.cpp -o libhyperseg_deepstream.so" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "ds/models/colours/plugin").iterdir()] == ["parse_labels.cpp"]


# What the parser sees of DeepStream's header, and a caller as Gst-nvinferserver is one.
DEEPSTREAM = r"""
#include <vector>
typedef struct { unsigned int numDims, d[8], numElements; } NvDsInferDims;
typedef enum { FLOAT, HALF, INT8, INT32 } NvDsInferDataType;
typedef struct {
    NvDsInferDataType dataType; NvDsInferDims inferDims; int bindingIndex; char const* layerName; void* buffer;
    int isInput;
} NvDsInferLayerInfo;
typedef struct { unsigned int width, height, channels; } NvDsInferNetworkInfo;
typedef bool (*NvDsInferSemSegmentationParseCustomFunc)(std::vector<NvDsInferLayerInfo> const&,
    NvDsInferNetworkInfo const&, float, unsigned int, int*, float*&);
#define CHECK_CUSTOM_SEM_SEGMENTATION_PARSE_FUNC_PROTOTYPE(function) \
    NvDsInferSemSegmentationParseCustomFunc checked_##function = function;
"""
CALLER = r"""
#include "parse_labels.cpp"
#include <cstdlib>
#include <string>

// NAME TYPE CLASSES WIDTH HEIGHT: labels 0, 200, 2, 3, 4, 5 on 3 x 2 pixels, in a second layer.
int main(int, char** word) {
    int const type = std::atoi(word[2]);
    std::uint8_t bytes[] = {0, 200, 2, 3, 4, 5};
    std::int32_t words[] = {0, 200, 2, 3, 4, 5};
    float scores[6] = {};
    NvDsInferDims const dims{2, {2, 3}, 6};
    void* const labels = type == INT32 ? static_cast<void*>(words) : bytes;
    std::vector<NvDsInferLayerInfo> const layers{
        {FLOAT, dims, 0, "logits", scores, 0},
        {static_cast<NvDsInferDataType>(type), dims, 1, word[1], labels, 0}};
    int map[7] = {-7, -7, -7, -7, -7, -7, -7};
    float* probabilities = scores;
    NvDsInferNetworkInfo const network{
        static_cast<unsigned int>(std::atoi(word[4])), static_cast<unsigned int>(std::atoi(word[5])), 3};
    bool const good = checked_HyperSegParseLabels(
        layers, network, 0.5f, static_cast<unsigned int>(std::atoi(word[3])), map, probabilities);
    std::printf("%d %d", good, probabilities == nullptr);
    for (int label : map) std::printf(" %d", label);
}
"""


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("parser")
    (folder / "nvdsinfer_custom_impl.h").write_text(DEEPSTREAM)
    (folder / "caller.cpp").write_text(CALLER)
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-sanitize=enum"]
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", *sanitize, f"-I{folder}", f"-I{PARSER_SOURCE.parent}"]
    subprocess.run(["g++", *options, folder / "caller.cpp", "-o", folder / "caller"], check=True)
    return folder / "caller"


def call(caller: Path, *words: object) -> tuple[list[int], str]:
    done = subprocess.run([caller, *map(str, words)], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()], done.stderr


@pytest.mark.parametrize("data_type", [2, 3, 5])  # INT8 and UINT8 for bytes, INT32
def test_the_parser_copies_the_labels(caller: Path, data_type: int):
    assert call(caller, "labels", data_type, 201, 3, 2) == ([1, 1, 0, 200, 2, 3, 4, 5, -7], "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("labels", 2, 200, 3, 2), "HyperSeg: label 200, but there are 200 classes.\n"),
        (("labels", 2, 201, 4, 2), "HyperSeg: 6 labels for 4 x 2 pixels.\n"),
        (("labels", 0, 201, 3, 2), "HyperSeg: labels of DeepStream's type 0.\n"),
        (("classes", 2, 201, 3, 2), "HyperSeg: the network has no output named labels.\n"),
    ],
)
def test_the_parser_refuses_what_does_not_fit(caller: Path, words: tuple, message: str):
    (good, *_), error = call(caller, *words)
    assert (good, error) == (0, message)
