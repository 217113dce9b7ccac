import pytest

from runtime.errors import UserError
from runtime.video.cameras.address import fps_of, place_and_options, size_of

KNOWN = ("format", "size", "fps")


def test_place_and_options():
    place, options = place_and_options("v4l2:///dev/video0?format=MJPG&size=720x1280&fps=30", KNOWN, "")
    assert place == "/dev/video0"
    assert options == {"format": "MJPG", "size": "720x1280", "fps": "30"}
    assert (size_of(options), fps_of(options)) == ((720, 1280), 30)


def test_options_can_be_left_out():
    assert place_and_options("csi://0", KNOWN, "") == ("0", {})
    assert (size_of({}), fps_of({})) == (None, None)


@pytest.mark.parametrize("query", ["fsp=30", "fps", "fps=", "fps=30&fps=30", "fps=30&", "&fps=30"])
def test_wrong_options(query: str):
    with pytest.raises(UserError, match=r"no option of this camera.*format, size, fps.*'csi://0\?fps=30'"):
        place_and_options(f"csi://0?{query}", KNOWN, "csi://0?fps=30")


@pytest.mark.parametrize("size", ["720", "720x", "0x1280", "1280 x 720"])
def test_wrong_size(size: str):
    with pytest.raises(UserError, match="is no size"):
        size_of({"size": size})


@pytest.mark.parametrize("fps", ["0", "-1", "29.97", "fast"])
def test_wrong_fps(fps: str):
    with pytest.raises(UserError, match=r"fps: .* is no whole number"):
        fps_of({"fps": fps})
