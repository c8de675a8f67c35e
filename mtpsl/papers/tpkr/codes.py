"""Which codes a trained TPKR uses, and what they look like: mean image patches [TPKR, Eq. 1]."""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure as Drawing

from mtpsl.papers.tpkr.printed import OURS
from mtpsl.report.arrays import Arrays, FigureInputs, describe, evenly_spaced, picture
from mtpsl.report.figure import Figure
from mtpsl.report.style import QUIET, TASK, Sheet, styled

IMAGES = 300  # test images whose positions are counted
SHOWN = 24  # codes, those that most positions choose
PATCH = 3  # positions across a patch
ACROSS = 8  # patches in a row


@torch.no_grad()
def used_codes(inputs: FigureInputs) -> Arrays:
    """What the codebook of the only network does on test images.

    Returns:
        ``counts`` (K,), how many positions choose a code, the most chosen first; ``number`` (n,)
        of the first ones, ``patches`` (n, p, p, 3) uint8, the mean image around the positions that
        choose each; ``perplexity`` (); and by epoch, from the training, ``rebuilt`` and
        ``rebuilt_other`` (E,), L_tae with the chosen codes and with others in their place.
    """
    ((role, network),) = inputs.methods.items()
    size = len(network.codebook.codes)
    counts, sums = torch.zeros(size), None
    for batch in inputs.batches(evenly_spaced(len(inputs.test), IMAGES)):
        number = network.codebook(network.backbone(batch.images).decoder)[2]
        stride = batch.images.shape[2] // number.shape[1]
        side, edge = PATCH * stride, (PATCH - 1) // 2 * stride
        patches = F.unfold(F.pad(batch.images, (edge,) * 4, mode="replicate"), side, stride=stride)
        patches = patches.mT.flatten(0, 1).cpu()  # (B h w, 3 p p)
        sums = torch.zeros(size, patches.shape[1]) if sums is None else sums
        sums.index_add_(0, number.flatten().cpu(), patches)
        counts += number.flatten().cpu().bincount(minlength=size)
    order = counts.argsort(descending=True, stable=True)
    first = order[: min(SHOWN, int((counts > 0).sum()))]
    means = (sums[first] / counts[first].unsqueeze(1)).unflatten(1, (3, side, side))
    terms = [entry["terms"] for entry in inputs.histories[role]]
    return describe(inputs.test.tasks) | {
        "counts": counts[order].long().numpy(),
        "number": first.numpy(),
        "patches": picture(means.clamp(0, 1)),
        "perplexity": np.round(torch.special.entr(counts / counts.sum()).sum().exp().numpy(), 2),
        "rebuilt": np.array([round(t["tae"], 6) for t in terms]),
        "rebuilt_other": np.array([round(t["tae_other_codes"], 6) for t in terms]),
    }


@styled
def draw_codes(arrays: Arrays) -> Drawing:
    """Left, how unevenly codes are used; right, the mean patch of those that are used most."""
    counts, patches = arrays["counts"], arrays["patches"]
    shares, rows = 100 * counts / counts.sum(), -(-len(patches) // ACROSS)
    panel, left = 0.62, 4.2
    sheet = Sheet(left + ACROSS * (panel + 0.06) + 0.2, max(2.6, 0.65 + rows * (panel + 0.24)))
    axes = sheet.axes(0.65, 0.4, 2.9, sheet.height - 1.05)
    used = int((counts > 0).sum())
    axes.plot(np.arange(1, used + 1), shares[:used].cumsum(), color=TASK, linewidth=1.8)
    axes.axvline(used, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set(xlabel="codes, the most chosen first", ylabel="positions they have (%)", ylim=(0, 102))
    perplexity = float(arrays["perplexity"])
    title = f"{used} of {len(counts)} codes are chosen, perplexity {perplexity:.1f}"
    axes.set_title(title, fontsize=9)
    sheet.text(left, 0.2, "mean image around the positions that choose a code", va="center")
    for i, patch in enumerate(patches):
        row, column = divmod(i, ACROSS)
        x, y = left + column * (panel + 0.06), 0.35 + row * (panel + 0.24)
        sheet.picture(x, y, panel, panel, patch)
        sheet.text(x + panel / 2, y + panel + 0.09, f"{shares[i]:.1f} %", ha="center", fontsize=7)
    return sheet.figure


CODES = Figure(
    name="codes",
    paper="tpkr",
    title="Which codes are used, and what they look like",
    source="[beyond TPKR: codebook]",
    caption="The share of all positions of test images that the most chosen codes have between "
    "them, and the mean image around the positions that choose each of the first ones, three "
    "positions wide.",
    alt="A curve that rises to 100 percent over the number of codes, beside a grid of small "
    "blurred image patches with percentages.",
    arrays=used_codes,
    draw=draw_codes,
    runs={"ours": ("tpkr/table2", f"one-label/{OURS}")},
)
