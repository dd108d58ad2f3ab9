"""Paints the emulated clips' pictures: a scene in a light of its own, chosen by the prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageOps

if TYPE_CHECKING:
    from random import Random

Colour = tuple[int, ...]
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Shapes = Callable[[ImageDraw.ImageDraw], None]


@dataclass(frozen=True)
class Front:
    """A plain layer that stands nearest to the camera. Only its mask moves, which is cheap."""

    mask: Image.Image
    colour: Colour


@dataclass(frozen=True)
class Scenery:
    """What the camera moves over."""

    back: Image.Image
    front: Front | None = None


@dataclass(frozen=True)
class Light:
    """Colours of one mood: the sky from top to horizon, the sun, far and near land."""

    top: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    far: Colour
    near: Colour
    stars: bool


def _light(colours: str, *, stars: bool = False) -> Light:
    top, middle, horizon, sun, far, near = (ImageColor.getrgb(f"#{c}") for c in colours.split())
    return Light(top, middle, horizon, sun, far, near, stars)


LIGHTS = (
    _light("2b2d5b d76d77 ffcf91 fff3d0 b0697f 2a1b3d"),  # dawn
    _light("3a6ea5 f2b27a ffe3a8 fffbe6 c98d6b 3b2a2f"),  # golden hour
    _light("2f7fd0 8ec9f0 eaf6ff ffffff 8fb3c9 1f4a3d"),  # noon
    _light("070b24 1b2a5e 5b6cb0 f4f1d6 2c3b73 060914", stars=True),  # moonlight
    _light("04121f 0c4a4e 5fd0a0 e6fff2 176a60 03100f", stars=True),  # northern lights
    _light("355c7d c06c84 f8b195 fff0d6 b5655f 4a1f35"),  # desert
    _light("6f86a6 aebfd0 eef0ea fffdf2 93a5b5 2b3a48"),  # mist
    _light("1a0b3b 6a2c91 f16b9a ffe0ec 7c3a8d 16062e", stars=True),  # neon dusk
)


def paint(prompt: str, random: Random, size: tuple[int, int]) -> Scenery:
    """Paint the scene that the prompt's words name, otherwise one that `random` chooses."""
    canvas = Canvas(size, random.choice(LIGHTS), random)
    words = [word.strip(",.;:!?") for word in prompt.lower().split()]
    named = [SCENE_OF_WORD[word] for word in words if word in SCENE_OF_WORD]
    scene = named[0] if named else random.choice(list(WORDS_OF_SCENE))
    return scene(canvas)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that lies `share` of the way from `first` to `second`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


