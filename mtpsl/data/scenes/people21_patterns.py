"""Patterns of people21's surfaces, beside those that rooms13 has."""

from mtpsl.data.scenes.rooms13_patterns import PATTERNS as ROOM_PATTERNS
from mtpsl.data.scenes.textures import Pattern, hashed, mix, noise, scaled, wave


def _fur(u, v, su, sv, seed, base, accent):
    hair = noise(u / su, v / sv, seed) * 0.6 + noise(u / su * 3, v / sv * 3, seed + 1) * 0.4
    return scaled(base, 0.72 + 0.55 * hair), None


def _wool(u, v, su, sv, seed, base, accent):
    curl = noise(u / su * 2, v / sv * 2, seed)
    return scaled(base, 0.6 + 0.65 * curl), None


def _blotches(u, v, su, sv, seed, base, accent):
    spot = noise(u / su * 2, v / sv * 2, seed) + 0.15 * noise(u / su * 9, v / sv * 9, seed + 1)
    return mix(base, accent, (spot > 0.62).to(u.dtype)), None


def _tabby(u, v, su, sv, seed, base, accent):
    bent = u / su + 1.2 * noise(u / su, v / sv, seed)
    return mix(base, accent, (wave(bent) > 0.55) * 0.75), None


def _leaves(u, v, su, sv, seed, base, accent):
    leaf = noise(u / su, v / sv, seed) * 0.55 + noise(u / su * 2.7, v / sv * 2.7, seed + 1) * 0.45
    return scaled(base, 0.35 + 1.25 * leaf), None


def _turf(u, v, su, sv, seed, base, accent):
    blade = noise(u / su * 5, v / sv * 5, seed) * 0.5
    patch = noise(u / su * 0.3, v / sv * 0.3, seed + 1)
    share = (patch - 0.4).clamp(0, 0.5)
    return scaled(mix(base, accent, share), 0.75 + blade), None


def _speckle(u, v, su, sv, seed, base, accent):
    grit = noise(u / su * 2, v / sv * 2, seed) * 0.6 + noise(u / su * 6, v / sv * 6, seed + 1) * 0.4
    return mix(base, accent, (grit - 0.35).clamp(0, 0.5)), None


def _ripple(u, v, su, sv, seed, base, accent):
    bent = v / sv + 0.8 * noise(u / su, v / sv, seed)
    crest = wave(bent + 0.7 * noise(u / su * 0.4, v / sv * 1.7, seed + 1))
    return mix(base, accent, (crest - 0.5).clamp(0, 0.5)), None


def _facade(u, v, su, sv, seed, base, accent):
    a, b = (u / su).floor(), (v / sv).floor()
    opening = (wave(u / su) < 0.5) & (wave(v / sv) < 0.55)
    tone = 0.5 + hashed(a.long(), b.long(), seed)
    brick = 0.9 + 0.2 * noise(u * 6, v * 12, seed)
    glass = scaled(accent, tone)
    wall = scaled(base, brick)
    return [w + (g - w) * opening for w, g in zip(wall, glass, strict=True)], None


def _pickets(u, v, su, sv, seed, base, accent):
    return scaled(base, 0.45 + 0.55 * (wave(u / su) > 0.3)), None


def _show(u, v, su, sv, seed, base, accent):
    share = noise(u / su * 2, v / sv * 2, seed)
    tone = 0.5 + 0.8 * noise(u / su * 4, v / sv * 4, seed + 3)
    return scaled(mix(base, accent, share), tone), 0.5 + 0 * u


PATTERNS: dict[str, Pattern] = {
    **ROOM_PATTERNS,
    "fur": _fur,
    "wool": _wool,
    "blotches": _blotches,
    "tabby": _tabby,
    "leaves": _leaves,
    "turf": _turf,
    "speckle": _speckle,
    "ripple": _ripple,
    "facade": _facade,
    "pickets": _pickets,
    "show": _show,
}
