"""Start frames from real files, good and hostile."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from core.errors import BadImage
from media import frame as frame_module
from media.child import Limits
from media.frame import FrameMaker

if TYPE_CHECKING:
    from pathlib import Path

RED, BLUE = (220, 30, 30), (30, 30, 220)


@pytest.fixture
def maker(tmp_path: Path) -> FrameMaker:
    return FrameMaker(tmp_path / "frames")


def two_halves(width: int, height: int) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    ImageDraw.Draw(image).rectangle((width // 2, 0, width, height), fill=BLUE)
    return image


def saved(folder: Path, image: Image.Image, form: str, **options: object) -> Path:
    path = folder / f"source.{form.lower()}"
    image.save(path, form, **options)
    return path


def pixel(path: Path, x: float, y: float) -> tuple[int, int, int]:
    """The colour at a place given in fractions of the width and height."""
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        found = image.getpixel((int(image.width * x), int(image.height * y)))
    assert isinstance(found, tuple)
    return found[0], found[1], found[2]


def near(found: tuple[int, int, int], wanted: tuple[int, int, int], slack: int = 12) -> bool:
    return all(abs(one - other) <= slack for one, other in zip(found, wanted, strict=True))


# --- Good pictures. ---


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
async def test_every_format_becomes_a_jpeg(maker: FrameMaker, tmp_path: Path, form: str) -> None:
    source = saved(tmp_path, two_halves(400, 300), form)
    frame = await maker.make(source, (4, 3))
    assert (frame.width, frame.height) == (400, 300)
    assert near(pixel(frame.path, 0.2, 0.5), RED, 20)
    assert near(pixel(frame.path, 0.8, 0.5), BLUE, 20)
    assert await maker.measure(source) == (400, 300)


async def test_a_frame_is_named_by_its_content(maker: FrameMaker, tmp_path: Path) -> None:
    source = saved(tmp_path, two_halves(400, 300), "PNG")
    first, second = await maker.make(source, (1, 1)), await maker.make(source, (1, 1))
    digest = hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert first == second
    assert first.path == tmp_path / "frames" / f"{digest}.jpg"
    assert list((tmp_path / "frames").iterdir()) == [first.path]


@pytest.mark.parametrize(
    ("size", "ratio", "wanted"),
    [
        ((1600, 900), (1, 1), (900, 900)),
        ((900, 1600), (16, 9), (900, 506)),
        ((6000, 4000), (9, 16), (1080, 1920)),
        ((6000, 4000), (21, 9), (1920, 823)),
        ((3000, 2000), (3, 2), (1920, 1280)),
        ((320, 180), (16, 9), (320, 180)),
    ],
)
async def test_crop_and_scale(
    maker: FrameMaker,
    tmp_path: Path,
    size: tuple[int, int],
    ratio: tuple[int, int],
    wanted: tuple[int, int],
) -> None:
    frame = await maker.make(saved(tmp_path, two_halves(*size), "JPEG"), ratio)
    assert (frame.width, frame.height) == wanted
    with Image.open(frame.path) as image:
        assert image.size == wanted
    # About the centre: the seam between the halves stays in the middle.
    assert near(pixel(frame.path, 0.45, 0.5), RED)
    assert near(pixel(frame.path, 0.55, 0.5), BLUE)


def phone_picture(folder: Path, form: str) -> Path:
    """A portrait as a phone saves it: lying, with a note how to turn it, and where it was."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SecretMaker"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif.get_ifd(0x8825)[29] = "2024:05:17"
    extra: dict[str, object] = {}
    if form == "JPEG":
        extra = {"comment": b"SecretMaker", "xmp": b"<x>SecretMaker</x>"}
    if form == "PNG":
        notes = PngInfo()
        notes.add_text("Author", "SecretMaker")
        extra = {"pnginfo": notes}
    profile = b"SecretMaker" * 20
    return saved(folder, two_halves(400, 300), form, exif=exif, icc_profile=profile, **extra)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
async def test_upright_and_nothing_told(maker: FrameMaker, tmp_path: Path, form: str) -> None:
    source = phone_picture(tmp_path, form)
    assert b"SecretMaker" in source.read_bytes()
    frame = await maker.make(source, (3, 4))
    assert (frame.width, frame.height) == (300, 400)
    assert await maker.measure(source) == (300, 400)
    assert near(pixel(frame.path, 0.5, 0.2), RED, 25)
    assert near(pixel(frame.path, 0.5, 0.8), BLUE, 25)
    written = frame.path.read_bytes()
    for trace in (b"Exif", b"SecretMaker", b"2024:05:17", b"ICC_PROFILE", b"xap/1.0"):
        assert trace not in written
    with Image.open(frame.path) as image:
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


async def test_the_first_frame_of_an_animation(maker: FrameMaker, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (200, 200), colour) for colour in (RED, BLUE, BLUE)]
    source = tmp_path / "animation.gif"
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=100)
    frame = await maker.make(source, (1, 1))
    assert near(pixel(frame.path, 0.5, 0.5), RED)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P"])
