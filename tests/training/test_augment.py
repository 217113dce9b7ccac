import colorsys
import pickle

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from runtime.errors import UserError
from training.augment import Augmentation, Crop, Flip, ResizeTo, augmentation_from

IGNORE = 255


def rng(seed=0):
    return np.random.default_rng(seed)


def pixels(height=24, width=40, seed=7):
    """An image and labels in which every pixel is its own: red and green, and the label, tell row and column."""
    rows, columns = np.mgrid[:height, :width]
    labels = ((rows * 7 + columns) % 200).astype(np.uint8)
    return np.stack([rows + 1, columns + 1, labels], -1).astype(np.uint8), labels


def photo(height=48, width=80):
    """Smooth colours, and labels that are the image's quarters."""
    rows, columns = np.mgrid[:height, :width] / [[[height]], [[width]]]
    image = np.stack([rows * 200 + 20, columns * 200 + 30, (1 - rows) * columns * 180 + 40], -1).astype(np.uint8)
    return image, (2 * (rows >= 0.5) + (columns >= 0.5)).astype(np.uint8) + 1


def draws(step, count, image, labels):
    augmentation, generator = augmentation_from([step]), rng()
    return [augmentation(image, labels, generator) for _ in range(count)]


def test_flip_mirrors_image_and_labels_as_often_as_it_says():
    image, labels = pixels()
    mirrored = 0
    for flipped, flipped_labels in draws({"flip": 0.3}, 2000, image, labels):
        if np.array_equal(flipped, image[:, ::-1]):
            assert np.array_equal(flipped_labels, labels[:, ::-1])
            mirrored += 1
        else:
            assert np.array_equal(flipped, image)
            assert np.array_equal(flipped_labels, labels)
    # Five standard deviations of a binomial: sqrt(2000 * 0.3 * 0.7) = 20.5.
    assert abs(mirrored - 600) < 5 * 20.5


@pytest.mark.parametrize(("probability", "expected"), [(0, False), (1, True)])
def test_flip_is_certain_at_its_ends(probability, expected):
    image, labels = pixels()
    assert {np.array_equal(out, image[:, ::-1]) for out, _ in draws({"flip": probability}, 50, image, labels)} == {
        expected
    }


def test_resize_draws_its_factor_uniformly_and_half_the_time():
    image, labels = np.zeros((100, 200, 3), np.uint8), np.zeros((100, 200), np.uint8)
    shapes = [out.shape[:2] for out, out_labels in draws({"resize": [0.5, 2.0]}, 2000, image, labels)]
    # A drawn factor gives 100x200 itself with probability 0.005 / 1.5, which is ten draws of two thousand at most.
    unchanged = sum(shape == (100, 200) for shape in shapes)
    assert abs(unchanged - 1000) < 5 * 22.4 + 10  # sqrt(2000 * 0.25) = 22.4
    widths = np.array([width for _, width in shapes if width != 200])
    assert widths.min() >= 100
    assert widths.max() <= 400
    # Uniform over (100, 400): mean 250, standard deviation 300 / sqrt(12) = 86.6, of about 1000 draws.
    assert abs(widths.mean() - 250) < 5 * 86.6 / np.sqrt(len(widths))
    assert abs(widths.std() - 86.6) < 6
    # One factor for both sides: each is rounded by at most half a pixel.
    assert all(abs(2 * height - width) <= 1.5 for height, width in shapes)


@pytest.mark.parametrize(
    ("scale", "size"),
    [(0.25, (6, 10)), (0.55, (14, 23)), (1.6, (40, 66)), (0.01, (1, 1))],  # 6.25 x 10.25, 13.75 x 22.55, 40 x 65.6
)
def test_resize_rounds_the_size_and_is_pillows(scale, size):
    image, labels = pixels(25, 41)
    results = [out for out in draws({"resize": [scale, scale]}, 20, image, labels) if out[0].shape != image.shape]
    assert results
    resized, resized_labels = results[0]
    assert resized.shape == (*size, 3)
    smooth = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(resized, np.asarray(smooth))
    assert np.array_equal(resized_labels, nearest(labels, *size))


