"""The whole program under sanitizers, on doubles of TensorRT and CUDA whose network labels a pixel by its red value."""

import os
import re
import resource
import shutil
import signal
import subprocess

import numpy as np
import pytest

HEIGHT, WIDTH = 4, 6
PLAN = f"plan tensorrt=10 compute=9.0 labels=UINT8 height={HEIGHT} width={WIDTH} end=1"
MODEL = f"onnx labels=INT32 height={HEIGHT} width={WIDTH}"


def compile_plugin(path, code="void getCreators() {}"):
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=code, text=True, check=True)
    return path


@pytest.fixture(scope="session")
def plugins(tmp_path_factory, build_program):
    """Plugin libraries by what they are for; the one for TensorRT 10 is beside no program."""
    folder = tmp_path_factory.mktemp("plugins")
    mark = 'char const built_for[] = "hyperseg_plugins for TensorRT %d"; void getCreators() {}'
    return {
        8: compile_plugin(folder / "eight.so", "void getPluginCreators() {}"),
        10: compile_plugin(folder / "ten.so"),
        11: compile_plugin(folder / "eleven.so", mark % 11),
        "marked 10": compile_plugin(folder / "marked.so", mark % 10),
        "refused": compile_plugin(folder / "refused.so"),
    }


@pytest.fixture
def program(build_program, plugins, tmp_path):
    """Run the program for a TensorRT major version in tmp_path; returns the finished process."""

    def run(*words, major=10, plugin=None, double="", limit=None):
        words = ["--plugin", str(plugin or plugins[major]), *map(str, words)]
        environment = {**os.environ, "CUDA_DOUBLE": double}
        return subprocess.run(
            [build_program(major), *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            preexec_fn=limit,
        )

    return run


@pytest.fixture
def frames(tmp_path):
    """Five frames in the folder frames, beside files that are none; returns the frames by their names."""
    random = np.random.default_rng(0)
    images = {f"{index}": random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for index in range(5)}
    folder = tmp_path / "frames"
    folder.mkdir()
    for name, rgb in images.items():
        if int(name) % 2:
            (folder / f"{name}.rgb").write_bytes(rgb.tobytes())
        else:
            (folder / f"{name}.ppm").write_bytes(b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + rgb.tobytes())
    (folder / "notes.txt").write_text("no frame")
    return images


def check_labels(folder, frames):
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}_labels.pgm" for name in frames)
    for name, rgb in frames.items():
        head, labels = b"P5\n%d %d\n255\n" % (WIDTH, HEIGHT), rgb[..., 0].tobytes()
        assert (folder / f"{name}_labels.pgm").read_bytes() == head + labels


