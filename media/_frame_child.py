"""The child process of `media.frame`: one untrusted picture in, one plain JPEG out.

Run as a script: SOURCE prints the upright "WIDTH HEIGHT"; SOURCE DESTINATION RATIO, with RATIO
like 16:9, writes the JPEG and prints its size. Exit status 3: refused, the reason on standard
output; any other but 0: the picture is broken.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from PIL import (
    AvifImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

REFUSED = 3
PIXELS_MAX = 40_000_000
SIDE_MIN, SIDE_MAX = 64, 16_384
RATIO_MAX = 5
FRAME_SIDE_MAX = 1920
JPEG_QUALITY = 92

# Imported by name: Pillow would else load its forty other parsers to find WebP and AVIF.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)


class _Refused(Exception):
    """The picture is none that we take; the text says why."""


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        width, height = _convert(*arguments) if arguments[1:] else _measure(*arguments)
    except _Refused as refusal:
        sys.stdout.write(str(refusal))
        return REFUSED
    except MemoryError:
        sys.stdout.write("it takes too much memory to read")
        return REFUSED
    sys.stdout.write(f"{width} {height}")
    return 0


def _measure(source: str) -> tuple[int, int]:
    image = _open(Path(source))
    lies = image.getexif().get(ExifTags.Base.Orientation, 1) > 4  # noqa: PLR2004 — 5 to 8 turn it
    return (image.height, image.width) if lies else image.size


def _convert(source: str, destination: str, ratio: str) -> tuple[int, int]:
    image = _open(Path(source))
    # A JPEG may decode at half its size or less; both sides still reach what is kept.
    image.draft("", (FRAME_SIDE_MAX, FRAME_SIDE_MAX))
    ImageOps.exif_transpose(image, in_place=True)
    flat = _to_rgb(image)
    frame = ImageOps.fit(flat, _frame_size(flat.size, ratio), Image.Resampling.LANCZOS)
    frame.info.clear()  # Pillow would write a JPEG comment along.
    frame.save(destination, "JPEG", quality=JPEG_QUALITY)
    return frame.size


def _open(source: Path) -> Image.Image:
    try:
        image = Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        raise _Refused("it is not a readable JPEG, PNG, WebP, GIF or AVIF picture") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _Refused(f"it has more than {PIXELS_MAX // 10**6} million pixels") from None
    _check_shape(*image.size)
    return image


def _check_shape(width: int, height: int) -> None:
    if min(width, height) < SIDE_MIN:
        raise _Refused(f"it is too small: {width} x {height}, at least {SIDE_MIN} pixels a side")
    if max(width, height) > SIDE_MAX:
        raise _Refused(f"it is too long: {width} x {height}, at most {SIDE_MAX} pixels a side")
    if max(width, height) > RATIO_MAX * min(width, height):
        raise _Refused(f"it is too narrow: {width} x {height}, at most {RATIO_MAX} to 1")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey; convert() alone would clip them to white.
        image = image.point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer)
    return white


def _frame_size(size: tuple[float, float], ratio: str) -> tuple[int, int]:
    """Fit the largest area of that ratio into the picture, then scale it to the longest side."""
    width, height = size
    across, down = map(int, ratio.split(":"))
    width, height = min(width, height * across / down), min(height, width * down / across)
    scale = min(1, FRAME_SIDE_MAX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
