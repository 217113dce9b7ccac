"""Percentiles and frames, against NumPy."""

import re
import subprocess

import numpy as np
import pytest

HEIGHT, WIDTH = 3, 5


def ask(parts, *words):
    done = subprocess.run([parts, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("p", [0, 50, 95, 99, 100])
def test_percentiles_are_numpys(parts, count, p):
    values = np.random.default_rng(count).exponential(size=count)
    (answer,) = ask(parts, "percentile", p, *values)
    assert float(answer) == pytest.approx(np.percentile(values, p), rel=1e-9)  # printed with 12 digits


def read_frames(parts, folder, contents, suffix="ppm"):
    paths = [folder / f"{index}.{suffix}" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return ask(parts, "frame", HEIGHT, WIDTH, *paths)


def answer_for(rgb):
    checksum = 0
    for value in rgb:
        checksum = (checksum * 31 + value) % 2**32
    return f"{len(rgb)} {checksum}"


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).integers(0, 256, HEIGHT * WIDTH * 3, np.uint8).tobytes()


def test_good_frames(parts, tmp_path, rgb):
    heads = [
        b"P6\n5 3\n255\n",
        b"P6 5\t3\r\n255 ",
        b"P6\n# made by hand\n5 # wide\n#\n# high:\n3\n255\n",
        b"P6\n005 3\n0255\n",
    ]
    assert read_frames(parts, tmp_path, [head + rgb for head in heads]) == [answer_for(rgb)] * len(heads)
    assert read_frames(parts, tmp_path, [rgb], "rgb") == [answer_for(rgb)]
    like_white_space = b"\n #" + rgb[3:]  # the first pixel is no part of the head
    assert read_frames(parts, tmp_path, [heads[0] + like_white_space]) == [answer_for(like_white_space)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with P6"),
        (b"P5\n5 3\n255\n", "does not begin with P6"),
        (b"P6", "has no width"),
        (b"P6\nfive 3\n255\n", "has no width"),
        (b"P6\n-5 3\n255\n", "has no width"),
        (b"P6\n5\n", "has no height"),
        (b"P6\n5 # no end", "has no height"),
        (b"P6\n5 0\n255\n", "has no height"),
        (b"P6\n5 3\n65535\n", "its maximum is not 255"),
        (b"P6\n5 3\n255", "ends within its head"),
        (b"P6\n5 3\n255x", "no white space after it"),
        (b"P6\n3 5\n255\n", "is 5 x 3 .height x width., but the network takes 3 x 5"),
        (b"P6\n99999999999999999999 3\n255\n", "but the network takes 3 x 5"),
        (b"P6\n5 3\n255\n" + bytes(44), "has 55 bytes instead of 56"),
        (b"P6\n5 3\n255\n" + bytes(46), "has 57 bytes instead of 56"),
    ],
)
def test_bad_frames(parts, tmp_path, content, message):
    (answer,) = read_frames(parts, tmp_path, [content])
    assert answer.startswith("no ")
    assert re.search(message, answer), answer


def test_a_raw_frame_of_another_size_says_expected_and_found(parts, tmp_path):
    for size in (0, 44, 46):
        (answer,) = read_frames(parts, tmp_path, [bytes(size)], "rgb")
        assert f"has {size} bytes instead of 45" in answer
        assert "3 x 5 (height x width)" in answer
        assert "-s 5x3" in answer  # as ffmpeg writes it


def test_frames_cut_anywhere_and_broken_anyhow_are_refused_or_read(parts, tmp_path, rgb):
    good = b"P6\n# made by hand\n5 3\n255\n" + rgb
    cut = read_frames(parts, tmp_path, [good[:length] for length in range(len(good))])
    assert all(answer.startswith("no ") for answer in cut)
    random = np.random.default_rng(1)
    broken = []
    for _ in range(300):
        content = bytearray(good)
        for position in random.integers(0, 30, random.integers(1, 4)):
            content[position] = random.choice(np.frombuffer(b"P6 \n#0159\x00\xff", np.uint8))
        broken.append(bytes(content))
    answers = read_frames(parts, tmp_path, broken)  # the sanitizers watch
    assert len(answers) == len(broken)
    assert all(answer.startswith(("no ", "45 ")) for answer in answers)
