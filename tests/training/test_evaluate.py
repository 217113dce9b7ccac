import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from runtime.data.data_set import IGNORE, LabelSet
from runtime.data.label_sets import CAMVID, CAMVID_11, CITYSCAPES, VOC
from runtime.errors import UserError
from training import create_model
from training.evaluate import evaluate, format_iou
from training.network.variants import variant

RGB = LabelSet("rgb", ("red", "green", "blue"), ((200, 0, 0), (0, 150, 0), (0, 0, 100)))
RED, GREEN, BLUE = range(3)


class Images:
    """A data set of the given pairs of image and labels."""

    def __init__(self, labels, *pairs):
        self.name, self.labels, self.pairs = f"test {labels.name}", labels, pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]

    def stem(self, index):
        return f"bonn_000000_{index:06}_leftImg8bit"


class Network(nn.Module):
    """A network whose logits are ``function`` of the image with values 0 to 255; it keeps the images it was given."""

    def __init__(self, labels, size, function, **changes):
        super().__init__()
        self.config = replace(
            variant("cityscapes-m"), labels=labels, input_size=size, mean=(0, 0, 0), std=(1 / 255,) * 3, **changes
        )
        self.function, self.images = function, []
        self.parameter = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        self.images.append(x[0].permute(1, 2, 0).numpy().round().astype(np.uint8))
        assert not self.training
        return self.function(x) + self.parameter


def strongest_colour(size=(64, 128), labels=RGB):
    """A network of three classes (or more, which get a logit of -1) whose logits are the colours."""
    return Network(labels, size, lambda x: nn.functional.pad(x, (0, 0, 0, 0, 0, len(labels.classes) - 3), value=-1.0))


def painted(labels, strength=255):
    """An image that is red where the label is RED, and so on."""
    image = np.zeros((*labels.shape, 3), np.uint8)
    for label in range(3):
        image[labels == label, label] = strength
    return image


def halves(left, right, height=64, width=128):
    labels = np.full((height, width), left, np.uint8)
    labels[:, width // 2 :] = right
    return labels


def upsampled(maps, height, width):
    """Bilinear without aligned corners, float64 [K, h, w] to [K, height, width], as a product of two matrices."""

    def matrix(target, source):
        centre = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        return np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(source)))

    return matrix(height, maps.shape[1]) @ maps @ matrix(width, maps.shape[2]).T


def iou_of(predicted, truth, num_classes):
    counted = truth < num_classes
    iou = []
    for label in range(num_classes):
        ours, theirs = (predicted == label) & counted, truth == label
        union = (ours | theirs).sum()
        iou.append((ours & theirs).sum() / union if union else 0.0)
    return iou


# The definition adds 1e-6 to unions of more than 1,000 pixels, which lowers a share of 1 by less than 1e-9.
EXACT = 1e-9


def test_one_confusion_matrix_counts_over_all_images_and_absent_classes_are_0():
    # Image 1: all right, half red, half green. Image 2: predicted all red, but truly red, green and not counted.
    first = halves(RED, GREEN)
    second = halves(RED, GREEN)
    second[:32] = IGNORE
    data = Images(RGB, (painted(first), first), (painted(halves(RED, RED)), second))
    result = evaluate(strongest_colour(), data)
    # red: 4096 + 2048 right of 4096 + 4096 pixels seen or true; green: 4096 right of 4096 + 2048 true.
    assert result.iou == pytest.approx([6144 / 8192, 4096 / 6144, 0], abs=EXACT)
    assert result.miou == pytest.approx((6144 / 8192 + 4096 / 6144) / 3, abs=EXACT)
    assert (result.images, result.classes, result.data) == (2, RGB.classes, "test rgb")


def test_labels_beyond_the_classes_do_not_count():
    truth = halves(RED, 7)
    assert evaluate(strongest_colour(), Images(RGB, (painted(halves(RED, BLUE)), truth))).iou[RED] == pytest.approx(1)


