"""The figures of [TPKR]."""

from mtpsl.papers.tpkr.compared import COMPARED
from mtpsl.report.figure import Figure

FIGURES: tuple[Figure, ...] = COMPARED
