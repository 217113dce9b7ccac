import cv2
import numpy as np

from runtime.parity.names import NetworkName
from runtime.parity.pictures import KEPT_SCENES, Album
from runtime.parity.scenes import Scene

TORCH, ORT = NetworkName("torch", "fp32"), NetworkName("onnxruntime", "int8")
PALETTE = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def scene(name: str, height: int = 40, width: int = 60) -> Scene:
    return Scene(name, np.full((height, width, 3), 120, np.uint8), np.ones((80, 120), np.uint8))


def labels(differing: int, height: int = 40, width: int = 60) -> dict[NetworkName, np.ndarray]:
    expected = np.zeros((height, width), np.uint8)
    found = expected.copy()
    found.ravel()[:differing] = 2
    return {TORCH: expected, ORT: found}


def test_the_scenes_that_differ_most_are_kept():
    album = Album(TORCH, PALETTE)
    for name, differing in (("a", 0), ("b", 7), ("c", 3), ("d", 7), ("e", 1), ("f", 9)):
        album.consider(scene(name), labels(differing))
    assert KEPT_SCENES == 3
    assert [page.title for page in album.pages] == ["f", "b", "d"]


def test_pictures_show_what_they_say():
    album = Album(TORCH, PALETTE)
    album.consider(scene("a"), labels(1200))  # the upper half
    (page,) = album.pages
    assert (page.width, page.height) == (60, 40)
    image, truth, reference = page.known
    ((found, difference),) = page.compared
    # JPEG at this quality moves flat colours by a few levels.
    assert np.abs(decoded(image.jpeg).astype(int) - 120).max() <= 3
    assert np.abs(decoded(truth.jpeg).astype(int) - (0, 200, 0)).max() <= 4
    assert np.abs(decoded(reference.jpeg).astype(int) - (200, 0, 0)).max() <= 4
    assert np.abs(decoded(found.jpeg)[:16].astype(int) - (0, 0, 200)).max() <= 4
    assert "reference" in reference.caption
    assert difference.caption == "1,200 of 2,400 pixels differ"
    shown = decoded(difference.jpeg).astype(int)
    assert (shown[:16, :, 0] > 200).all()
    assert (shown[26:] < 60).all()


def test_a_single_pixel_survives_being_scaled_down():
    album = Album(TORCH, PALETTE)
    both = labels(0, 1024, 2048)
    both[ORT][500, 900] = 1
    album.consider(scene("a", 1024, 2048), both)
    (page,) = album.pages
    assert (page.width, page.height) == (640, 320)
    shown = decoded(page.compared[0][1].jpeg).astype(int)
    assert shown[..., 0].max() > 120  # on an image that is darker than 45 everywhere else


def test_without_truth_and_difference():
    album = Album(TORCH, PALETTE)
    album.consider(Scene("a", np.zeros((40, 60, 3), np.uint8), None), labels(0))
    (page,) = album.pages
    assert [picture.caption for picture in page.known] == ["image", "PyTorch fp32, the reference"]
    assert page.compared[0][1].caption == "no pixel differs"
