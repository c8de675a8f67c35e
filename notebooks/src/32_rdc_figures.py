# ---
# jupyter:
#   jupytext:
#     formats: ipynb,src//py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The figures of RDC
#
# **You will be able to** say what each figure of RDC shows, hold its sentence against a number from the plotted arrays, and tell an ellipse that was drawn from a Gaussian that was measured. **Takes** about 25 minutes to read. **Read before:** [`30_rdc_method`](30_rdc_method.ipynb). **Previous:** [`31_rdc_tables`](31_rdc_tables.ipynb). **Next:** [`33_rdc_beyond`](33_rdc_beyond.ipynb). **Paper:** Li, Li, Wang, Wang, Yang, Shen, [*Region-aware Distribution Contrast*](https://arxiv.org/abs/2403.10252), ECCV 2024, Figures 1 to 6.
#
# Figures 1 to 3 are diagrams, which are drawn by code around a network and regions that are really there; Figures 4 to 6 are grids of predictions beside XTC's. For each figure you find what the paper says, a guess, the picture from our data, and a number from the plotted arrays that the sentence can be held against.
#
# Every figure comes from up to two sources: **recorded**, drawn again from the arrays committed with this repository (profile `quick`), and **computed now**, at this notebook's profile. At `smoke` the latter show networks after four steps, which proves that the code runs and nothing else. The small print in each picture says what it was made from. To keep this page small, it shows one picture of each figure, the recorded one where there is one; numbers are of both.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show_figures

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# The trainings behind a figure are rows of Tables 1 and 2, so after [`31_rdc_tables`](31_rdc_tables.ipynb) nothing is trained here. (The last two lines belong to [`33_rdc_beyond`](33_rdc_beyond.ipynb) and to [`31_rdc_tables`](31_rdc_tables.ipynb).)

# %%
from mtpsl import papers

for figure in papers.figures().values():
    if figure.paper == "rdc":
        runs = "; ".join(": ".join(run) for run in figure.runs.values())
        print(f"{figure.name:<10} {runs or 'a training of its own, of seconds'}")

# %% [markdown]
# ## Figure 1: views of an image, or regions of two tasks
#
# **The paper:** (a) contrastive multiview coding asks that views of one image agree and views of different images do not; (b) region consistency asks the same of one region in two tasks, where $p_{i,s}$ and $p_{j,s}$ are the distributions of two regions.
#
# > **Predict.** Whole images or regions: in which of the two is it easier to have your own partner nearest? And with *random* weights?

# %%
fig1 = session.figure("rdc/fig1")
show_figures(fig1, first=True)

# %% [markdown]
# The ellipses are Gaussians that were measured, seen in two principal directions; the distances beside them are those of all channels, and the loss sees nothing else. Is each one's own partner nearer than the others?

# %% tags=["nbval-ignore-output"]
for source, made in fig1.items():
    for part in ("image", "region"):
        W = made.arrays[f"{part}/distance"]
        own, other = W.diagonal().mean(), (W.sum() - W.trace()) / (W.size - len(W))
        print(f"{source:<13} {part:<7} {len(W):>2} of them: own {own:.3f}, others {other:.3f}")

# %% [markdown]
# "Others" is a mean over all other regions, most of which are easily told apart. A contrast is won or lost against the *nearest* other region, which is what retrieval counts: see Figure 3.

# %% [markdown]
# ## Figure 2: the method, with the shapes that pass through it
#
# **The paper:** the image goes into the network and into SAM; labels supervise the labeled task (L_Sup); prediction and label go through $a_\theta$; in both maps the regions' features are modeled as Gaussians, which the contrast compares (L_RC). SAM is not needed at test time.
#
# > **Predict.** At smoke images have 64x64 pixels and the mapping network pools twice. On how many cells do regions live, and how many numbers describe one region with 8 channels?

# %%
fig2 = session.figure("rdc/fig2")
show_figures(fig2, first=True)

# %% [markdown]
# No shape in that picture is typed: hooks read each off a training step, and parameters are counted on the modules.

