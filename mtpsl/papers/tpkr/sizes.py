"""What the column of parameters says about the network, and what it cannot say [TPKR, Table 4].

The printed counts grow by 3,516 to 3,613 parameters for each dimension of a slot. Many networks of
ordinary widths do that. What they have beside it, and the baseline that they stand on, are only
known together: no network of the framework has the printed 146.5 M.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

PRINTED = {256: 156.6, 512: 157.5, 1024: 159.4, 2048: 163.0}  # d -> millions
BASELINE = 146.5  # millions, printed for the network without prototypes
HALF = 0.05  # millions, half of the last printed digit
TASKS = 3
FEATURES = (256, 512, 768, 1024)  # c
WIDTHS = (128, 256, 512, 768, 1024)  # W
BLOCKS = (1, 2, 3, 4)
TOUCHING = {  # which linear layers of a block have d on one side -> how many
    "keys and values of the cross-attention": 2,
    "all four of the cross-attention": 4,
    "all eight of both attentions": 8,
}


@dataclass(frozen=True)
class Design:
    """A network by what of it depends on d."""

    channels: int  # c, from which f^^t is projected
    projections: int  # one for all tasks, or one each
    width: int  # W
    blocks: int
    touching: str  # a key of ``TOUCHING``

    @property
    def slope(self) -> int:
        """Weights, without biases, for each dimension of a slot."""
        layers = TOUCHING[self.touching] * self.blocks
        return self.projections * self.channels + layers * self.width + TASKS


def slope_band(printed: Mapping[int, float] = PRINTED) -> tuple[float, float]:
    """The least and the largest slope that the rounded counts allow, in parameters."""
    pairs = [(a, b) for a in printed for b in printed if a < b]
    steps = [((printed[b] - printed[a]) * 1e6, b - a) for a, b in pairs]
    most = 2 * HALF * 1e6
    return max((s - most) / n for s, n in steps), min((s + most) / n for s, n in steps)


def designs() -> Iterator[Design]:
    """Every network of ordinary widths with a slope inside the band."""
    low, high = slope_band()
    for parts in product(FEATURES, (1, TASKS), WIDTHS, BLOCKS, TOUCHING):
        design = Design(*parts)
        if low <= design.slope <= high:
            yield design


def baseline_band(own: Mapping[int, int]) -> tuple[float, float]:
    """The baselines, in millions, on which a design has all printed counts; empty if first > last.

    Args:
        own: d -> what the design adds to the baseline, in parameters.
    """
    beside = [PRINTED[d] - count / 1e6 for d, count in own.items()]
    low, high = max(*beside, BASELINE) - HALF, min(*beside, BASELINE) + HALF
    return low, high
