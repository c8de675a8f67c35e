"""Figures: drawn from plain arrays, saved with them, their caption, alt text and origin."""

from mtpsl.plots.files import load_arrays, png_bytes, save
from mtpsl.plots.hitts import draw_fig7, draw_fig8, draw_fig9, draw_fig11
from mtpsl.plots.hitts_compared import draw_fig5
from mtpsl.plots.make import DRAW, Made, make_figure
from mtpsl.plots.scenes import draw_label_settings, draw_overview

__all__ = [
    "DRAW",
    "Made",
    "draw_fig5",
    "draw_fig7",
    "draw_fig8",
    "draw_fig9",
    "draw_fig11",
    "draw_label_settings",
    "draw_overview",
    "load_arrays",
    "make_figure",
    "png_bytes",
    "save",
]
