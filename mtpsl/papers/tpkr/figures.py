"""The figures of [TPKR]."""

from mtpsl.papers.tpkr.codes import CODES
from mtpsl.report.figure import Figure

FIGURES: tuple[Figure, ...] = (CODES,)
