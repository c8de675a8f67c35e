"""The patterns that surfaces are painted with, one table for all grammars.

A pattern gets coordinates in meters along a surface (u across, v up from its middle), its period,
a seed, the base color and an accent, all per sample, and returns the color and what the surface
emits. Patterns are made of a table of random numbers and of triangle waves: like ``raycast``, only
operations that round alike everywhere.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

PERIOD = 1 << 13  # of the noise, a power of two

Colors = list[Tensor]  # red, green and blue display values, of one shape
Painted = tuple[Colors, Tensor | None]
Pattern = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Colors, Colors], Painted]


def hashed(a: Tensor, b: Tensor, seed: Tensor) -> Tensor:
    """Integers -> floats in [0, 1) that look random; repeats every ``PERIOD`` cells."""
    order, values = _tables(a.device)
    return values[(order[(a + seed) & PERIOD - 1] + b) & PERIOD - 1]


def noise(u: Tensor, v: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise in [0, 1) with unit period."""
    order, values = _tables(u.device)
    a, b = u.floor(), v.floor()
    fu, fv = u - a, v - b
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    a, b = a.long() + seed, b.long()
    left, right = order[a & PERIOD - 1] + b, order[(a + 1) & PERIOD - 1] + b
    low = values[left & PERIOD - 1] * (1 - fu) + values[right & PERIOD - 1] * fu
    high = values[(left + 1) & PERIOD - 1] * (1 - fu) + values[(right + 1) & PERIOD - 1] * fu
    return low * (1 - fv) + high * fv


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """A permutation of PERIOD integers and as many floats: look-ups are cheaper than hashing."""
    draw = np.random.Generator(np.random.PCG64(0))
    order, values = draw.permutation(PERIOD), draw.random(PERIOD).astype(np.float32)
    return torch.from_numpy(order).to(device), torch.from_numpy(values).to(device)


def wave(t: Tensor) -> Tensor:
    """A triangle wave in [0, 1] with unit period: 1 at whole numbers, 0 between two."""
    return (2 * (t - t.floor()) - 1).abs()


def mix(base: Colors, accent: Colors, share: Tensor) -> Colors:
    return [b + (a - b) * share for b, a in zip(base, accent, strict=True)]


def scaled(base: Colors, factor: Tensor) -> Colors:
    return [b * factor for b in base]


def _rough(low, span, coarse, fine, u, v, su, sv, seed, base, accent):
    """Noise between ``low`` and ``low + span``; ``fine``: share of noise four times as fine."""
    u, v = u / su * coarse, v / sv * coarse
    value = noise(u, v, seed)
    if fine:
        value = value * (1 - fine) + noise(u * 4, v * 4, seed + 1) * fine
    return scaled(base, low + span * value), None


def _mottled(level, soft, u, v, su, sv, seed, base, accent):
    """Patches of the accent: hard ones for ``soft`` = 0."""
    value = noise(u / su, v / sv, seed) * 0.7 + noise(u / su * 4, v / sv * 4, seed + 1) * 0.3
    share = ((value - level) / soft).clamp(0, 1) if soft else (value > level).to(u.dtype)
    return mix(base, accent, share), None


def _cells(joint, dark, spread, u, v, su, sv, seed, base, accent):
    """Tiles or slabs: ``joint``: share of a period; ``spread``: of the tones of single ones."""
    a, b = u / su, v / sv
    tone = 1 - spread / 2 + spread * hashed(a.floor().long(), b.floor().long(), seed)
    line = (wave(a) > 1 - joint) | (wave(b) > 1 - joint)
    return scaled(base, torch.where(line, dark, tone)), None


def _stripes(u, v, su, sv, seed, base, accent):
    on = (wave(u / su) > 0.55) | (wave(v / sv) > 0.8)
    return mix(base, accent, on * 0.6), None