def nearest(labels, height, width):
    """The label under the centre of each new pixel, in exact integers; of an odd size, no centre lies on an edge."""
    rows = [(2 * row + 1) * labels.shape[0] // (2 * height) for row in range(height)]
    columns = [(2 * column + 1) * labels.shape[1] // (2 * width) for column in range(width)]
    return labels[np.ix_(rows, columns)]


def test_crop_takes_every_window_of_a_larger_image():
    image, labels = pixels(24, 40)
    corners = set()
    for window, window_labels in draws({"crop": [21, 37]}, 600, image, labels):
        assert window.shape == (21, 37, 3)
        top, left = int(window[0, 0, 0]) - 1, int(window[0, 0, 1]) - 1
        assert np.array_equal(window, image[top : top + 21, left : left + 37])
        assert np.array_equal(window_labels, labels[top : top + 21, left : left + 37])
        corners.add((top, left))
    # 4 x 4 places; one is missed in 600 draws with probability 16 * (15/16)^600 = 2e-16.
    assert corners == {(top, left) for top in range(4) for left in range(4)}


def test_crop_pads_a_smaller_image_by_what_is_lacking_on_both_sides():
    # Lacking 3 rows and 2 columns, the image lies at rows 0 to 3 and columns 0 to 2 of the crop.
    image, labels = pixels(5, 6)
    places = set()
    for window, window_labels in draws({"crop": [8, 8]}, 400, image, labels):
        top, left = np.argwhere(window_labels != IGNORE).min(0)
        expected, expected_labels = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), IGNORE, np.uint8)
        expected[top : top + 5, left : left + 6], expected_labels[top : top + 5, left : left + 6] = image, labels
        assert np.array_equal(window, expected)
        assert np.array_equal(window_labels, expected_labels)
        places.add((int(top), int(left)))
    assert places == {(top, left) for top in range(4) for left in range(3)}


def test_crop_may_lack_one_side_only():
    image, labels = pixels(5, 40)
    for window, window_labels in draws({"crop": [8, 8]}, 20, image, labels):
        assert window.shape == (8, 8, 3)
        assert (window_labels != IGNORE).sum() == 5 * 8
        assert (window[window_labels == IGNORE] == 0).all()


def test_colour_jitter_is_the_four_changes_in_the_drawn_order():
    image, labels = photo()
    augmentation = augmentation_from([{"colour_jitter": 0.5}])
    orders = set()
    for seed in range(40):
        jittered, same = augmentation(image, labels, rng(seed))
        assert np.array_equal(same, labels)
        picture, generator = Image.fromarray(image), rng(seed)
        order = generator.permutation(4)
        for change in order:
            amount = generator.uniform(-0.5, 0.5)
            if change == 3:
                picture = hue_turned(picture, amount)
            else:
                enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[change]
                picture = enhance(picture).enhance(1 + amount)
        assert np.array_equal(jittered, np.asarray(picture))
        orders.add(tuple(order))
    assert len(orders) > 12, "of the 24 orders, forty draws should show most"


def hue_turned(picture, amount):
    """Turn the hue by whole 1/255 of the circle, towards zero, as torchvision does."""
    hsv = np.array(picture.convert("HSV")).astype(int)
    hsv[..., 0] = (hsv[..., 0] + int(amount * 255)) % 256
    return Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")


def test_colour_jitter_turns_the_hue_within_its_amount():
    # One saturated colour: brightness, contrast and saturation keep its hue.
    image, labels = np.full((4, 4, 3), (40, 160, 60), np.uint8), np.zeros((4, 4), np.uint8)
    before = colorsys.rgb_to_hsv(40, 160, 60)[0]
    turns = []
    for jittered, _ in draws({"colour_jitter": 0.25}, 400, image, labels):
        turn = colorsys.rgb_to_hsv(*map(float, jittered[0, 0]))[0] - before
        turns.append((turn + 0.5) % 1 - 0.5)
    # Uniform over (-0.25, 0.25); 8-bit colours and hues put it off by about 0.02.
    assert max(map(abs, turns)) < 0.27
    assert max(turns) > 0.23
    assert min(turns) < -0.23
    assert abs(np.mean(turns)) < 5 * 0.5 / np.sqrt(12 * 400) + 0.01