class Canvas:
    """A picture in the making: sky and sun first, then what a scene puts on it."""

    def __init__(self, size: tuple[int, int], light: Light, random: Random) -> None:
        self.width, self.height = self.size = size
        self.light, self.random = light, random
        self.unit = min(size) / 100
        self.sun_radius = random.uniform(5, 11) * self.unit
        self.sun_at = random.uniform(0.2, 0.8) * size[0], random.uniform(0.22, 0.48) * size[1]
        self.picture = self.gradient(light.top, light.horizon, light.middle)
        if light.stars:
            self._stars()
        self._sun()
        self._clouds()

    def gradient(self, top: Colour, low: Colour, middle: Colour | None = None) -> Image.Image:
        """Return a picture that goes from one colour at the top to another at the bottom."""
        slope = Image.linear_gradient("L").resize(self.size, Image.Resampling.BILINEAR)
        return ImageOps.colorize(slope, top, low, middle)

    def mask(self, shapes: Shapes) -> Image.Image:
        """Return a mask with smooth edges: the shapes are drawn at twice the size."""
        double = Image.new("L", (self.width * 2, self.height * 2))
        shapes(ImageDraw.Draw(double))
        return double.reduce(2)

    def glow(self, at: Point, radius: float, colour: Colour, strength: float) -> None:
        """Let light shine around a point."""
        side = max(2, round(2 * radius))
        fall = Image.radial_gradient("L").resize((side, side), Image.Resampling.BILINEAR)
        soft = fall.point([round(255 * strength * max(0, 1 - v / 180) ** 2) for v in range(256)])
        left, top = round(at[0] - radius), round(at[1] - radius)
        self.picture.paste(colour, (left, top, left + side, top + side), soft)

    def ridge(self, base: float, swing: float) -> list[Point]:
        """Return the outline of hills for a mask, around `base` (0 top … 1 bottom)."""
        random, high = self.random, 2 * self.height
        waves = [
            (swing / wave**0.9, wave * random.uniform(0.7, 1.3), random.uniform(0, 9))
            for wave in (1, 2, 3, 5, 9, 17, 31)
        ]
        line = [
            (float(x), high * (base + sum(a * math.sin(f * x / high * 2 + p) for a, f, p in waves)))
            for x in range(0, 2 * self.width + 8, 4)
        ]
        return [(0, high), *line, (line[-1][0], high)]

    def land(self, shapes: Shapes, nearness: float) -> None:
        """Paint a silhouette: the farther it is, the more it takes the sky's colour."""
        light = self.light
        colour = mix(mix(light.horizon, light.far, 0.6), light.near, nearness)
        haze = mix(colour, light.horizon, 0.4 * (1 - nearness))
        self.picture.paste(self.gradient(colour, haze), mask=self.mask(shapes))

    def stand_before(self, shapes: Shapes) -> Scenery:
        """Finish with a dark front layer."""
        colour = mix(self.light.near, (0, 0, 0), 0.2)
        return Scenery(self.picture, Front(self.mask(shapes), colour))

    def _stars(self) -> None:
        draw, random = ImageDraw.Draw(self.picture), self.random
        for _ in range(140):
            x, y = random.uniform(0, self.width), random.uniform(0, 0.6) * self.height
            size = random.uniform(0.15, 0.5) * self.unit
            bright = random.uniform(0.3, 1) * (1 - y / self.height)
            draw.ellipse((x, y, x + size, y + size), mix(self.light.middle, (255,) * 3, bright))

    def _sun(self) -> None:
        (x, y), radius = self.sun_at, self.sun_radius
        self.glow((x, y), radius * 7, self.light.sun, 0.75)
        disc = [2 * edge for edge in (x - radius, y - radius, x + radius, y + radius)]
        self.picture.paste(self.light.sun, mask=self.mask(lambda draw: draw.ellipse(disc, 255)))

    def _clouds(self) -> None:
        random, width, height = self.random, self.width // 4, self.height // 4
        small = Image.new("L", (width, height))
        draw = ImageDraw.Draw(small)
        for _ in range(random.randint(3, 8)):
            x, y = random.uniform(-0.2, 1) * width, random.uniform(0.05, 0.5) * height
            long = random.uniform(0.1, 0.35) * width
            for _ in range(6):
                left = x + random.uniform(0, 0.8) * long
                top = y + random.uniform(-1, 1) * self.unit
                thick = random.uniform(0.3, 1.1) * self.unit
                draw.ellipse((left, top, left + long, top + thick), 110)
        soft = small.filter(ImageFilter.GaussianBlur(self.unit * 0.35)).resize(self.size)
        self.picture.paste(mix(self.light.horizon, (255,) * 3, 0.4), mask=soft)


def outlined(outline: list[Point]) -> Shapes:
    """Return what draws one polygon."""
    return lambda draw: draw.polygon(outline, 255)


def boxes(rectangles: list[Box]) -> Shapes:
    """Return what draws rectangles."""

    def draw_all(draw: ImageDraw.ImageDraw) -> None:
        for rectangle in rectangles:
            draw.rectangle(rectangle, 255)

    return draw_all


def mountains(canvas: Canvas) -> Scenery:
    """Ridges behind ridges, then firs."""
    random, unit = canvas.random, canvas.unit
    for number in range(4):
        canvas.land(outlined(canvas.ridge(0.5 + 0.09 * number, 0.085 - 0.012 * number)), number / 5)
    ground = canvas.ridge(0.87, 0.03)
    trees = random.sample(ground[1:-1], round(canvas.width / unit / 5))

    def firs(draw: ImageDraw.ImageDraw) -> None:
        draw.polygon(ground, 255)
        for x, y in trees:
            tall = random.uniform(8, 24) * unit
            for level in (0.0, 0.28, 0.55):
                foot, wide = y + unit - tall * level, tall * 0.24 * (1 - level)
                tip = (x, y - tall * (0.5 + level))
                draw.polygon([(x - wide, foot), tip, (x + wide, foot)], 255)

    return canvas.stand_before(firs)


def sea(canvas: Canvas) -> Scenery:
    """Water that mirrors the sky, the sun's path on it, a sailing boat."""
    horizon = round(canvas.height * canvas.random.uniform(0.56, 0.64))
    canvas.land(outlined(canvas.ridge(horizon / canvas.height + 0.02, 0.04)), 0.15)
    mirrored = ImageOps.flip(canvas.picture.crop((0, 0, canvas.width, horizon)))
    deep = Image.new("RGB", mirrored.size, canvas.light.near)
    canvas.picture.paste(Image.blend(mirrored, deep, 0.3), (0, horizon))
    glitter(canvas, horizon)
    return canvas.stand_before(boat(canvas))