def _planks(u, v, su, sv, seed, base, accent):
    """Boards along u; bricks if they are short."""
    b = (v / sv).floor().long()
    shifted = u / su + hashed(b, b * 0, seed) * 5
    tint = 0.84 + 0.22 * hashed(shifted.floor().long(), b, seed)
    streak = 0.94 + 0.12 * noise(u * 3, v * 60, seed)
    joint = (wave(v / sv) > 0.94) | (wave(shifted) > 0.99)
    return scaled(base, torch.where(joint, 0.65, tint * streak)), None


def _books(u, v, su, sv, seed, base, accent):
    """Spines side by side, each of its own color."""
    place = u / su + noise(u * 6, u * 0, seed) * 0.8
    a = place.floor().long()
    mixed = mix(base, accent, hashed(a, a * 0, seed))
    tone = (0.4 + 0.8 * hashed(a, a * 0 + 1, seed)) * torch.where(wave(place) > 0.9, 0.5, 1.0)
    own = [0.6 + 0.7 * hashed(a, a * 0 + 2 + i, seed) for i in range(3)]
    return [m * tone * o for m, o in zip(mixed, own, strict=True)], None


def _art(u, v, su, sv, seed, base, accent):
    mixed = mix(base, accent, noise(u / su * 2.2, v / sv * 2.2, seed))
    tone = 0.5 + 0.9 * noise(u / su * 4, v / sv * 4, seed + 3)
    shift = noise(u / su * 3, v / sv * 3, seed + 5)
    return [mixed[0] * tone * (0.7 + 0.6 * shift), mixed[1] * tone, mixed[2] * tone], None


def _show(u, v, su, sv, seed, base, accent):
    """What a lit screen shows."""
    return _art(u, v, su, sv, seed, base, accent)[0], 0.5 + 0 * u


def _panes(u, v, su, sv, seed, base, accent):
    """A view of sky and trees between bars of the accent, bright."""
    high = (v / sv * 0.5 + 0.5).clamp(0, 1) + 0.25 * (noise(u * 4, u * 0, seed) - 0.5)
    trees = (high < 0.35) * (0.5 + 0.5 * noise(u * 9, v * 9, seed))
    view = [0.62 + 0.2 * high, 0.74 + 0.12 * high, 0.9 + 0 * high]
    view = [s + (g - s) * trees for s, g in zip(view, (0.33, 0.46, 0.3), strict=True)]
    bar = ((wave(u / su) < 0.05 / su) | (v.abs() < 0.018)).to(u.dtype)
    return mix(view, accent, bar), (1 - bar) * 0.75


def _panels(u, v, su, sv, seed, base, accent):
    """Doors or drawers with seams and knobs."""
    a, b = u / su + 0.5, v / sv + 0.5
    seam = (wave(a) > 1 - 0.03 / su) | (wave(b) > 1 - 0.03 / sv)
    knob = (wave(a) < 0.14) & ((v / sv - (v / sv).round()).abs() * sv < 0.018)
    tone = 0.95 + 0.1 * noise(u * 3, v * 30, seed)
    return scaled(base, torch.where(seam | knob, 0.45, tone)), None


def _folds(u, v, su, sv, seed, base, accent):
    return scaled(base, 0.65 + 0.45 * wave(u / su + 0.5 * noise(u * 5, v * 0.7, seed))), None


def _screen(u, v, su, sv, seed, base, accent):
    """Dark glass with a reflection of the accent."""
    shine = (u / su + v / sv + 0.5).clamp(0, 1) * noise(u * 3, v * 3, seed)
    return mix(base, accent, shine * 0.5), None


def _bent(level, stretch, u, v, su, sv, seed, base, accent):
    """Wavy bands across u, or across v: a tabby's coat, water."""
    along = (u / su if stretch == 1 else v / sv) + 1.2 * noise(u / su, v / sv, seed)
    crest = wave(along + 0.6 * noise(u / su * 0.4, v / sv * stretch, seed + 1))
    return mix(base, accent, ((crest - level) * 2).clamp(0, 0.8)), None


