"""``python -m runtime deepstream``: what NVIDIA DeepStream needs to run a bundle's engine.

Its element for this is Gst-nvinferserver (Triton inside the pipeline), not Gst-nvinfer: that one feeds planar floats
and takes the arg max of float scores itself, while this network takes packed uint8 RGB and gives labels.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from runtime.bundle import Bundle, open_bundle
from runtime.errors import UserError
from runtime.files import replace_file
from runtime.handoff.triton import (
    LOADER_SOURCE,
    PLUGIN_FOLDER,
    find_engine,
    largest_batch,
    quoted,
    refuse_foreign,
    write_model_repository,
)

INFER_CONFIG_NAME = "config_nvinferserver.txt"
APP_CONFIG_NAME = "deepstream_app.txt"
REPOSITORY_NAME = "models"
PARSER_LIBRARY = "libhyperseg_deepstream.so"
PARSER_FUNCTION = "HyperSegParseLabels"
PARSER_SOURCE = Path(__file__).with_name("parse_labels.cpp")

_MARK = "# Written by `python -m runtime deepstream`, which replaces it."
_SAMPLE = "file:///opt/nvidia/deepstream/deepstream/samples/streams/sample_720p.mp4"


def write_deepstream_config(bundle: Bundle, precision: str, out: Path, *, plugin: Path | None = None) -> Path:
    """Write the folder ``out`` and return the path of deepstream-app's configuration in it.

    It holds a Triton model repository with the bundle's engine, the configuration of Gst-nvinferserver, the source of
    the parser that it calls, and an example for deepstream-app. What else lies in ``out`` stays. Raises UserError if
    the bundle has no engine of the precision, as :func:`write_model_repository` does, and for a folder that another
    program wrote.
    """
    engine = find_engine(bundle, precision, plugin)
    if engine is None:
        raise UserError(
            f"{bundle.folder} has no engine {bundle.info.name}.{precision}.engine. Build it on the device that runs "
            f"DeepStream: python -m runtime build {bundle.folder} --precision {precision}"
        )
    batch = largest_batch(engine)
    if out.is_dir() and any(out.iterdir()):
        refuse_foreign(out, out / INFER_CONFIG_NAME)
    for name, text in ((INFER_CONFIG_NAME, _infer_config(bundle, batch)), (APP_CONFIG_NAME, _app_config(bundle))):
        with replace_file(out / name) as aside:
            aside.write_text(text, encoding="utf-8")
    model = write_model_repository(bundle, precision, out / REPOSITORY_NAME, plugin=plugin)
    (model / PLUGIN_FOLDER).mkdir(exist_ok=True)
    with replace_file(model / PLUGIN_FOLDER / PARSER_SOURCE.name) as aside:
        shutil.copyfile(PARSER_SOURCE, aside)
    return out / APP_CONFIG_NAME


def _infer_config(bundle: Bundle, batch: int) -> str:
    """The configuration of Gst-nvinferserver; relative paths count from its folder."""
    info = bundle.info
    library = f"{REPOSITORY_NAME}/{info.name}/{PLUGIN_FOLDER}/{PARSER_LIBRARY}"
    return f"""\
{_MARK}
infer_config {{
  unique_id: 1
  gpu_ids: [ 0 ]
  max_batch_size: {batch}
  backend {{
    triton {{
      model_name: {quoted(info.name)}
      version: -1
      model_repo {{
        root: "{REPOSITORY_NAME}"
        strict_model_config: true
      }}
    }}
  }}
  # Frames go in as they are, packed RGB of 0 to 255: the network normalises.
  preprocess {{
    network_format: IMAGE_FORMAT_RGB
    tensor_order: TENSOR_ORDER_NHWC
    tensor_name: "image"
    maintain_aspect_ratio: 0
    normalize {{ scale_factor: 1.0 }}
  }}
  postprocess {{
    segmentation {{
      num_segmentation_classes: {len(info.classes)}
      custom_parse_segmentation_func: "{PARSER_FUNCTION}"
    }}
  }}
  # Opened before the engine is: it also loads the operators' library, if one lies beside it.
  custom_lib {{ path: {quoted(library)} }}
}}
input_control {{
  process_mode: PROCESS_MODE_FULL_FRAME
  interval: 0
}}
"""


def _app_config(bundle: Bundle) -> str:
    """An example for deepstream-app: one video into another."""
    info = bundle.info
    return f"""\
{_MARK}
[application]
enable-perf-measurement=1
perf-measurement-interval-sec=1

[source0]
enable=1
# 1: V4L2 camera, 2: file or http address, 4: RTSP, 5: CSI camera (Jetson)
type=2
uri={_SAMPLE}

[streammux]
batch-size=1
batched-push-timeout=40000
width={info.width}
height={info.height}

[primary-gie]
enable=1
# 1: Gst-nvinferserver
plugin-type=1
gie-unique-id=1
config-file={INFER_CONFIG_NAME}

[segvisual]
enable=1
batch-size=1
width={info.width}
height={info.height}

[sink0]
enable=1
# 1: none, 2: window, 3: file
type=3
container=1
codec=1
# 0: the hardware's encoder, which an Orin Nano lacks, 1: software
enc-type=1
bitrate=4000000
sync=0
output-file=segmented.mp4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m runtime deepstream``."""
    parser.add_argument("bundle", type=Path, help="folder that scripts/export.sh wrote, with an engine of this device")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the configuration")
    parser.add_argument("--precision", default="fp32", metavar="P", help="default: %(default)s")
    parser.add_argument("--plugin", type=Path, metavar="LIB", help="the plugin library (default: looked for)")


def main(arguments: argparse.Namespace) -> None:
    """Write the folder, then say how to compile the parser and start."""
    bundle = open_bundle(arguments.bundle)
    config = write_deepstream_config(bundle, arguments.precision, arguments.out, plugin=arguments.plugin)
    folder = config.parent.resolve()
    print(f"DeepStream: {config}")
    print("Compile the parser of the labels where DeepStream runs, and start (docs/handoff.md):")
    sources = folder / REPOSITORY_NAME / bundle.info.name / PLUGIN_FOLDER
    loader = f"{LOADER_SOURCE.name} " if (sources / LOADER_SOURCE.name).is_file() else ""
    print(f"  cd {sources}")
    print(
        f"  g++ -O2 -shared -fPIC {PARSER_SOURCE.name} {loader}-o {PARSER_LIBRARY} "
        "-I/opt/nvidia/deepstream/deepstream/sources/includes -I/usr/local/cuda/include -lnvinfer"
    )
    print(f"  cd {folder} && deepstream-app -c {APP_CONFIG_NAME}")