def check_ran(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("double", ["", "integrated", "no capture"])
@pytest.mark.parametrize("labels", ["UINT8", "INT8", "INT32", "INT64"])
def test_labels_are_the_networks(program, tmp_path, frames, labels, double):
    (tmp_path / "engine").write_text(PLAN.replace("UINT8", labels) + " logits=1")
    done = program("--engine", "engine", "--frames", "frames", "--labels", "out/labels", double=double)
    check_ran(done)
    check_labels(tmp_path / "out/labels", frames)


def test_latencies_are_those_of_upload_to_download_and_of_the_network(program, tmp_path, frames):
    (tmp_path / "engine").write_text(PLAN)
    output = check_ran(program("--engine", "engine", "--frames", "frames", "--repeat", "7"))
    assert "Double, compute capability 9.0, TensorRT 10.6.1" in output
    # The double's clock gives each piece of work a millisecond: one for the network, none for the copies around it.
    assert "network alone:           p50 1.000 ms, p95 1.000 ms, p99 1.000 ms, 1000.0 frames/s" in output
    assert re.search(r"upload through download: p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms, [\d.]+ frames/s", output)
    assert "5 frame(s), 35 timed run(s) after 10 untimed ones" in output


def test_frames_are_replayed_as_a_graph_or_else_a_note_says_why_not(program, tmp_path, frames):
    (tmp_path / "engine").write_text(PLAN)
    done = program("--engine", "engine", "--frames", "frames/0.ppm", "--repeat", "7")
    assert "without a CUDA graph" not in check_ran(done)
    assert "enqueueV3 was called 3 times" in done.stderr  # to settle, and to record the frame and the network alone
    done = program("--engine", "engine", "--frames", "frames/0.ppm", "--repeat", "7", double="no capture")
    assert "without a CUDA graph, so a little slower: TensorRT cannot run the network" in check_ran(done)
    # As before, once more after each refusal, and then both in every run.
    assert f"enqueueV3 was called {3 + 2 + 2 * (10 + 7)} times" in done.stderr


def test_messages_of_tensorrt_are_marked(program, tmp_path, frames):
    (tmp_path / "engine").write_text(PLAN)
    done = program("--engine", "engine", "--frames", "frames")
    assert "TensorRT warning: A warning of the double.\n" in done.stderr
    assert "nobody needs to know" not in done.stderr + done.stdout


@pytest.mark.parametrize("words", ["batch=1", "profiles=1", "profiles=3"])
def test_engines_that_take_one_frame(program, tmp_path, frames, words):
    (tmp_path / "engine").write_text(f"{PLAN} {words}")
    check_ran(program("--engine", "engine", "--frames", "frames", "--labels", "labels"))
    check_labels(tmp_path / "labels", frames)


@pytest.mark.slow  # compiles the program three times
@pytest.mark.parametrize(
    ("major", "options", "built"),
    [
        (8, (), {"network_flags": "1", "flags": "0"}),
        (8, ("--fp16",), {"network_flags": "1", "flags": "1"}),
        (8, ("--int8",), {"network_flags": "1", "flags": "3"}),
        (10, (), {"network_flags": "2", "flags": "0"}),
        (11, (), {"network_flags": "0", "flags": "0"}),
    ],
)
def test_an_engine_is_built_written_and_run(program, tmp_path, frames, major, options, built):
    (tmp_path / "a.trt.onnx").write_text(MODEL)
    words = ("--onnx", "a.trt.onnx", "--save-engine", "a.engine", "--workspace-mib", "3", *options)
    output = check_ran(program(*words, "--frames", "frames", "--labels", "labels", major=major))
    version = "8.6.1" if major == 8 else f"{major}.6.1"
    assert f"TensorRT {version}" in output
    check_labels(tmp_path / "labels", frames)
    plan = (tmp_path / "a.engine").read_text()
    found = dict(word.split("=") for word in plan.split()[1:])
    assert {key: found[key] for key in built} == built
    assert found["workspace"] == str(3 << 20)
    assert found["batches"] == "111"
    check_ran(program("--engine", "a.engine", "--frames", "frames", "--labels", "again", major=major))
    check_labels(tmp_path / "again", frames)


def test_an_engine_can_be_built_without_running_it(program, tmp_path):
    (tmp_path / "a.trt.onnx").write_text(MODEL + " batch=1")  # which needs no profile
    output = check_ran(program("--onnx", "a.trt.onnx", "--save-engine", "a.engine"))
    assert "Built a.engine" in output
    assert "frames/s" not in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.engine", "a.trt.onnx"]


def check_refused(done, message):
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(f"error: .*{message}", done.stderr, re.DOTALL), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "either --engine, or --onnx"),
        ("--engine e --onnx a.trt.onnx", "either --engine, or --onnx"),
        ("--onnx a.trt.onnx", "--save-engine belong together"),
        ("--engine e --save-engine f --frames frames", "--save-engine belong together"),
        ("--onnx a.onnx --save-engine e", "a.onnx does not end in .trt.onnx"),
        ("--engine e --frames frames --fp16", "are for building"),
        ("--engine e --frames frames --workspace-mib 5", "are for building"),
        ("--engine e", "Give --frames"),
        ("--onnx a.trt.onnx --save-engine e --plugin none", "--plugin none is for --engine"),
        ("--onnx a.trt.onnx --save-engine e --labels out", "Give --frames"),
        ("--engine e --frames", "--frames needs a value"),
        ("--engine e --frames frames --repeat 0", "--repeat is '0'; give a number from 1"),
        ("--engine e --frames frames --repeat -1", "--repeat is '-1'"),
        ("--engine e --frames frames --repeat 99999999999999999999", "give a number from 1 to 999999999"),
        ("--engine e --frames frames --batch 1", "There is no option --batch"),
        ("--engine missing --frames frames", "missing does not exist. Build it on this device"),
        ("--engine frames --frames frames", "frames is a folder; give a file"),
        ("--engine e --frames missing", "missing does not exist. Give a frame or a folder"),
        ("--engine e --frames frames/notes.txt", "notes.txt is neither .ppm nor .rgb. ffmpeg makes one"),
        ("--engine e --frames empty", "no .ppm and no .rgb file in empty"),
        ("--engine e --frames twice", "twice/a.ppm and twice/a.rgb would give their labels one name"),
        ("--engine e --frames frames --labels e/labels", "Cannot write e/labels"),
        ("--onnx a.trt.onnx --save-engine nowhere/e", "Cannot write nowhere/e: No such file or directory"),
        ("--onnx a.trt.onnx --save-engine frames", "frames is a folder; give the name of a file"),
        ("--onnx a.trt.onnx --save-engine e --fp16", "TensorRT 10 takes the precision from the ONNX file"),
    ],
)
def test_mistakes_on_the_command_line(program, tmp_path, frames, words, message):
    (tmp_path / "e").write_text(PLAN)
    (tmp_path / "a.trt.onnx").write_text(MODEL)
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for name in ("a.ppm", "a.q.ppm", "a.rgb"):
        (tmp_path / "twice" / name).touch()
    done = program(*words.split(), double="no driver")  # no GPU is needed to find them out
    check_refused(done, message)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            "",
            "Magic tag.*cannot open e.*The engine is broken or incomplete.*Build it on this device: .*--save-engine e",
        ),
        ("onnx", "cannot open e.*The engine is broken or incomplete"),
        (PLAN[: len(PLAN) // 2], "cannot open e"),
        (PLAN.replace("tensorrt=10", "tensorrt=11"), "cannot open e.*The engine is of another version of TensorRT"),
        (PLAN.replace("9.0", "8.7"), "cannot open e.*The engine is of another GPU"),
        (f"{PLAN} input=picture", "The engine is of another network"),
        (f"{PLAN} profiles=2 more=1", "does not take one frame at a time"),
        (f"{PLAN} batch=4", "TensorRT refuses the shape|does not take one frame at a time"),
        (PLAN.replace(f"height={HEIGHT}", "height=5"), "0.ppm is 4 x 6 .height x width., but the network takes 5 x 6"),
    ],
)
def test_engines_that_cannot_be_used(program, tmp_path, frames, plan, message):
    (tmp_path / "e").write_text(plan)
    done = program("--engine", "e", "--frames", "frames", "--labels", "labels")
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    assert list((tmp_path / "labels").iterdir()) == []