def test_rotation_keeps_image_and_labels_aligned_and_fills_with_class_0():
    image, labels = photo(60, 80)
    image[...] = 40 * labels[..., None]
    angles = []
    for turned, turned_labels in draws({"rotate": 30}, 200, image, labels):
        assert turned.shape == image.shape
        assert set(np.unique(turned_labels)) <= {0, 1, 2, 3, 4}, "nothing is ignored"
        # Bicubic and nearest differ only along the edges between the quarters and outside: 4 x 80 pixels of 4800.
        assert (np.abs(turned[..., 0].astype(int) - 40 * turned_labels.astype(int)) <= 1).mean() > 0.9
        outside = turned_labels == 0
        # Pillow finds the nearest pixel in fixed point, so that a corner of the image may just fall outside.
        assert (turned[outside] > 0).any(-1).sum() <= 2
        angles.append(outside.mean())
    assert min(angles) < 0.01
    # At 30 degrees: the area of the four corner triangles, by supersampling in float.
    assert 0.9 * outside_share(60, 80, 30) < max(angles) <= outside_share(60, 80, 30) + 0.01


def outside_share(height, width, degrees):
    rows, columns = np.mgrid[:height, :width] + 0.5
    y, x, angle = rows - height / 2, columns - width / 2, np.deg2rad(degrees)
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    return ((abs(x) > width / 2) | (abs(y) > height / 2)).mean()


def test_rotation_is_always_drawn_within_its_angles_and_is_pillows():
    image, labels = photo()
    for seed in range(20):
        turned, turned_labels = augmentation_from([{"rotate": 30}])(image, labels, rng(seed))
        angle = rng(seed).uniform(-30, 30)
        assert np.array_equal(turned, np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BICUBIC)))
        assert np.array_equal(turned_labels, np.asarray(Image.fromarray(labels).rotate(angle)))
        assert not np.array_equal(turned, image)


def test_pad_extends_right_and_below():
    image, labels = pixels(5, 6)
    padded, padded_labels = augmentation_from([{"pad": [8, 7]}])(image, labels, rng())
    expected, expected_labels = np.zeros((8, 7, 3), np.uint8), np.full((8, 7), IGNORE, np.uint8)
    expected[:5, :6], expected_labels[:5, :6] = image, labels
    assert np.array_equal(padded, expected)
    assert np.array_equal(padded_labels, expected_labels)


@pytest.mark.parametrize("size", [[4, 6], [5, 5]])
def test_pad_refuses_a_larger_image(size):
    with pytest.raises(UserError, match="image of 5x6 is larger than the recipe's pad"):
        augmentation_from([{"pad": size}])(*pixels(5, 6), rng())


def test_resize_to_squashes():
    image, labels = pixels(25, 41)
    resized, resized_labels = augmentation_from([{"resize_to": [30, 20]}])(image, labels, rng())
    assert np.array_equal(resized, np.asarray(Image.fromarray(image).resize((20, 30), Image.Resampling.BICUBIC)))
    assert np.array_equal(resized_labels, nearest(labels, 30, 20))


RECIPE = [{"resize": [0.5, 1.5]}, {"crop": [32, 64]}, {"flip": 0.5}, {"colour_jitter": 0.25}, {"rotate": 30}]


def test_a_draw_depends_on_the_generator_alone():
    augmentation, (image, labels) = augmentation_from(RECIPE), photo()
    np.random.seed(1)  # noqa: NPY002
    first = [augmentation(image, labels, rng(seed)) for seed in range(5)]
    np.random.seed(2)  # noqa: NPY002
    again = [pickle.loads(pickle.dumps(augmentation))(image, labels, rng(seed)) for seed in range(5)]
    for (one, one_labels), (other, other_labels) in zip(first, again, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one_labels, other_labels)
    assert len({one.tobytes() for one, _ in first}) == 5


