"""What an audit of printed numbers consists of; ``audit`` and ``audit_xtc`` make them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """A printed number beside the one that follows from the printed cells."""

    where: str
    printed: float
    computed: float
    tolerance: float
    evidence: str = ""

    @property
    def agrees(self) -> bool:
        return abs(self.printed - self.computed) <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Erratum:
    """A known slip of a paper, or of the text that its cells were typed from."""

    where: str
    what: str
    evidence: str
    paper: str  # "HiTTs"
    remains: bool | None = None  # recomputed: is it still there? None: nothing to recompute


def quoted(where: str, printed: float, computed: float, decimals: int = 2) -> Check:
    """A number that the text quotes: right if it follows to its last digit."""
    half_digit = 0.5 * 10**-decimals
    tolerance = half_digit * 1.001  # for what floating point adds to a tie
    return Check(where=where, printed=printed, computed=computed, tolerance=tolerance)