async def test_colour_modes(maker: FrameMaker, tmp_path: Path, mode: str) -> None:
    form = "JPEG" if mode in {"CMYK", "L"} else "PNG"
    frame = await maker.make(saved(tmp_path, two_halves(200, 100).convert(mode), form), (2, 1))
    left, right = pixel(frame.path, 0.2, 0.5), pixel(frame.path, 0.8, 0.5)
    if mode in {"CMYK", "P"}:
        assert near(left, RED, 30)
        assert near(right, BLUE, 30)
    else:
        assert max(left) - min(left) < 8


async def test_sixteen_bits_of_grey_keep_their_brightness(
    maker: FrameMaker, tmp_path: Path
) -> None:
    image = Image.frombytes("I;16", (128, 128), struct.pack("<H", 0x4000) * 128 * 128)
    frame = await maker.make(saved(tmp_path, image, "PNG"), (1, 1))
    assert near(pixel(frame.path, 0.5, 0.5), (0x40, 0x40, 0x40))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
async def test_what_is_transparent_becomes_white(
    maker: FrameMaker, tmp_path: Path, mode: str
) -> None:
    image = two_halves(200, 100)
    options: dict[str, object] = {}
    if mode == "P":
        image = image.quantize(2)
        options["transparency"] = image.getpixel((0, 0))
    else:
        alpha = Image.new("L", image.size, 255)
        alpha.paste(0, (0, 0, 100, 100))
        image = image.convert(mode[:-1])
        image.putalpha(alpha)
    frame = await maker.make(saved(tmp_path, image, "PNG", **options), (2, 1))
    assert near(pixel(frame.path, 0.2, 0.5), (255, 255, 255))
    assert not near(pixel(frame.path, 0.8, 0.5), (255, 255, 255), 60)


# --- Bad ones. ---


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and then has next to nothing in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 80).save(file, "PNG")
    return file.getvalue()


def text_bomb() -> bytes:
    whole = png_bytes(100, 100)
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))
    return whole[:33] + bomb + whole[33:]


def tiff_bytes() -> bytes:
    file = io.BytesIO()
    two_halves(100, 100).save(file, "TIFF")
    return file.getvalue()


NOISE = png_bytes(300, 300)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="500"><rect width="9"/></svg>'
BAD = {
    "empty": (b"", "empty"),
    "html": (b"<!doctype html><html><body>Sign in</body></html>", "not a readable"),
    "svg": (SVG, "not a readable"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 500 500\n", "not a readable"),
    "tiff": (tiff_bytes(), "not a readable"),
    "bomb of 900 megapixels": (png_header(30_000, 30_000), "40 million"),
    "just over the cap": (png_header(8001, 5000), "40 million"),
    "bomb of text": (text_bomb(), "broken"),
    "too small": (png_header(63, 100), "too small"),
    "too long": (png_header(16_385, 2000), "too long"),
    "too narrow": (png_header(100, 501), "too narrow"),
    "nothing in it": (png_header(1000, 1000), "broken"),
    "half": (NOISE[: len(NOISE) // 2], "broken"),
    "most": (NOISE[:-2000], "broken"),
    "too many bytes": (NOISE + bytes(20_000_000), "20 MB"),
}


@pytest.mark.parametrize(("content", "detail"), BAD.values(), ids=BAD.keys())
async def test_a_bad_picture_is_refused_and_told_why(
    maker: FrameMaker, tmp_path: Path, content: bytes, detail: str
) -> None:
    source = tmp_path / "picture.png"
    source.write_bytes(content)
    with pytest.raises(BadImage, match=detail):
        await maker.make(source, (16, 9))
    assert not list((tmp_path / "frames").iterdir())


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "AVIF"])
async def test_half_a_picture_is_refused(maker: FrameMaker, tmp_path: Path, form: str) -> None:
    source = saved(tmp_path, Image.effect_noise((300, 300), 80).convert("RGB"), form)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(BadImage):
        await maker.make(source, (1, 1))


async def test_measuring_refuses_too(maker: FrameMaker, tmp_path: Path) -> None:
    source = tmp_path / "picture.png"
    source.write_bytes(SVG)
    with pytest.raises(BadImage, match="not a readable"):
        await maker.measure(source)


async def test_what_takes_too_long_is_given_up(
    maker: FrameMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Limits(wall_s=0.02, cpu_s=10, memory_bytes=1 << 30, file_bytes=1_000_000)
    monkeypatch.setattr(frame_module, "LIMITS", hasty)
    with pytest.raises(BadImage, match="too long to read"):
        await maker.make(saved(tmp_path, two_halves(400, 300), "PNG"), (4, 3))
    assert not list((tmp_path / "frames").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="limits need Linux")
async def test_the_largest_picture_fits_into_the_memory(maker: FrameMaker, tmp_path: Path) -> None:
    source = saved(tmp_path, Image.new("RGBA", (8000, 5000), (9, 99, 9, 128)), "PNG")
    frame = await maker.make(source, (8, 5))
    assert (frame.width, frame.height) == (1920, 1200)