# %%
for source, made in fig2.items():
    a = made.arrays
    some = ("image", "map", "contrast", "mean", "covariance", "distance")
    print(source, {k: a[f"shape/{k}"].tolist() for k in some})
    print("   parameters", {k[11:]: int(v) for k, v in a.items() if k.startswith("parameters/")})
    (M, D), (_, h, w) = a["shape/mean"], a["shape/contrast"]
    assert a["shape/covariance"].tolist() == [M, D, D] and a["shape/distance"].tolist() == [M, M]
    assert [h, w] == [side // 2 for side in a["images"].shape[1:3]]

# %% [markdown]
# *A mean has D numbers, a covariance D (D + 1) / 2 different ones.* With 8 channels that makes 44 per region, from regions that often have fewer than 44 cells; hence the shrinkage of [`30_rdc_method`](30_rdc_method.ipynb), Section 2.

# %%
for source, made in fig2.items():
    numbers = made.arrays["region/numbers"]
    sizes = made.arrays["region/sizes"]
    D = int(made.arrays["shape/mean"][1])
    few = int((sizes < D + D * (D + 1) // 2).sum())
    print(f"{source:<13} {len(sizes)} regions, {few} with fewer cells than numbers", end="; ")
    print(f"{(numbers < 0).mean():.0%} of the cells in none")

# %% [markdown]
# At the paper's size the network is wider and the maps are coarser: 288x384 pixels, four poolings, 32 channels. It costs no training, since a mapping network can be built anywhere:

# %%
import torch

from mtpsl import RegionContrastLoss
from mtpsl.data import find_class
from mtpsl.papers.rdc.tables import TABLE1
from mtpsl.papers.xtc.mapping import Pass

row = TABLE1.row("one/RDC by region on HRNet18").experiments[0]
mapping = RegionContrastLoss(find_class("rooms13").tasks).mapping.eval()
with torch.inference_mode():
    one = Pass("depth", ("depth", "normals"), torch.rand(1, 1, row.height, row.width))
    shape = tuple(mapping([one])[0].shape[1:])
print(f"{row.height}x{row.width} -> {shape}, then enlarged to {row.height // 2}x{row.width // 2}")
assert shape == (32, row.height // 16, row.width // 16)

# %% [markdown]
# So each of the 18x24 vectors is spread over 64 cells of the contrast map. A region of a few hundred cells there holds only a few vectors that are not interpolations of one another: *covariances at the paper's own setting have low rank*.

# %% [markdown]
# ## Figure 3: the Gaussians of one region
#
# **The paper:** regions are cut out of the features of a task; each is modeled as a Gaussian; the contrast pulls the same region of two tasks together and pushes others away.
#
# > **Predict.** Which regions will find themselves in the other task's map more easily, large ones or small ones?

# %%
fig3 = session.figure("rdc/fig3")
show_figures(fig3, first=True)

# %% [markdown]
# The sentence can be turned into a number: in each row of the matrix, is the diagonal the smallest entry? And what share of the variance do two principal directions hold?

# %% tags=["nbval-ignore-output"]
import numpy

for source, made in fig3.items():
    W, sizes = made.arrays["region/distance"], made.arrays["region/sizes"]
    hits = W.argmin(axis=1) == numpy.arange(len(W))
    large = sizes >= numpy.median(sizes)
    print(f"{source:<13} {hits.sum()} of {len(W)} regions found (chance: 1)", end="; ")
    print(f"large ones {hits[large].mean():.0%}, small ones {hits[~large].mean():.0%}", end="; ")
    print(f"two directions hold {made.arrays['region/explained'].sum():.0%} of the variance")

# %% [markdown]
# One image is no evidence; [`33_rdc_beyond`](33_rdc_beyond.ipynb) counts over many, before and after training.

# %% [markdown]
# ## Figures 4 and 5: predictions on rooms
#
# **The paper**, for one label per image and for random labels: "superior accuracy and smoothness in semantic segmentation", "more accurate predictions when objects undergo changes" in depth, and normals that outperform XTC's "overall" with "finer contour handling".
#
# > **Predict.** Two images of 654 are shown. If RDC is better on 55 % of all images, how likely are two images on which it is better on all three tasks, if tasks were independent?

# %%
fig4 = session.figure("rdc/fig4")
show_figures(fig4, first=True)

# %%
fig5 = session.figure("rdc/fig5")
show_figures(fig5, first=True)

# %%
print(f"0.55^6 = {0.55**6:.3f} by luck alone; among 654 images there are many such pairs to choose")

# %% [markdown]
# Here images come from all over the test split, at equal distances; nobody picked them. Who leads, image by image:


# %% tags=["nbval-ignore-output"]
NAMES = {"truth": "truth", "xtc": "XTC", "ours": "RDC"}


def leaders(a, task):
    best = max if a[f"{task}/higher_is_better"] else min
    scores = {NAMES[role]: a[f"{task}/{role}/score"] for role in map(str, a["roles"])}
    return [best(scores, key=lambda role: scores[role][i]) for i in range(len(a["images"]))]


for name, figure in (("one label", fig4), ("random labels", fig5)):
    for source, made in figure.items():
        print(name, source, {str(t): leaders(made.arrays, t) for t in made.arrays["tasks"]})

# %% [markdown]
# "Smooth" can be measured as well: the share of neighboring pixels to which a prediction gives different classes, beside the truth's. Smoother than the truth is no virtue.


# %% tags=["nbval-ignore-output"]
def changes(ids):
    return (ids[:, 1:] != ids[:, :-1]).mean() + (ids[:, :, 1:] != ids[:, :, :-1]).mean()


for name, figure in (("one label", fig4), ("random labels", fig5)):
    for source, made in figure.items():
        roles = ("truth", *map(str, made.arrays["roles"]))
        share = {NAMES[r]: f"{changes(made.arrays[f'semseg/{r}']):.3f}" for r in roles}
        print(f"{name:<13} {source:<13} class changes from pixel to pixel: {share}")

# %% [markdown]
# ## Figure 6: predictions on streets
#
# **The paper**, for Cityscapes with one label per image: "improved capability in capturing object edges and fine-grained details compared to Li et al.", and "significant overall performance improvement".
#
# > **Predict.** RDC compares regions that follow edges of color. Which edges of a depth map could it sharpen, and which ones not?

# %%
fig6 = session.figure("rdc/fig6")
show_figures(fig6, first=True)

# %% tags=["nbval-ignore-output"]
for source, made in fig6.items():
    a = made.arrays
    for task in map(str, a["tasks"]):
        scores = {r: a[f"{task}/{r}/score"] for r in map(str, a["roles"])}
        scores = {NAMES[r]: [f"{v:.3f}" for v in values] for r, values in scores.items()}
        print(f"{source:<13} {a[f'{task}/label']} {scores} best: {leaders(a, task)}")

# %% [markdown]
# "Edges" can be turned into a number, too: the error of depth at pixels whose class differs from a neighbor's, over the error elsewhere. If a method sharpens edges, *this ratio* falls, and not only the mean error. As for the guess: only an edge of depth that is an edge of color as well lies between two regions; one between two surfaces of one color lies inside a region.

# %% tags=["nbval-ignore-output"]
depth = "inverse_depth" if "inverse_depth" in map(str, a["tasks"]) else "depth"
for source, made in fig6.items():
    a, ids = made.arrays, made.arrays["semseg/truth"].astype(int)
    edge = numpy.zeros(ids.shape, dtype=bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[:, :, 1:] |= ids[:, :, 1:] != ids[:, :, :-1]
    true = a[f"{depth}/truth"].reshape(ids.shape).astype(float)
    for role in map(str, a["roles"]):
        error = abs(a[f"{depth}/{role}"].reshape(ids.shape).astype(float) - true)
        ratio = numpy.nanmean(error[edge]) / numpy.nanmean(error[~edge])
        print(f"{source:<13} {NAMES[role]:<5} error at class borders over elsewhere: {ratio:.2f}")

# %% [markdown]
# **How to read it.** The score of a single image is not a number of the table divided by the number of images: the mIoU of one image averages the classes of *that* image. Look at more images before believing a picture, or look at [`31_rdc_tables`](31_rdc_tables.ipynb).

# %% [markdown]
# ## What was written
#
# These are the pictures; the arrays of each lie beside it as `.npz`, its words as `.json`.

# %%
for figures in (fig1, fig2, fig3, fig4, fig5, fig6):
    print(session.short_path(figures["computed now"].path))

# %% [markdown]
# ## Take away
#
# 1. An ellipse on paper shows two directions of many. The distance that is trained on is that of all channels, and the picture says what share it shows.
# 2. A contrast is decided by the *nearest* other region; a mean over all others flatters.
# 3. "Smoother", "finer" and "sharper" are numbers that a figure's own arrays contain. Compute them, also for the truth.
#
# ## Exercises
#
# **1.** In Figure 3 a region has a small W to itself and an even smaller one to its neighbor of the same class. Is that a failure of the method?
#
# <details><summary>Solution</summary>
#
# The loss says so: the neighbor is a negative. Whether it *should* be is a choice of the paper: two halves of one wall look alike in every task, and pushing them apart teaches the mapping network about the border between them, which is in the image and not in the scene. Regions that are too fine make such false negatives; `companion/regions` asks what they cost.
# </details>
#
# **2.** Figure 2 at the paper's size: how many numbers does one step compute for the distances of an image with 40 regions, three tasks and one label, if every one of them is an exact W?
#
# <details><summary>Solution</summary>
#
# Two pairs of maps, 40 x 40 distances each, the matrix serving both directions: 3,200 decompositions of 32x32 matrices. At up to 0.2 ms each with their gradient that is at most 0.6 s per image on one core.
# </details>
#
# ## References
#
# Li et al., [ECCV 2024](https://arxiv.org/abs/2403.10252), the paper; Tian, Krishnan, Isola, [*Contrastive Multiview Coding*](https://arxiv.org/abs/1906.05849), ECCV 2020, panel (a) of Figure 1; Kirillov et al., [*Segment Anything*](https://arxiv.org/abs/2304.02643), ICCV 2023.
#
# **Next:** [`33_rdc_beyond`](33_rdc_beyond.ipynb), what the paper does not ask.