def test_logits_are_resized_to_the_labels_before_the_arg_max():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (64, 128, 3), np.uint8)
    truth = random.integers(0, 3, (100, 170), np.uint8)
    predicted = upsampled(image.transpose(2, 0, 1).astype(float), 100, 170).argmax(0)
    nearest = image[np.arange(100) * 64 // 100][:, np.arange(170) * 128 // 170].argmax(2)
    expected = iou_of(predicted, truth, 3)
    # Where colours are equal, round-off decides; a handful of the 17,000 pixels.
    tolerance = 5e-4
    assert np.abs(np.subtract(expected, iou_of(nearest, truth, 3))).max() > 2 * tolerance, "nearest would be seen"
    assert evaluate(strongest_colour(), Images(RGB, (image, truth))).iou == pytest.approx(expected, abs=tolerance)


def test_each_image_is_scored_at_the_size_of_its_own_labels():
    small, large = halves(RED, GREEN, 32, 64), halves(GREEN, BLUE, 256, 128)
    result = evaluate(strongest_colour(), Images(RGB, (painted(small), small), (painted(large), large)))
    # Squashing halves leaves them apart at the middle, so all is right but what the resizing blurs beside it.
    assert (result.iou > 0.9).all()
    assert "each label image's own size" in result.protocol


def test_images_are_squashed_to_the_size_by_pillows_bilinear_filter():
    image = np.random.default_rng(1).integers(0, 256, (128, 256, 3), np.uint8)
    network = strongest_colour()
    evaluate(network, Images(RGB, (image, halves(RED, GREEN))))
    # Halving, Pillow's triangle has twice its width: weights 1 3 3 1 of 8, along rows and columns.
    weights = np.array([1, 3, 3, 1]) / 8
    rows = sum(weight * image[1 + shift : 125 + shift : 2].astype(float) for shift, weight in enumerate(weights))
    expected = sum(weight * rows[:, 1 + shift : 253 + shift : 2] for shift, weight in enumerate(weights))
    (seen,) = network.images
    assert seen.shape == (64, 128, 3)
    # Pillow rounds to a byte after each direction.
    assert np.abs(seen[1:63, 1:127] - expected).max() <= 1.01


def test_an_image_of_another_aspect_ratio_is_squashed_and_one_of_the_size_is_left_alone():
    fitting = np.random.default_rng(2).integers(0, 256, (64, 128, 3), np.uint8)
    network = strongest_colour()
    evaluate(
        network, Images(RGB, (painted(halves(RED, GREEN, 96, 96)), halves(RED, GREEN)), (fitting, fitting[..., 0]))
    )
    assert (network.images[0][:, :60] == (255, 0, 0)).all()
    assert (network.images[0][:, -60:] == (0, 255, 0)).all()
    assert (network.images[1] == fitting).all()


def test_a_size_takes_the_variants_place():
    network = strongest_colour()
    truth = halves(RED, GREEN)
    result = evaluate(network, Images(RGB, (painted(truth), truth)), size=(128, 192))
    assert network.images[0].shape == (128, 192, 3)
    assert "resized to 128x192" in result.protocol


def voc_image(height, width):
    """A random image of the two first classes of VOC, and its labels, on which the void network is always right."""
    labels = np.random.default_rng(3).integers(0, 2, (height, width), np.uint8)
    return painted(labels), labels


def test_vocs_images_are_padded_and_not_resized():
    network = strongest_colour((128, 128), VOC)
    image, labels = voc_image(90, 120)
    result = evaluate(network, Images(VOC, (image, labels)))
    (seen,) = network.images
    assert seen.shape == (128, 128, 3)
    assert (seen[:90, :120] == image).all()
    assert not seen[90:].any()
    assert not seen[:, 120:].any()
    # Class 0 would lose if the black border, of which it is predicted, counted.
    assert result.iou[:2] == pytest.approx(1, abs=EXACT)
    assert "padded with black to 128x128" in result.protocol


def test_an_image_of_voc_larger_than_the_size_is_refused():
    network = strongest_colour((128, 128), VOC)
    with pytest.raises(UserError, match=r"is 90x130 .* --size 128x192"):
        evaluate(network, Images(VOC, voc_image(90, 130)))
    evaluate(network, Images(VOC, voc_image(90, 130)), size=(128, 192))


def test_at_other_scales_vocs_labels_are_a_corner_of_the_padded_image():
    network = strongest_colour((128, 128), VOC)
    labels = np.zeros((64, 128), np.uint8)
    labels[:, 64:] = 1
    result = evaluate(network, Images(VOC, (painted(labels), labels)), scales=(2.0,))
    assert network.images[0].shape == (256, 256, 3)
    assert result.iou[:2] == pytest.approx(1, abs=0.05)  # but for what resizing blurs along the edges


def test_by_default_there_is_one_scale_and_no_flip():
    network = strongest_colour()
    truth = halves(RED, GREEN)
    result = evaluate(network, Images(RGB, (painted(truth), truth)))
    assert len(network.images) == 1
    assert "single scale, no flip" in result.protocol


def lopsided(x):
    """Red wins by what the image shows, green by 100 in the left half of whatever the network is shown."""
    green = torch.zeros_like(x[:, 0])
    green[..., : x.shape[-1] // 2] = 100
    return torch.stack([x[:, 0], green, torch.full_like(green, -1)], 1)


def test_flip_takes_the_maximum_with_the_mirror_image():
    truth = halves(RED, GREEN)
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, :64, 0], image[:, 64:, 0] = 150, 50
    data = Images(RGB, (image, truth))
    # Seen as it is: red 150 > 100 on the left, and 50 > 0 on the right, which is wrong.
    assert evaluate(Network(RGB, (64, 128), lopsided), data).iou == pytest.approx([0.5, 0, 0], abs=EXACT)
    # The mirror image's green 100 lies over the right half and beats red 50; red 150 still beats it on the left.
    network = Network(RGB, (64, 128), lopsided)
    flipped = evaluate(network, data, flip=True)
    assert flipped.iou == pytest.approx([1, 1, 0], abs=EXACT)
    assert (network.images[1] == image[:, ::-1]).all()
    assert "maximum with the mirror image" in flipped.protocol


def test_scales_are_gathered_by_a_running_mean_in_which_the_last_weighs_most():
    # By the width of its input: red's logit 1, 0, 0; green's 0, 0.9, 0; blue's 0, 0, 0.6.
    logits = {128: (1.0, 0.0, 0.0), 256: (0.0, 0.9, 0.0), 384: (0.0, 0.0, 0.6)}

    def by_width(x):
        return torch.tensor(logits[x.shape[-1]]).view(1, 3, 1, 1).expand(1, 3, *x.shape[-2:])

    def winner(scales):
        every_class = np.array([[RED, GREEN, BLUE]], np.uint8).repeat(2, 0)
        data = Images(RGB, (np.zeros((64, 128, 3), np.uint8), every_class))
        return int(evaluate(Network(RGB, (64, 128), by_width), data, scales=scales).iou.argmax())

    # (1/4, 0.9/4, 0.6/2): blue. A plain mean and a maximum would give red.
    assert winner((1, 2, 3)) == BLUE
    # The order counts: (1/2, 0.9/4, 0.6/4) and (1/4, 0.9/2, 0.6/4).
    assert winner((3, 2, 1)) == RED
    assert winner((1, 3, 2)) == GREEN


def test_scales_use_the_nearest_legal_sizes_and_the_protocol_names_them():
    network = strongest_colour((128, 256))
    truth = halves(RED, GREEN)
    result = evaluate(network, Images(RGB, (painted(truth), truth)), scales=(1, 0.6, 1.9))
    # 76.8 x 153.6 and 243.2 x 486.4, to multiples of 64.
    assert [image.shape[:2] for image in network.images] == [(128, 256), (64, 128), (256, 512)]
    assert "scales 1, 0.6, 1.9 (inputs 128x256, 64x128, 256x512" in result.protocol


def test_with_scales_each_input_is_resized_from_the_image_itself():
    image = np.random.default_rng(4).integers(0, 256, (128, 256, 3), np.uint8)
    network = strongest_colour()
    evaluate(network, Images(RGB, (image, image[..., 0])), scales=(1, 2))
    assert (network.images[1] == image).all()


def test_a_model_of_more_classes_leaves_the_others_out_of_the_arg_max():
    def sees_void(x):
        return torch.cat([x, torch.full((1, 8, 64, 128), -1.0), torch.full((1, 1, 64, 128), 999.0)], 1)

    network = Network(CAMVID, (64, 128), sees_void)
    truth = halves(RED, GREEN)
    result = evaluate(network, Images(CAMVID_11, (painted(truth), truth)))
    assert result.iou == pytest.approx([1, 1] + 9 * [0], abs=EXACT)
    assert "11 classes" in result.protocol
    assert "void left out" in result.protocol
    # With Void counted, Void is what this network sees everywhere.
    assert evaluate(network, Images(CAMVID, (painted(truth), truth))).miou == 0


@pytest.mark.parametrize(("ours", "theirs"), [(CAMVID_11, CAMVID), (CITYSCAPES, CAMVID), (VOC, CITYSCAPES)])
def test_a_model_of_other_classes_is_refused(ours, theirs):
    truth = halves(RED, GREEN)
    with pytest.raises(UserError, match=f"predicts the {len(ours.classes)} classes of {ours.name}, but test"):
        evaluate(strongest_colour(labels=ours), Images(theirs, (painted(truth), truth)))


def test_limit_takes_the_first_images_and_the_protocol_says_so():
    right, wrong = halves(RED, GREEN), halves(GREEN, RED)
    data = Images(RGB, (painted(right), right), (painted(right), wrong), (painted(right), wrong))
    limited = evaluate(strongest_colour(), data, limit=1)
    assert limited.images == 1
    assert limited.iou == pytest.approx([1, 1, 0], abs=EXACT)
    assert "the first 1 of 3 images" in limited.protocol
    whole = evaluate(strongest_colour(), data, limit=99)
    assert whole.images == 3
    assert "3 of 3 images" in whole.protocol
    assert "first" not in whole.protocol


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate(strongest_colour(), Images(RGB))
    truth = halves(RED, GREEN)
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate(strongest_colour(), Images(RGB, (painted(truth), truth)), scales=())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_must_be_above_0(scale):
    truth = halves(RED, GREEN)
    with pytest.raises(UserError, match="is no scale"):
        evaluate(strongest_colour(), Images(RGB, (painted(truth), truth)), scales=(1.0, scale))


def test_an_illegal_size_is_refused():
    truth = halves(RED, GREEN)
    with pytest.raises(UserError, match="nearest legal sizes"):
        evaluate(strongest_colour(), Images(RGB, (painted(truth), truth)), size=(64, 100))


def test_an_unusable_device_is_refused():
    truth = halves(RED, GREEN)
    with pytest.raises(UserError, match="cannot use the device 'cuda:99'"):
        evaluate(strongest_colour(), Images(RGB, (painted(truth), truth)), device="cuda:99")


def test_the_model_is_left_as_it_was():
    model = strongest_colour().train()
    truth = halves(RED, GREEN)
    evaluate(model, Images(RGB, (painted(truth), truth)))
    assert model.training
    model.parameter.sum().backward()  # impossible with a parameter made in inference mode
    assert model.parameter.grad == 1


def test_saved_are_colours_official_ids_and_iou(tmp_path):
    (tmp_path / "colour").mkdir()
    (tmp_path / "colour" / "mine.txt").write_text("keep me")
    truth = halves(GREEN, BLUE, 128, 256)  # train ids 1, sidewalk, and 2, building
    image = painted(halves(GREEN, RED, 128, 256))
    result = evaluate(strongest_colour(labels=CITYSCAPES), Images(CITYSCAPES, (image, truth)), save=tmp_path)

    stem = "bonn_000000_000000_leftImg8bit"
    colours = np.array(Image.open(tmp_path / "colour" / f"{stem}.png"))
    assert colours.shape == (128, 256, 3)
    assert (colours[:, :120] == (244, 35, 232)).all()  # sidewalk
    assert (colours[:, 136:] == (128, 64, 128)).all()  # road
    with Image.open(tmp_path / "results" / f"{stem}_labelIds.png") as ids:
        assert ids.mode == "L"
        assert ids.size == (256, 128)
        assert (np.array(ids)[:, :120] == 8).all()
        assert (np.array(ids)[:, 136:] == 7).all()
    # Cityscapes' scripts look for <city>_<sequence>_<frame>*.png and want exactly one.
    assert len(list((tmp_path / "results").rglob("bonn_000000_000000*.png"))) == 1

    written = json.loads((tmp_path / "iou.json").read_text())
    assert written["iou"]["sidewalk"] == result.iou[1] == pytest.approx(1, abs=0.02)
    assert len(written["iou"]) == 19
    assert written["miou"] == result.miou
    assert written["protocol"] == result.protocol
    assert written["images"] == 1
    assert (tmp_path / "colour" / "mine.txt").read_text() == "keep me"
    assert sorted(entry.name for entry in tmp_path.rglob("*") if entry.is_file()) == sorted(
        ["mine.txt", f"{stem}.png", f"{stem}_labelIds.png", "iou.json"]
    )


def test_other_classes_have_no_official_ids(tmp_path):
    truth = halves(RED, GREEN)
    data = Images(RGB, (painted(truth), truth), (painted(truth), truth))
    evaluate(strongest_colour(), data, save=tmp_path)
    assert not (tmp_path / "results").exists()
    assert len(list((tmp_path / "colour").iterdir())) == 2
    colours = np.array(Image.open(tmp_path / "colour" / "bonn_000000_000001_leftImg8bit.png"))
    assert (colours[0, 0] == (200, 0, 0)).all()
    assert (colours[0, -1] == (0, 150, 0)).all()


def test_without_save_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = halves(RED, GREEN)
    evaluate(strongest_colour(), Images(RGB, (painted(truth), truth)))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    truth = halves(RED, GREEN)
    with pytest.raises(UserError, match="cannot write"):
        evaluate(strongest_colour(), Images(RGB, (painted(truth), truth)), save=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_real_network_sees_what_it_sees_by_hand():
    torch.manual_seed(0)
    model = create_model("street-tiny").eval()
    image = np.random.default_rng(5).integers(0, 256, (64, 128, 3), np.uint8)
    x = (image / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with torch.no_grad():
        truth = model(torch.from_numpy(x.transpose(2, 0, 1)[None]).float())[0].argmax(0).byte().numpy()
    assert len(np.unique(truth)) > 3, "a network that sees one class everywhere would prove nothing"
    # In training mode BatchNorm would take this image's statistics instead of its own.
    result = evaluate(model.train(), Images(CITYSCAPES, (image, truth)), size=(64, 128))
    # The two ways to normalise differ by round-off, which may turn single pixels of 8,192.
    present = np.bincount(truth.ravel(), minlength=19)
    assert (result.iou * present).sum() / present.sum() == pytest.approx(1, abs=1e-3)
    assert result.model == "street-tiny"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_labels_like_the_cpu(tmp_path):
    torch.manual_seed(0)
    model = create_model("street-tiny")
    image, truth = np.random.default_rng(6).integers(0, 256, (128, 256, 3), np.uint8), halves(0, 1, 200, 400)
    for device in ("cpu", "cuda"):
        data = Images(CITYSCAPES, (image, truth))
        evaluate(model, data, scales=(1, 0.5), flip=True, save=tmp_path / device, device=device)
    on_cpu, on_gpu = (
        np.array(Image.open(tmp_path / device / "results" / f"{data.stem(0)}_labelIds.png"))
        for device in ("cpu", "cuda")
    )
    # FP32 round-off may turn single pixels of 80,000.
    assert (on_cpu == on_gpu).mean() > 0.999
    assert next(model.parameters()).device.type == "cpu"


def test_the_table_lists_each_class_and_the_mean():
    lines = format_iou(("road", "car"), np.array([0.5, 0.25])).splitlines()
    assert [line.split() for line in lines] == [["road", "50.00", "%"], ["car", "25.00", "%"], ["mIoU", "37.50", "%"]]