def _facade(u, v, su, sv, seed, base, accent):
    """Windows of the accent in a wall, one a period; how wide they are is the seed's."""
    a, b = (u / su).floor(), (v / sv).floor()
    broad = 0.2 + 0.2 * hashed(seed, seed + 1, seed)
    across, up = (u / su - a - 0.5).abs(), (v / sv - b - 0.5).abs()
    pane = ((across < broad) & (up < 0.29)).to(u.dtype)
    frame = (across < broad + 0.05) & (up < 0.34)
    wall = scaled(base, (0.9 + 0.14 * noise(u * 0.5, v * 0.5, seed)) * (1 + 0.12 * frame))
    return mix(wall, scaled(accent, 0.6 + 1.2 * hashed(a.long(), b.long(), seed)), pane), None


def _asphalt(u, v, su, sv, seed, base, accent):
    """Lanes along v, ``su`` wide, dashed lines of the accent, on a road of half width ``sv``."""
    tone = 0.9 + 0.16 * noise(u * 6, v * 4, seed)
    patch = noise(u * 0.4, v * 0.1, seed + 2)
    lane = (u / su - (u / su).round()).abs() * su
    dash = (lane < 0.07) & (wave(v / 9) > 0.45) & (u.abs() < sv - 1.0)
    curb = ((u.abs() - sv + 0.35).abs() < 0.05) & (hashed(seed, seed, seed) < 0.4)
    worn = (dash | curb) * (0.5 + 0.5 * patch)
    return mix(scaled(base, tone - (patch > 0.72) * 0.08), accent, worn), None


def _pickets(u, v, su, sv, seed, base, accent):
    return scaled(base, 0.45 + 0.55 * (wave(u / su) > 0.3)), None


def _cabin(u, v, su, sv, seed, base, accent):
    """Glass of the accent from -``sv`` to ``su`` up, with posts; the base color elsewhere."""
    glass = (v < su) & (v > -sv) & (wave(u * 0.7) < 0.93)
    shine = 0.7 + 1.8 * (v + 0.2).clamp(0, 1) * noise(u * 2, v * 2, seed)
    return mix(base, scaled(accent, shine), glass.to(u.dtype)), None


def _wall(u, v, su, sv, seed, base, accent):
    """Faint stripes; a skirting board of the accent at the foot of a wall, ``sv`` below v = 0."""
    board = (v < 0.12 - sv).to(u.dtype)
    return mix(scaled(base, 1 - 0.07 * (wave(u / su) > 0.5)), accent, board), None


def _glow(u, v, su, sv, seed, base, accent):
    return base, 0.6 + 0 * u


PATTERNS: dict[str, Pattern] = {
    "cloth": partial(_rough, 0.86, 0.26, 1.0, 0.4),
    "grain": partial(_rough, 0.82, 0.3, 1.0, 0.4),  # wood, with a period longer along than across
    "fur": partial(_rough, 0.72, 0.55, 1.0, 0.4),
    "wool": partial(_rough, 0.6, 0.65, 2.0, 0.0),
    "leaves": partial(_rough, 0.4, 1.1, 1.0, 0.45),
    "turf": partial(_rough, 0.7, 0.5, 0.5, 0.5),
    "speckle": partial(_rough, 0.8, 0.4, 2.0, 0.5),
    "blotches": partial(_mottled, 0.55, 0.0),
    "patches": partial(_mottled, 0.4, 0.4),
    "tiles": partial(_cells, 0.06, 0.74, 0.14),
    "slabs": partial(_cells, 0.05, 0.82, 0.1),
    "tabby": partial(_bent, 0.4, 1.0),
    "ripple": partial(_bent, 0.35, 1.7),
}
"""A paint of another name is plain; "sky" is the sky's, see ``render``."""
for _own in (
    *(_stripes, _planks, _books, _art, _show, _panes, _panels, _folds),
    *(_screen, _facade, _asphalt, _wall, _pickets, _cabin, _glow),
):
    PATTERNS[_own.__name__[1:]] = _own