@pytest.mark.parametrize(
    ("double", "message"),
    [
        (
            "no driver",
            "CUDA failed while looking for a GPU: .*driver is missing, does not run, or is too old.*nvidia-smi",
        ),
        ("no GPU", "no CUDA-capable device is detected.*There is no usable GPU"),
        ("no memory", "out of memory.*too little free memory. Close other programs"),
        ("no kernel", "no kernel image.*scripts/build_plugin.sh"),
    ],
)
def test_failures_of_cuda(program, tmp_path, frames, double, message):
    (tmp_path / "e").write_text(PLAN)
    check_refused(program("--engine", "e", "--frames", "frames", double=double), message)


def test_plugins_that_can_be_used(program, plugins, tmp_path, frames):
    (tmp_path / "e").write_text(PLAN)
    shutil.copy(plugins[10], tmp_path / "here.so")
    for plugin in ("here.so", plugins["marked 10"]):
        check_ran(program("--engine", "e", "--frames", "frames", plugin=plugin))


def test_an_engine_that_holds_its_operators_needs_no_plugin(program, tmp_path, frames):
    (tmp_path / "e").write_text(f"{PLAN} aot=1")  # refused by the double if a library was loaded
    check_ran(program("--engine", "e", "--frames", "frames", "--labels", "labels", plugin="none"))
    check_labels(tmp_path / "labels", frames)
    (tmp_path / "e").write_text(PLAN)
    done = program("--engine", "e", "--frames", "frames", plugin="none")
    check_refused(done, "cannot open e.*--plugin none is for engines that hold their operators")


def test_plugins_that_cannot_be_used(program, plugins, build_program, tmp_path, frames):
    (tmp_path / "e").write_text(PLAN)
    (tmp_path / "text.so").write_text("no library")

    def refused(plugin, message):
        check_refused(program("--engine", "e", "--frames", "frames", plugin=plugin), message)

    refused("missing.so", "missing.so does not exist.*scripts/build_plugin.sh")
    refused("text.so", "text.so does not open: .*file too short.*scripts/build_plugin.sh")  # the dynamic linker's words
    refused(plugins[8], "eight.so is not for TensorRT 10")
    refused(plugins[11], "eleven.so is not for TensorRT 10")
    refused(plugins["refused"], "TensorRT 10.6.1 does not load the plugin library .*refused.so")
    words = [build_program(10), "--engine", "e", "--frames", "frames"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    check_refused(done, f"{build_program(10).parent}/libhyperseg_plugins.so does not exist")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("what is this", "TensorRT 10.6.1 cannot read a.trt.onnx.*plugin library lacks.*\n  No importer registered"),
        (f"{MODEL} input=picture", "a.trt.onnx is no exported HyperSeg"),
        (f"{MODEL} unbuildable=1", "cannot build a.trt.onnx.*too little free memory.*smaller --workspace-mib"),
    ],
)
def test_models_that_cannot_be_built_leave_the_old_engine(program, tmp_path, model, message):
    (tmp_path / "a.trt.onnx").write_text(model)
    (tmp_path / "e").write_text("an older engine")
    check_refused(program("--onnx", "a.trt.onnx", "--save-engine", "e"), message)
    assert (tmp_path / "e").read_text() == "an older engine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.trt.onnx", "e"]


def test_a_full_disk_leaves_no_part_of_a_file(program, tmp_path, frames):
    def at_most_20_bytes_a_file():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    (tmp_path / "e").write_text(PLAN)
    done = program("--engine", "e", "--frames", "frames", "--labels", "labels", limit=at_most_20_bytes_a_file)
    check_refused(done, "Cannot write labels/0_labels.pgm: File too large.*free space")
    assert list((tmp_path / "labels").iterdir()) == []


def test_help_names_every_option(program):
    output = check_ran(program("--help"))
    for option in (
        "engine",
        "onnx",
        "save-engine",
        "fp16",
        "int8",
        "workspace-mib",
        "plugin",
        "frames",
        "labels",
        "repeat",
    ):
        assert f"--{option}" in output