def test_steps_run_in_the_order_of_the_list():
    image, labels = pixels(5, 6)
    steps = [{"pad": [8, 8]}, {"resize_to": [5, 6]}]
    forth, _ = augmentation_from(steps)(image, labels, rng())
    back, _ = augmentation_from(steps[::-1])(image, labels, rng())
    assert forth.shape == (5, 6, 3)
    assert back.shape == (8, 8, 3)


def test_results_are_new_arrays_and_the_input_stays():
    image, labels = pixels()
    kept, kept_labels = image.copy(), labels.copy()
    for steps in ([], [{"flip": 0}], RECIPE):
        out, out_labels = augmentation_from(steps)(image, labels, rng())
        assert (out.dtype, out_labels.dtype) == (np.uint8, np.uint8)
        out[...], out_labels[...] = 3, 3
        assert np.array_equal(image, kept)
        assert np.array_equal(labels, kept_labels)


@pytest.mark.parametrize(
    ("steps", "size"),
    [
        ([], None),
        ([{"flip": 0.5}], None),
        ([{"resize": [0.5, 2.0]}, {"crop": [512, 1024]}, {"flip": 0.5}], (512, 1024)),
        ([{"crop": [8, 9]}, {"resize": [0.5, 2.0]}], None),
        ([{"flip": 0.5}, {"rotate": 30}, {"pad": [512, 512]}], (512, 512)),
        ([{"crop": [8, 9]}, {"resize_to": [576, 768]}], (576, 768)),
    ],
)
def test_the_fixed_size_is_that_of_the_last_step_that_fixes_it(steps, size):
    assert augmentation_from(steps).size == size


def test_steps_are_read_from_a_recipe():
    assert augmentation_from([{"crop": [8, 9]}, {"flip": 1}, {"resize_to": [3, 4]}]) == Augmentation(
        (Crop(height=8, width=9), Flip(1), ResizeTo(height=3, width=4))
    )


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (None, "an augmentation is a list of steps such as `- flip: 0.5`, not None"),
        ({"flip": 0.5}, "an augmentation is a list of steps"),
        ("flip", "an augmentation is a list of steps"),
        (["flip"], "a step of an augmentation is one entry such as `- flip: 0.5`, not 'flip'"),
        ([{"flip": 0.5, "rotate": 30}], "is one entry"),
        ([{}], "is one entry"),
        ([{"flop": 0.5}], "there is no augmentation step 'flop'. The steps are flip, resize, crop, colour_jitter,"),
        ([{1: 2}], "there is no augmentation step 1"),
        ([{"flip": 1.5}], "step flip takes a probability from 0 to 1, e.g. 0.5, not 1.5"),
        ([{"flip": True}], "step flip takes"),
        ([{"flip": float("nan")}], "step flip takes"),
        ([{"flip": "0.5"}], "step flip takes"),
        ([{"resize": 0.5}], "step resize takes"),
        ([{"resize": [2.0, 0.5]}], "step resize takes"),
        ([{"resize": [0, 0.5]}], "step resize takes"),
        ([{"resize": [0.5, float("inf")]}], "step resize takes"),
        ([{"crop": 512}], "step crop takes height and width"),
        ([{"crop": [512]}], "step crop takes height and width"),
        ([{"crop": [512.0, 512]}], "step crop takes height and width"),
        ([{"crop": [0, 512]}], "step crop takes height and width"),
        ([{"pad": [True, 512]}], "step pad takes height and width"),
        ([{"resize_to": None}], "step resize_to takes height and width"),
        ([{"colour_jitter": 0.6}], "step colour_jitter takes an amount above 0, at most 0.5"),
        ([{"rotate": 0}], "step rotate takes the largest angle"),
        ([{"flip": 0.5}, {"rotate": [10, 20]}], "step rotate takes the largest angle"),
    ],
)
def test_a_wrong_step_is_named(steps, message):
    with pytest.raises(UserError) as error:
        augmentation_from(steps)
    assert message in str(error.value)
