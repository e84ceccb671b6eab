"""Decoding to upright RGB, and the pure operations on pictures."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from deepscan.errors import ConfigError, CorruptMediaError, MediaError
from deepscan.media.pixels import decode_picture, denoise, equalize, fit_square, resize, sharpen, upright
from deepscan.media.probe import Limits
from deepscan.media.source import Media

LOSSLESS = [
    ("png", {}),
    ("bmp", {}),
    ("tiff", {}),
    ("tiff", {"compression": "tiff_lzw"}),
    ("webp", {"lossless": True}),
]
LOSSY = [
    ("jpeg", {"quality": 95}),
    ("jpeg", {"progressive": True}),
    ("webp", {"quality": 95}),
    ("avif", {}),
    ("tiff", {"compression": "jpeg"}),
]
TURNED = [("png", {}), ("tiff", {}), ("webp", {"lossless": True}), ("jpeg", {}), ("avif", {})]
ANIMATED = [("gif", {}), ("webp", {"lossless": True}), ("png", {}), ("tiff", {})]
FAILURES = [
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    EOFError,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    ZeroDivisionError,
    RuntimeError,
    UserWarning,
]
OPERATIONS = [denoise, equalize, sharpen]


@pytest.fixture(scope="module")
def noisy():
    """A picture with edges, texture and a dark half, uint8 [64, 64, 3]."""
    picture = np.random.default_rng(3).normal(60, 12, (64, 64, 3))
    picture[:, 32:] += 90
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_lossless_formats_decode_exactly(scene, encode, name, options):
    assert np.array_equal(decode_picture(encode(name, **options)), scene)


@pytest.mark.parametrize(("name", "options"), LOSSY)
def test_lossy_formats_decode_closely(scene, encode, name, options):
    picture = decode_picture(encode(name, **options))
    assert np.abs(picture.astype(int) - scene).mean() < 3


def test_jpeg_agrees_with_opencv(scene, encode):
    data = encode("jpeg", quality=90)
    second = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decode_picture(data).astype(int) - second).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, "ab/cd/ef"),
        (2, "ba/dc/fe"),
        (3, "fe/dc/ba"),
        (4, "ef/cd/ab"),
        (5, "ace/bdf"),
        (6, "eca/fdb"),
        (7, "fdb/eca"),
        (8, "bdf/ace"),
    ],
)
def test_orientation_by_hand(orientation, expected):
    def drawn(text):
        return np.array([[[ord(letter)] * 3 for letter in row] for row in text.split("/")], dtype=np.uint8)

    assert np.array_equal(upright(drawn("ab/cd/ef"), orientation), drawn(expected))


@pytest.mark.parametrize(("name", "options"), TURNED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_agrees_with_pillow(rotated, name, options, orientation):
    data = rotated(name, orientation, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    picture = decode_picture(data)
    assert picture.flags.c_contiguous
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_alpha_is_composited_over_white(encode, name):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 255, 128]]], dtype=np.uint8)
    picture = decode_picture(encode(name, rgba))
    assert picture[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
    blended = np.array([100, 0, 255]) * 128 / 255 + 255 * 127 / 255
    assert np.abs(picture[0, 2] - blended).max() <= 1


def test_colour_beneath_full_transparency_is_invisible(encode):
    hidden = np.random.default_rng(0).integers(0, 256, (9, 9, 4), dtype=np.uint8)
    hidden[..., 3] = 0
    assert (decode_picture(encode("png", hidden)) == 255).all()


def test_grey_with_alpha(encode):
    grey = np.array([[[50, 255], [50, 0]]], dtype=np.uint8)
    assert decode_picture(encode("png", Image.fromarray(grey, "LA")))[0].tolist() == [[50] * 3, [255] * 3]


@pytest.mark.parametrize("name", ["png", "gif", "tiff", "bmp"])
def test_palette(encode, name):
    indexed = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0, 1, 2, 3])
    assert decode_picture(encode(name, indexed))[0].tolist() == [[255, 0, 0], [0, 255, 0], [1, 2, 3]]


@pytest.mark.parametrize("name", ["png", "gif"])
@pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff"])
def test_palette_with_transparency(encode, name, transparency):
    if (name, type(transparency)) == ("gif", bytes):
        transparency = 1
    indexed = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0, 1, 2, 3])
    picture = decode_picture(encode(name, indexed, transparency=transparency))
    assert picture[0].tolist() == [[255, 0, 0], [255, 255, 255], [1, 2, 3]]


def test_transparent_colour_of_rgb(encode):
    rgb = np.array([[[9, 8, 7], [1, 2, 3]]], dtype=np.uint8)
    assert decode_picture(encode("png", rgb, transparency=(9, 8, 7)))[0].tolist() == [[255] * 3, [1, 2, 3]]


@pytest.mark.parametrize("name", ["png", "tiff", "bmp", "gif"])
def test_one_bit(encode, name):
    bits = Image.fromarray(np.array([[0, 255, 0]], dtype=np.uint8)).convert("1")
    assert decode_picture(encode(name, bits))[0].tolist() == [[0] * 3, [255] * 3, [0] * 3]


@pytest.mark.parametrize(("name", "dtype"), [("png", "<u2"), ("tiff", "<u2"), ("tiff", ">u2")])
def test_16_bit_grey_keeps_its_high_byte(encode, name, dtype):
    grey = np.array([[0, 255, 256, 0x1234, 0xFFFF]], dtype=dtype)
    assert decode_picture(encode(name, grey))[0, :, 0].tolist() == [0, 0, 1, 0x12, 0xFF]


def test_16_bit_grey_with_a_transparent_level(encode):
    grey = np.array([[0x1234, 0x1235]], dtype=np.uint16)
    assert decode_picture(encode("png", grey, transparency=0x1234))[0, :, 0].tolist() == [255, 0x12]


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_keeps_its_high_byte(extension, channels):
    bgra = np.array([[[0x5678, 0x1234, 0xFEDC, 0xFFFF]]], dtype=np.uint16)[..., :channels]
    data = cv2.imencode(extension, bgra)[1].tobytes()
    assert decode_picture(data)[0, 0].tolist() == [0xFE, 0x12, 0x56]


def test_cmyk_tiff_by_hand(encode):
    cmyk = Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8), "CMYK")
    assert decode_picture(encode("tiff", cmyk))[0].tolist() == [[255] * 3, [0, 255, 255], [0] * 3]


def test_inverted_cmyk_of_adobe_jpeg(scene, encode):
    data = encode("jpeg", Image.fromarray(scene).convert("CMYK"), quality=95)
    assert b"Adobe" in data
    assert np.abs(decode_picture(data).astype(int) - scene).mean() < 3


@pytest.mark.parametrize(("name", "options"), ANIMATED)
def test_first_frame_stands_for_an_animation(encode, name, options):
    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ("#ff0000", "#0000ff"))
    picture = decode_picture(encode(name, red, save_all=True, append_images=[blue], **options))
    assert picture.shape == (6, 8, 3)
    assert (picture == [255, 0, 0]).all()


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif"])
def test_cut_file_is_corrupt_and_never_half_a_picture(encode, noisy, name):
    data = encode(name, noisy)
    for share in (0.3, 0.5, 0.7, 0.9, 0.98):
        with pytest.raises(CorruptMediaError):
            decode_picture(data[: int(len(data) * share)])


def test_png_cut_behind_its_pixels_is_whole(encode, noisy):
    assert np.array_equal(decode_picture(encode("png", noisy)[:-12]), noisy)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_give_a_picture_or_a_media_error(encode, noisy, name):
    rng = np.random.default_rng(11)
    original, outcomes = encode(name, noisy[:24, :32]), set()
    for _ in range(200):
        data = bytearray(original)
        for at in rng.integers(0, [len(data), 64][rng.integers(2)], rng.integers(1, 6)):
            data[at] = rng.integers(256)
        outcomes.add(_outcome(bytes(data[: rng.integers(1, 2 * len(data))])))
    assert outcomes >= {"picture", "CorruptMediaError"}


def _outcome(data):
    try:
        media = Media.from_bytes(data, "a", Limits(max_pixels=10**6))
        assert media.picture_HWC.shape == (media.facts.height_px, media.facts.width_px, 3)
    except MediaError as error:
        return type(error).__name__
    return "picture"


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_inside_pillow_becomes_corrupt_media_with_its_cause(encode, monkeypatch, failure):
    def load(self):
        raise failure("x")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(CorruptMediaError) as caught:
        decode_picture(encode("bmp"))
    assert type(caught.value.__cause__) is failure


def test_global_settings_of_pillow_stay(encode):
    def settings():
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK

    before = settings()
    decode_picture(encode("jpeg"))
    assert settings() == before


def test_large_picture_decodes_without_a_warning_from_pillow(encode, scene, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(decode_picture(encode("png")), scene)


@pytest.mark.parametrize("size", [(60, 40), (1, 1), (7, 5), (120, 80), (30, 80), (120, 20)])
def test_resize_gives_the_size_asked_for(scene, size):
    assert resize(scene, *size).shape == (size[1], size[0], 3)


def test_resize_to_the_same_size_is_exact_and_a_copy(scene):
    same = resize(scene, 60, 40)
    assert np.array_equal(same, scene)
    assert not np.shares_memory(same, scene)


def test_shrinking_averages_areas(noisy):
    means = noisy.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(resize(noisy, 16, 16) - means).max() <= 0.51


def test_shrinking_one_side_while_the_other_grows_still_averages(noisy):
    means = noisy.reshape(64, 16, 4, 3).mean(axis=2)
    assert np.abs(resize(noisy, 16, 128)[::2].mean(axis=0) - means.mean(axis=0)).max() < 1.5


def test_growing_keeps_a_ramp(scene):
    expected = np.interp(np.arange(240), np.arange(60) * 4 + 1.5, scene[20, :, 0])
    grown = resize(scene, 240, 160)[80, :, 0]
    assert np.abs(grown - expected)[8:-8].max() <= 1


def test_fit_square_cuts_the_centre(scene):
    assert np.array_equal(fit_square(scene, 40), scene[:, 10:50])
    assert np.array_equal(fit_square(scene.transpose(1, 0, 2), 40), scene.transpose(1, 0, 2)[10:50])


def test_fit_square_is_exact_where_the_picture_fits(noisy):
    assert np.array_equal(fit_square(noisy, 64), noisy)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (13, 7)])
def test_fit_square_takes_any_size(shape):
    flat = np.full((*shape, 3), 77, dtype=np.uint8)
    assert (fit_square(flat, 5) == 77).all()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_strength_zero_changes_nothing(noisy, operation):
    assert np.array_equal(operation(noisy, 0.0), noisy)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_effect_grows_with_strength_in_every_pixel(noisy, operation):
    changes = [np.abs(operation(noisy, strength).astype(int) - noisy) for strength in (0.2, 0.5, 0.8, 1.0)]
    assert all((weak <= strong).all() for weak, strong in itertools.pairwise(changes))
    assert changes[0].sum() < changes[-1].sum()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_take_any_picture_and_leave_it_alone(operation):
    for shape in [(1, 1, 3), (2, 5, 3), (9, 8, 3)]:
        picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        picture.setflags(write=False)
        changed = operation(picture, 1.0)
        assert changed.shape == shape
        assert changed.dtype == np.uint8


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_out_of_range_is_refused(noisy, operation, strength):
    with pytest.raises(ConfigError, match=r"strength must be in \[0, 1\]"):
        operation(noisy, strength)


def test_denoise_smooths_flat_parts_and_keeps_the_edge(noisy):
    smooth = denoise(noisy, 1.0).astype(int)
    assert smooth[:, 4:28].std() < 0.7 * noisy[:, 4:28].std()
    assert smooth[:, 34:].mean() - smooth[:, :30].mean() > 85


def test_equalize_widens_a_narrow_range_and_keeps_grey_grey():
    narrow = np.repeat(np.random.default_rng(0).integers(110, 130, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    wide = equalize(narrow, 1.0).astype(int)
    assert wide.std() > 1.5 * narrow.std()
    assert np.ptp(wide, axis=2).max() <= 1


def test_sharpen_steepens_an_edge_and_keeps_flat_parts():
    edge = np.full((16, 32, 3), 80, dtype=np.uint8)
    edge[:, 16:] = 160
    crisp = sharpen(edge, 1.0).astype(int)
    assert crisp[8, 15, 0] < 80 < 160 < crisp[8, 16, 0]
    assert (crisp[:, :8] == 80).all()
    assert (crisp[:, 24:] == 160).all()
