"""Paint on the surfaces of a streets7 scene; see ``textures`` for what a pattern gets and gives."""

import torch

from mtpsl.data.scenes.textures import hashed, mix, noise, scaled, wave


def _asphalt(u, v, su, sv, seed, base, accent):
    """Lanes along v, ``su`` wide, dashed lines between them, on a road of half width ``sv``."""
    rough = 0.9 + 0.16 * noise(u * 6, v * 4, seed)
    patch = noise(u * 0.4, v * 0.1, seed + 2)
    lane = (u / su - (u / su).round()).abs() * su
    dash = (lane < 0.07) & (wave(v / 9) > 0.45) & (u.abs() < sv - 1.0)
    curb = ((u.abs() - sv + 0.35).abs() < 0.05) & (hashed(seed, seed, seed) < 0.4)
    worn = (dash | curb) * (0.5 + 0.5 * patch)
    return mix(scaled(base, rough - (patch > 0.72) * 0.08), accent, worn), None


def _slabs(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    tint = 0.9 + 0.14 * hashed(a.long(), b.long(), seed) + 0.1 * noise(u, v * 0.3, seed)
    joint = (wave(u / su) > 0.94) | (wave(v / sv) > 0.94)
    return scaled(base, torch.where(joint, 0.78, tint)), None


def _grass(u, v, su, sv, seed, base, accent):
    share = 0.6 * noise(u * 2, v * 0.6, seed) + 0.4 * noise(u * 9, v * 5, seed + 1)
    return mix(base, accent, share * 0.45), None


def _facade(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    across, up = u / su - a, v / sv - b
    broad = 0.2 + 0.2 * hashed(seed, seed + 1, seed)
    pane = ((across - 0.5).abs() < broad) & ((up - 0.5).abs() < 0.29)
    frame = ((across - 0.5).abs() < broad + 0.05) & ((up - 0.5).abs() < 0.34)
    shine = 0.6 + 1.5 * hashed(a.long(), b.long(), seed) * (0.4 + 0.6 * up)
    tone = 0.9 + 0.14 * noise(u * 0.5, v * 0.5, seed) - 0.06 * (up > 0.94)
    wall = scaled(base, torch.where(frame, tone * 1.12, tone))
    return mix(wall, scaled(accent, shine), pane.to(u.dtype)), None


def _brick(u, v, su, sv, seed, base, accent):
    rows = v / 0.28
    b = rows.floor()
    shifted = u / 0.6 + hashed(b.long(), b.long() * 0, seed)
    tint = 0.8 + 0.25 * hashed(shifted.floor().long(), b.long(), seed)
    wall = scaled(base, tint * (0.9 + 0.2 * noise(u * 0.6, v * 0.6, seed + 1)))
    a, c = (u / su).floor(), (v / sv).floor()
    pane = ((u / su - a - 0.5).abs() < 0.24) & ((v / sv - c - 0.5).abs() < 0.28) & (sv > 1.5)
    shine = 0.7 + 1.2 * hashed(a.long(), c.long(), seed + 2)
    return mix(wall, scaled(accent, shine), pane.to(u.dtype)), None


def _shop(u, v, su, sv, seed, base, accent):
    a = (u / su).floor()
    across = u / su - a
    pane = ((across - 0.5).abs() < 0.42) & (v < 1.4) & (v > -1.4)
    zero = a.long() * 0
    inside = 0.12 + 0.5 * hashed(a.long(), zero, seed) * noise(u * 2, v * 2, seed)
    board = (v > 1.7) & (v < 2.4)
    color = mix(base, accent, board * hashed(a.long(), zero + 1, seed))
    share = pane.to(u.dtype)
    return [c * (1 - share) + inside * share for c in color], None


def _tiles(u, v, su, sv, seed, base, accent):
    tint = 0.88 + 0.2 * hashed((u / su).floor().long(), (v / sv).floor().long(), seed)
    return scaled(base, tint), None


def _stripes(u, v, su, sv, seed, base, accent):
    on = (wave(u / su) > 0.5) | (wave(v / sv) > 0.8)
    return mix(base, accent, on * 0.6), None


def _leaves(u, v, su, sv, seed, base, accent):
    coarse, fine = noise(u / su * 0.6, v / sv * 0.6, seed), noise(u / su * 2, v / sv * 2, seed + 1)
    dark = ((fine * 0.6 + coarse * 0.4) < 0.42) * 0.5
    return mix(scaled(base, 0.6 + 0.75 * (fine * 0.5 + coarse * 0.5)), accent, dark), None


def _cloth(u, v, su, sv, seed, base, accent):
    return scaled(base, 0.82 + 0.3 * noise(u * 9, v * 9, seed)), None


def _sign(u, v, su, sv, seed, base, accent):
    spot = noise(u / su * 2.5, v / sv * 2.5, seed) > 0.55
    inner = (u.abs() < su * 0.75) & (v.abs() < sv * 0.75)
    return mix(base, accent, (spot & inner).to(u.dtype)), None


def _body(u, v, su, sv, seed, base, accent):
    seam = (wave(u / su * 0.5) > 0.985) * 0.35
    return scaled(base, (0.9 + 0.5 * v.clamp(-0.3, 0.3)) * (1 - seam)), None


def _cabin(u, v, su, sv, seed, base, accent):
    """Glass below the height ``su``, the roof's color above."""
    glass = (v < su) & (wave(u * 0.9) < 0.93)
    shine = 0.7 + 2.2 * (v + 0.2).clamp(0, 1) * noise(u * 2, v * 2, seed)
    return mix(base, scaled(accent, shine), glass.to(u.dtype)), None


def _bus(u, v, su, sv, seed, base, accent):
    """A row of windows in the upper half of ``sv``."""
    pane = (v > -0.05) & (v < sv * 0.36) & (wave(u / su) < 0.9)
    shine = 0.7 + 1.6 * noise(u, v * 2, seed)
    stripe = ((v + 0.7).abs() < 0.12) * hashed(seed, seed, seed)
    return mix(mix(base, [1 - c for c in base], stripe), scaled(accent, shine), pane * 1.0), None


def _glow(u, v, su, sv, seed, base, accent):
    return base, 0.8 + 0 * u


PATTERNS = {
    "asphalt": _asphalt,
    "slabs": _slabs,
    "grass": _grass,
    "facade": _facade,
    "brick": _brick,
    "shop": _shop,
    "tiles": _tiles,
    "stripes": _stripes,
    "leaves": _leaves,
    "cloth": _cloth,
    "sign": _sign,
    "body": _body,
    "cabin": _cabin,
    "bus": _bus,
    "glow": _glow,
}