def boat(canvas: Canvas) -> Shapes:
    """Return what draws a boat, somewhere on the water."""
    x, y = canvas.random.uniform(0.3, 1.7) * canvas.width, 1.6 * canvas.height
    long = 30 * canvas.unit
    hull = [(-0.45, -0.1), (0.5, -0.1), (0.3, 0.06), (-0.32, 0.06)]
    mainsail = [(0.02, -1.2), (0.02, -0.16), (0.46, -0.16)]
    foresail = [(-0.03, -1.1), (-0.03, -0.16), (-0.38, -0.16)]

    def draw_all(draw: ImageDraw.ImageDraw) -> None:
        for shape in (hull, mainsail, foresail):
            draw.polygon([(x + a * long, y + b * long) for a, b in shape], 255)

    return draw_all


def glitter(canvas: Canvas, horizon: int) -> None:
    """Draw the sun's path on the water below `horizon`."""
    random, unit = canvas.random, canvas.unit
    draw = ImageDraw.Draw(canvas.picture, "RGBA")
    for _ in range(260):
        down = random.random() ** 1.4
        y = horizon + down * (canvas.height - horizon)
        x = random.gauss(canvas.sun_at[0], unit * (3 + 22 * down))
        long, thick = unit * random.uniform(0.5, 4) * (0.4 + down), unit * 0.5 * (0.3 + down)
        bright = round(random.uniform(40, 190) * (1 - 0.5 * down))
        draw.ellipse((x - long, y, x + long, y + thick), (*canvas.light.sun, bright))


def city(canvas: Canvas) -> Scenery:
    """Rows of towers, lit windows in the nearer ones."""
    for number in range(3):
        towers = skyline(canvas, 0.42 + 0.12 * number, 0.16, 5 + 2 * number)
        canvas.land(boxes(towers), 0.1 + 0.28 * number)
        if number:
            light_windows(canvas, towers)
    return canvas.stand_before(boxes(skyline(canvas, 0.84, 0.07, 10)))


def skyline(canvas: Canvas, top: float, swing: float, wide: float) -> list[Box]:
    """Return towers for a mask: their roofs lie around `top`, they are about `wide` units wide."""
    random = canvas.random
    towers: list[Box] = []
    x = -canvas.unit * wide
    while x < 2 * canvas.width:
        across = 2 * canvas.unit * wide * random.uniform(0.5, 1.4)
        roof = 2 * canvas.height * (top + random.uniform(-swing, swing))
        towers.append((x, roof, x + across, 2.0 * canvas.height))
        x += across * random.uniform(0.9, 1.3)
    return towers


def light_windows(canvas: Canvas, towers: list[Box]) -> None:
    """Light some windows of towers that were drawn as a mask, at twice the size."""
    draw, step = ImageDraw.Draw(canvas.picture), 2.2 * canvas.unit
    lit = mix(canvas.light.sun, (255, 214, 130), 0.6)
    for tower in towers:
        left, roof, right, floor = (edge / 2 for edge in tower)
        rows, columns = int((floor - roof) / step), int((right - left) / step)
        places = [(row, column) for row in range(rows) for column in range(columns)]
        for row, column in canvas.random.sample(places, len(places) // 4):
            x, y = left + (column + 0.35) * step, roof + (row + 0.5) * step
            draw.rectangle((x, y, x + step * 0.35, y + step * 0.4), lit)


def lanterns(canvas: Canvas) -> Scenery:
    """Glowing lights that drift over dark hills."""
    random = canvas.random
    canvas.land(outlined(canvas.ridge(0.72, 0.05)), 0.4)
    for _ in range(26):
        at = random.uniform(0, canvas.width), random.uniform(0.1, 0.85) * canvas.height
        paper = random.choice([(255, 170, 80), (255, 120, 140), (120, 200, 255)])
        size = random.uniform(1, 4) * canvas.unit
        canvas.glow(at, size * 5, mix(canvas.light.sun, paper, 0.5), 0.8)
        canvas.glow(at, size * 1.6, (255, 250, 235), 0.95)
    return canvas.stand_before(outlined(canvas.ridge(0.88, 0.04)))


WORDS_OF_SCENE = {
    mountains: "mountain mountains hills forest tree trees snow fox wolf deer dragon",
    sea: "sea ocean beach lake water wave waves boat ship island whale",
    city: "city street town skyline building tokyo car cyberpunk robot robots",
    lanterns: "lantern lanterns lights magic dream party festival dance dancing",
}
SCENE_OF_WORD = {word: scene for scene, words in WORDS_OF_SCENE.items() for word in words.split()}
