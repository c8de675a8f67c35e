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
# # RDC, equation by equation
#
# **You will be able to** compute every equation of RDC by hand and find it in the code, take the gradient of a distance between two Gaussians without getting NaN, and say what the released code does in place of the paper. **Takes** about 45 minutes to read. **Read before:** [`20_xtc_method`](20_xtc_method.ipynb), whose pairs, mapping inputs and two views RDC takes over. **Previous:** [`23_xtc_storm`](23_xtc_storm.ipynb). **Next:** [`31_rdc_tables`](31_rdc_tables.ipynb). **Paper:** Li, Li, Wang, Wang, Yang, Shen, [*Region-aware Distribution Contrast*](https://arxiv.org/abs/2403.10252), ECCV 2024, Section 3.
#
# **The problem in three sentences.** XTC asks that the prediction of one task and the label of another agree at every position of a joint map; it never asks that *different* places differ. RDC divides the image into regions and compares those: the same region should look alike in both maps, and unlike all other regions. A region is more than its mean, so the paper describes it as a Gaussian and compares Gaussians by the Wasserstein distance.
#
# This page walks through Eq. 1 to 6, by hand on toys beside the package's own functions, with an `assert` wherever the two meet. Nothing on it is trained; every network has random weights. *The released code does not train with the method as written*: its loss is a number without gradient (Section 9). What the loss does once it has one is in [`31_rdc_tables`](31_rdc_tables.ipynb) and [`33_rdc_beyond`](33_rdc_beyond.ipynb).
#
# Boxes that say **Predict** ask for a guess before the next cell shows the answer.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show, show_table, show_terms

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## The picture first
#
# This is Figure 2 of the paper, drawn from a training step of the package. Where the paper has SAM, the picture names the provider that divided the image; at test time neither regions nor the mapping network are needed.

# %%
overview = session.figure("rdc/fig2")["computed now"]
show(overview.figure, alt=overview.alt, caption=overview.caption)

# %% [markdown]
# ## Symbols
#
# `B` images of `H x W` pixels, `K` tasks, `M` regions of an image. A map that is compared has `D` channels and `h x w` cells; `N` of them are compared in a step, with `R` regions altogether, and `n` numbers describe a region.
#
# > **Caution.** The paper calls the labeled task *s* and the unlabeled one *t*. XTC and the code of this repository have it the other way around: the **source** is the prediction without label, the **target** is the label.

# %%
from mtpsl.papers import PAPERS

show_terms([term.row for term in PAPERS["rdc"].terms])

# %% [markdown]
# ## 1 One batch, and who divides its images
#
# The batch has eight rooms with one label each. `WithRegions` adds `Batch.regions`, a map of integers: equal numbers are one region, -1 is none. The numbers mean nothing across images.

# %%
import torch
import torch.nn.functional as F

from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.regions import WithRegions
from mtpsl.papers.rdc.tables import TABLES
from mtpsl.runs.data import bind_data, open_split, tasks_of
from mtpsl.runs.network import build, without_pretrained
from mtpsl.runs.profiles import get_profile

(paper,) = TABLES["table1"].row("one/RDC by region on HRNet18").experiments
experiment = without_pretrained(get_profile(session.profile)(paper)).replace(seed=session.seed)
experiment = bind_data(experiment, session.data_root)

# %%
rooms, tasks = open_split(experiment, "train", session), tasks_of(experiment)
partial = PartialLabels(rooms, assign("one_label", len(rooms), tasks.names, seed=0))
where = {"root": session.data_root, "cache_dir": session.cache_dir}
divided = WithRegions(partial, experiment.regions, experiment.region_args, **where)
batch = divided.load(range(8)).to(session.device)
rdc = build(experiment).to(session.device)
with torch.no_grad():
    output = rdc.net(batch.images)
print("regions of each image:", [len(ids.unique()) for ids in batch.regions])

# %% [markdown]
# The paper takes SAM's masks, without saying which SAM or how it was asked. Here a provider is an argument, and one image at a time is all it sees. The graph method of Felzenszwalb and Huttenlocher is the default, because it needs no network and gives the same bits on every machine.
#
# How good can regions be at all? The **achievable segmentation accuracy** answers one class per region, the best one. Nothing that treats a region as one thing can do better.
#
# > **Predict.** One room, divided into 16-pixel squares, at random, into superpixels, and by color. Which of them do you expect to follow the classes best, and how much do squares lose that have never seen the image?

# %%
from mtpsl.data import open_dataset
from mtpsl.data.region_providers import PROVIDERS
from mtpsl.data.regions import achievable_accuracy, compact, to_picture

ways = {"whole": ("whole", {}), "squares of 16": ("grid", {}), "random cells": ("voronoi", {})}
ways |= {"slic 64": ("slic", {}), "felzenszwalb 400": ("felzenszwalb", {"scale": 400})}
ways |= {"felzenszwalb 100": ("felzenszwalb", {}), "true segments": ("ground_truth", {})}
scenes = open_dataset("rooms13", "train", height=144, width=192, images=8)
rooms8 = [to_picture(scenes, i, with_labels=True) for i in range(8)]

# %%
from mtpsl.papers.rdc.compared import mosaic
from mtpsl.report.arrays import picture
from mtpsl.report.sketches import draw_pictures

ids = {n: [compact(PROVIDERS[p].divide(r, **s)) for r in rooms8] for n, (p, s) in ways.items()}
room, one = picture(scenes[2].image[None])[0], {name: maps[2] for name, maps in ids.items()}
show(
    draw_pictures({"image": room} | {name: mosaic(room, m) for name, m in one.items()}),
    alt="A room, and seven divisions of it, each region in its mean color with white borders.",
    caption="Seven ways to divide one generated room; each region has its mean color.",
)

# %%
import pandas as pd

mean = lambda values: sum(values) / len(rooms8)  # noqa: E731
quality = {
    name: {
        "regions": mean([int(m.max()) + 1 for m in maps]),
        "ASA": mean([achievable_accuracy(m, r.classes) for m, r in zip(maps, rooms8, strict=True)]),
    }
    for name, maps in ids.items()
}

# %%
show_table(pd.DataFrame(quality).T.style.format({"regions": "{:.0f}", "ASA": "{:.2f}"}))
asa = {name: line["ASA"] for name, line in quality.items()}
assert asa["true segments"] == 1 and min(asa, key=asa.get) == "whole"
assert asa["random cells"] < asa["felzenszwalb 100"] > asa["squares of 16"]

# %% [markdown]
# The means are over eight rooms. Random cells are the control: there are as many as regions of `felzenszwalb 100`, and they ignore the image. Regions that follow colors hold fewer pixels of a wrong class than squares or random cells do, but still some, and the contrast treats a region with two classes as one thing. True segments are there for Table 4; where labels of segmentation are withheld, they would give them away, so the package refuses them:

# %%
try:
    WithRegions(partial, "ground_truth")
except ValueError as error:
    print(error)

# %% [markdown]
# Whether better regions give a better network is another question, which [`33_rdc_beyond`](33_rdc_beyond.ipynb) asks.
#
# ## 2 Eq. 2: a region is a Gaussian
#
# $$p_{i,t} = \mathcal N(r_i;\, \mu_{i,t}, \Sigma_{i,t})$$
#
# Mean and covariance of the D-dimensional features inside region $r_i$ of map $f_t$. The toy has two channels, 4x4 cells and two regions; one cell belongs to none.
#
# > **Predict.** Does a covariance divide by the number of pixels n, or by n - 1? And what becomes of a region with a single pixel?

# %%
from mtpsl.papers.rdc.gaussians import find_regions, region_moments, shrink

torch.manual_seed(0)
feature = torch.randn(1, 2, 4, 4)
numbers = torch.tensor([[0, 0, 7, 7], [0, 0, 7, 7], [0, 0, 7, 7], [0, -1, 7, 7]])[None]
regions = find_regions(numbers)
mu, sigma = region_moments(regions.gather(feature), regions)  # Eq. 2
for i, number in enumerate((0, 7)):
    inside = feature[0, :, numbers[0] == number]  # (2, pixels)
    torch.testing.assert_close(mu[i], inside.mean(dim=1))
    torch.testing.assert_close(sigma[i], torch.cov(inside))
print("pixels of the two regions:", regions.sizes.tolist())

# %% [markdown]
# By n - 1, as in the released code, so a region needs two pixels at least. Pixels are sorted by region once; every statistic is then a sum over neighbors. And they are *centered before* they are multiplied. The textbook's $E[xx'] - \mu\mu'$ is simpler and loses most digits:

# %%
far_off = 100 + torch.randn(400, dtype=torch.float64)
true, single = far_off.var(), far_off.float()
textbook = (single.square().mean() - single.mean() ** 2) * 400 / 399
everything = find_regions(torch.zeros(1, 20, 20, dtype=torch.int64))
centered = region_moments(single[:, None], everything)[1].item()
wrong = {"textbook": abs(textbook / true - 1), "centered": abs(centered / true - 1)}
assert wrong["centered"] < 1e-5 < 1e-4 < wrong["textbook"]
print("relative error of a variance around 100 in float32: the textbook's is the larger one")

# %% [markdown]
# **Rank.** A covariance of five pixels has rank four, however many channels there are. Maps are interpolated, so pixels of a region are often fewer than they look. `shrink` mixes in a little of the mean variance, and a floor:
#
# $$\Sigma \leftarrow (1-\epsilon)\,\Sigma + \epsilon\,\tfrac{\operatorname{Tr}\Sigma}{D} I + 10^{-6} I$$
#
# > **Predict.** Five pixels in eight channels. How many eigenvalues are zero before, and what are they afterwards?

# %%
five = torch.cov(torch.randn(8, 5, dtype=torch.float64))
values, floor = torch.linalg.eigvalsh(five), 0.01 * five.trace() / 8 + 1e-6
assert (values.abs() < 1e-12).sum() == 4
torch.testing.assert_close(torch.linalg.eigvalsh(shrink(five, 0.01))[:4], floor.expand(4))
print("four of eight eigenvalues are zero, and all four are the same number afterwards")

# %% [markdown]
# Keep the *equal eigenvalues* in mind, since Section 5 needs them.
#
# ## 3 The map: a small network for every pair
#
# Classes, meters and directions do not live in one space. As in XTC, a mapping network $a_\theta$ reads the prediction or the label, knows by $\gamma$ and $\beta$ which pair it is serving, and returns a map. The paper says no more about that network. In the released code it has four stages of 16, 24, 32 and 32 channels with 2, 2, 3 and 3 convolutions, each followed by a max-pooling:

# %%
from mtpsl import RegionContrastLoss
from mtpsl.data import find_class

nyud = find_class("rooms13").tasks  # the three of NYUD-v2
released = RegionContrastLoss(nyud)
parts = {"inputs": released.mapping.inputs}
parts |= {f"stage {i + 1}": stage for i, stage in enumerate(released.mapping.stages)}
count = lambda parameters: sum(p.numel() for p in parameters)  # noqa: E731
sizes = {name: count(part.parameters()) for name, part in parts.items()}
sizes |= {"all": sum(sizes.values()), "γ and β": count(released.mapping.film_parameters())}
show_table(pd.DataFrame({"parameters": sizes}).style.format("{:,}"))
assert sizes["all"] == 72_912 and sizes["γ and β"] == 3_264

# %% [markdown]
# That is all that the released code uses; another 3,760,608 parameters lie beside it and never run.
#
# **Resolution.** Four poolings leave 1/16 of the image, which is then enlarged to 1/2, where the regions are. At the paper's 288x384 that is 18x24 cells spread over 144x192. In images of 64x96 it would be 4x6 cells for some thirty regions, so the scaled profiles pool twice.

# %%
from mtpsl.papers.xtc.loss import Inputs, find_links

links = find_links(tasks, batch)
torch.manual_seed(0)
maps, labels = rdc.loss.embed(links, Inputs(output.predictions, batch))
h, w = maps.shape[2:]
assert (h, w) == (experiment.height // 2, experiment.width // 2)
print(f"{maps.shape[0]} pairs of maps, {maps.shape[1]} channels, {h}x{w} cells")

# %% [markdown]
# **Which pixels count.** A region of fewer than ten cells is left out. And where the label of the pair has a hole, the released code counts the zeros that stand there; here such cells leave the region, in both maps alike.

# %%
cells = torch.cat([rdc.loss.region_ids(link, batch, (h, w)) for link in links])
regions = find_regions(cells, rdc.loss.min_pixels)
kept = regions.image.bincount(minlength=len(cells))
print("regions to compare, pair by pair:", kept.tolist())
assert kept.min() >= 2 and regions.sizes.min() >= 10

# %% [markdown]
# ## 4 Eq. 5: how far are two Gaussians apart?
#
# $$W(p,k) = |\mu_p-\mu_k|^2 + \operatorname{Tr}\Sigma_p + \operatorname{Tr}\Sigma_k - 2\operatorname{Tr}\bigl((\Sigma_p\Sigma_k)^{1/2}\bigr)$$
#
# It is the least work that moves one heap onto the other, where moving a grain costs the square of its way. The paper calls it the Wasserstein distance; it is the **square** of it.
#
# > **Predict.** In each panel below, is W zero, small or large? In which of them would a comparison of means see nothing? And in the last one, where both ellipses are twice as large and twice as far apart as in the first: by what factor does W grow?

# %%
from mtpsl.report.sketches import draw_ellipses

turn = lambda degrees: torch.tensor(degrees).deg2rad()  # noqa: E731


def ellipse(x, y, long, short, degrees=0.0):
    c, s = turn(degrees).cos(), turn(degrees).sin()
    axes = torch.stack([torch.stack([c, -s]), torch.stack([s, c])]).double()
    scale = torch.tensor([long, short]).double().square()
    return torch.tensor([x, y]).double(), axes @ torch.diag(scale) @ axes.T


# %%
toys = {
    "moved": (ellipse(0, 0, 2, 1), ellipse(3, 1, 2, 1)),
    "turned": (ellipse(0, 0, 2, 1), ellipse(0, 0, 2, 1, 90.0)),
    "wider": (ellipse(0, 0, 2, 1), ellipse(0, 0, 2, 2)),
    "both": (ellipse(0, 0, 2, 1, 20.0), ellipse(3, 1, 1, 2, 60.0)),
    "moved, x 2": (ellipse(0, 0, 4, 2), ellipse(6, 2, 4, 2)),
}
show(
    draw_ellipses({n: dict(zip("pk", pair, strict=True)) for n, pair in toys.items()}),
    alt="Five pairs of ellipses: moved, turned, wider, moved and turned, and both twice as large.",
    caption="Gaussians of two channels, one standard deviation around the mean.",
)

# %% [markdown]
# The cell computes W by hand with the matrix root of SciPy, and through the package, which asks for a Cholesky factor first. (Section 5 says why.)

# %%
from scipy.linalg import sqrtm

from mtpsl.papers.rdc.gaussians import wasserstein, with_factor

W = {}
for name, ((m_p, S_p), (m_k, S_k)) in toys.items():
    overlap = sqrtm((S_p @ S_k).numpy()).trace().real
    by_hand = ((m_p - m_k) ** 2).sum() + S_p.trace() + S_k.trace() - 2 * overlap  # Eq. 5
    W[name] = wasserstein(with_factor(m_p, S_p), with_factor(m_k, S_k))
    torch.testing.assert_close(W[name], by_hand)
print({name: round(w.item(), 2) for name, w in W.items()})
assert W["moved, x 2"] / W["moved"] == 4  # a square

# %% [markdown]
# "Turned" by hand: at a right angle both matrices are diagonal, so W is a sum over the channels, $(2-1)^2 + (1-2)^2 = 2$. In general a sum over channels is too small, because it ignores that channels move together, and any fixed pairing of roots is too large:

# %%
from mtpsl.papers.rdc.gaussians import MEASURES

bounds = {}
for name, (p, k) in toys.items():
    both = {m: (describe(*p), describe(*k)) for m, (describe, _) in MEASURES.items()}
    bounds[name] = {m: MEASURES[m][1](*both[m]).item() for m in both if not m.startswith("kl")}
ordered = ["mean", "diagonal", "wasserstein", "root", "cholesky"]
show_table(pd.DataFrame(bounds).T[ordered].style.format("{:.2f}"))
for line in bounds.values():
    low, exact, high = line["diagonal"], line["wasserstein"], min(line["root"], line["cholesky"])
    assert line["mean"] <= low + 1e-9 and low <= exact + 1e-9 and exact <= high + 1e-9

# %% [markdown]
# The bounds matter because they are squared distances of one vector per region, so the distances of all pairs of regions come from one matrix product. `measure="root"` and the others train with them.
#
# ## 5 Its gradient, and why `eigh` gives NaN
#
# The best way to move $p$ onto $k$ is a linear map, $T = \Sigma_p^{-1/2}(\Sigma_p^{1/2}\Sigma_k\Sigma_p^{1/2})^{1/2}\Sigma_p^{-1/2}$, and it is the gradient, too:
#
# $$\frac{\partial W}{\partial\mu_p} = 2(\mu_p-\mu_k), \qquad \frac{\partial W}{\partial\Sigma_p} = I - T, \qquad T\,\Sigma_p\,T = \Sigma_k .$$
#
# > **Predict.** Where is the gradient zero? What does I - T say about a direction in which p is narrower than k?

# %%
(m_p, S_p), (m_k, S_k) = (tuple(part.clone().requires_grad_() for part in g) for g in toys["both"])
loss = wasserstein(with_factor(m_p, S_p), with_factor(m_k, S_k))
to_mean, to_covariance = torch.autograd.grad(loss, [m_p, S_p])
R = torch.from_numpy(sqrtm(S_p.detach().numpy()))
middle = torch.from_numpy(sqrtm((R @ S_k @ R).detach().numpy()))
T = R.inverse() @ middle @ R.inverse()
torch.testing.assert_close(T @ S_p @ T, S_k)
torch.testing.assert_close(to_mean, 2 * (m_p - m_k))
torch.testing.assert_close(to_covariance, torch.eye(2).double() - T)
print("I - T =", [[round(x, 2) for x in row] for row in to_covariance.tolist()])

# %% [markdown]
# A descent step *subtracts* the gradient, so where T stretches (p narrower than k), p grows. It is zero for equal Gaussians alone.
#
# **The textbook's way** to $\operatorname{Tr}(\Sigma_p\Sigma_k)^{1/2}$ is two symmetric roots by `eigh`. Its backward pass divides by the *differences* of eigenvalues:


# %%
def root(S):
    values, vectors = torch.linalg.eigh(S)
    return (vectors * values.clamp(min=0).sqrt().unsqueeze(-2)) @ vectors.mT


def by_eigh(m_p, S_p, m_k, S_k):
    trace = lambda S: S.diagonal(dim1=-2, dim2=-1).sum(-1)  # noqa: E731
    overlap = trace(root(root(S_p) @ S_k @ root(S_p)))
    return (m_p - m_k).square().sum(-1) + trace(S_p) + trace(S_k) - 2 * overlap


# %% [markdown]
# > **Predict.** Three channels, the variances of p are 4, 1 and 1, those of k 1, 2 and 3. What does each way say of W, and of the gradient?

# %%
zero, S_p = torch.zeros(3), torch.diag(torch.tensor([4.0, 1, 1])).requires_grad_()
S_k = torch.diag(torch.tensor([1.0, 2, 3]))
direct = by_eigh(zero, S_p, zero, S_k)
ours = wasserstein(with_factor(zero, S_p), with_factor(zero, S_k))
torch.testing.assert_close(direct, ours)
(broken,), (fine,) = (torch.autograd.grad(w, S_p) for w in (direct, ours))
assert broken.isnan().all()
torch.testing.assert_close(fine, torch.eye(3) - torch.diag(torch.tensor([0.5, 2**0.5, 3**0.5])))
print("the same W; gradient by eigh: NaN; by Cholesky:", [f"{x:.2f}" for x in fine.diagonal()])

# %% [markdown]
# Two equal variances are enough. And shrinkage (Section 2) has given every region with few pixels many equal eigenvalues. In practice they differ by rounding, which is no better: the gradient is then a finite wrong number. The cell tries a hundred pairs of regions of six pixels, in 32 channels and in **float64**:

# %%
torch.manual_seed(0)
draw = lambda: shrink(torch.cov(torch.randn(32, 6, dtype=torch.float64)), 0.01)  # noqa: E731
S_p, S_k = (torch.stack([draw() for _ in range(100)]) for _ in "pk")
S_p.requires_grad_()
still = torch.zeros(100, 32, dtype=torch.float64)
ours = wasserstein(with_factor(still, S_p), with_factor(still, S_k))
(exact,) = torch.autograd.grad(ours.sum(), S_p)
(wrong,) = torch.autograd.grad(by_eigh(still, S_p, still, S_k).sum(), S_p)
error = (wrong - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)

# %% tags=["nbval-ignore-output"]
finite = error[error.isfinite()]
print(f"NaN in {100 - len(finite)} of 100; the others are wrong by {finite.median():.0%} (median)")

# %%
assert exact.isfinite().all() and (error.isnan() | (error > 0.01)).sum() > 50
print("by eigh, most of the gradients are wrong by more than a percent, or NaN")

# %% [markdown]
# One NaN is enough: all regions share the mapping network, and after one step its weights are NaN, too.
#
# **What does not fail.** With $\Sigma = LL'$ the same trace is the sum of the singular values of $L_p'L_k$, and the gradient of *that sum* needs no differences: it is $U V'$, bounded whatever values coincide.

# %%
with torch.no_grad():
    L_p, L_k = torch.linalg.cholesky(S_p[0]), torch.linalg.cholesky(S_k[0])
    nuclear = torch.linalg.svdvals(L_p.T @ L_k).sum()
    textbook = torch.from_numpy(sqrtm((S_p[0] @ S_k[0]).numpy()).real).trace()
torch.testing.assert_close(nuclear, textbook)
(slope,) = torch.autograd.grad(torch.linalg.svdvals(X := (L_p.T @ L_k).requires_grad_()).sum(), X)
U, _, V = torch.linalg.svd(X.detach())
torch.testing.assert_close(slope, U @ V)
print("Tr((S_p S_k)^(1/2)) = the nuclear norm of L_p' L_k, with the gradient U V'")

# %% [markdown]
# ## 6 Eq. 3, 4 and 6: a region among the others
#
# $$L^{NCE}_{i,t} = -\log\frac{\operatorname{sim}(p,k_+)}{\operatorname{sim}(p,k_+)+\sum_{k_-}\operatorname{sim}(p,k_-)}, \qquad \operatorname{sim}(p,k) = e^{-W(p,k)/\tau}$$
#
# $k_+$ is the same region in the other map of the pair. Which regions are $k_-$ the paper leaves open; here they are all other regions of the other map of the same image. So the loss is a cross-entropy over the rows of a matrix of $-W/\tau$, with the diagonal as its classes.
#
# > **Predict.** A mapping that makes all regions of an image equal has W = 0 everywhere, as small as it gets. What is its loss? What is the loss of one that is perfect?

# %%
with torch.no_grad():
    p, k = (rdc.loss.describe(m, regions)[regions.image == 0] for m in (maps, labels))
    table = wasserstein(p[:, None], k[None])  # (M, M): rows the prediction's, columns the label's
M = len(p)
own = torch.arange(M, device=p.device)
torch.testing.assert_close(rdc.loss.similarity(p[:, None], k[None]), -table / rdc.loss.temperature)
nce = lambda W: F.cross_entropy(-W / rdc.loss.temperature, own)  # noqa: E731  Eq. 3, 4
nothing, perfect = nce(torch.zeros_like(table)), nce(1e3 * (1 - torch.eye(M).to(table)))
torch.testing.assert_close(nothing.exp().item(), float(M), rtol=1e-4, atol=0)
assert perfect < 1e-6
print(f"{M} regions; collapsed: log M = {nothing:.2f}; perfect: {perfect:.0f}")

# %% [markdown]
# That is the difference to XTC: a collapsed mapping pays $\log M$, and no regularizer is needed to forbid it. The matrix of one pair of maps, before any training; its diagonal should be the smallest of each row and column:

# %%
from mtpsl.report.sketches import draw_matrices

few = table[:8, :8].cpu()
show(
    draw_matrices({f"W of {min(8, M)} of {M} regions": few}),
    alt="A matrix of squared Wasserstein distances between the regions of two maps.",
    caption="Rows: regions in the prediction's map; columns: the same regions in the label's.",
)

# %% [markdown]
# **Both directions.** The released code takes the prediction's regions as anchors; Eq. 6 sums over all tasks. So here both maps' regions are anchors: rows and columns. By hand and by the package, for this pair of maps:

# %%
dice = torch.Generator(p.device).manual_seed(0)
found, hits = rdc.loss.contrast_image(p, k, own, dice)
torch.testing.assert_close(found, (nce(table) + nce(table.T)) / 2)  # Eq. 3
nearest = torch.cat([table.argmin(1) == own, table.argmin(0) == own])
assert torch.equal(hits, nearest)
print("the mean of rows and columns; an anchor is a hit if its own region is nearest")

# %% [markdown]
# **Eq. 6** averages over regions and sums over pairs of maps. By hand over the whole batch:
#
# $$L_{RC} = \frac1{KM}\sum_t\sum_i L^{NCE}_{i,t}$$


# %%
def pair_loss(number):
    inside = regions.image == number
    W = wasserstein(described[0][inside][:, None], described[1][inside][None])
    classes, logits = torch.arange(len(W), device=W.device), -W / rdc.loss.temperature
    return (F.cross_entropy(logits, classes) + F.cross_entropy(logits.T, classes)) / 2


# %%
with torch.no_grad():
    described = [rdc.loss.describe(m, regions) for m in (maps, labels)]
    by_hand = sum(pair_loss(number) for number in range(len(maps))) / len(batch)  # Eq. 6
    torch.manual_seed(0)  # the same noise in the sampled classes
    L_RC, retrieval = rdc.loss.contrast_regions(Inputs(output.predictions, batch))
torch.testing.assert_close(L_RC, by_hand)
print("the loss of a batch is that of its pairs of maps, divided by its images")

# %% [markdown]
# **Retrieval.** The loss has no unit. The share of anchors whose own region is the nearest has one, and every training of RDC logs it as `region_retrieval`.
#
# > **Predict.** Random weights: would you expect it at chance, 1/M, or above?

# %% tags=["nbval-ignore-output"]
chance = (1 / kept.double()).mean().item()
collapsed = (kept.double().log().sum() / len(batch)).item()
print(f"L_RC {L_RC:.2f}, collapsed {collapsed:.2f}; retrieval {retrieval:.0%}, chance {chance:.0%}")

# %% [markdown]
# The loss hardly differs from that of a collapsed mapping (each image has two pairs of maps here), and yet regions are found more often than by chance. But chance is not quite what a random network has to beat: wherever depth, class and direction change together, two random maps change together as well. So compare a trained network with an untrained one, and not with 1/M; Figure `rdc/retrieval` in [`33_rdc_beyond`](33_rdc_beyond.ipynb) does.
#
# **Temperature.** W is not bounded like a cosine, and it grows with the number of channels; $\tau$ = 5.4 in the released code belongs to D = 32 and is scaled with D here.

# %%
D = maps.shape[1]
assert rdc.loss.temperature == 5.4 * D / 32 and RegionContrastLoss(nyud).temperature == 5.4
entropy = lambda tau: torch.distributions.Categorical(logits=-table / tau).entropy().mean()  # noqa: E731
spread = {tau: entropy(tau).item() for tau in (0.01, rdc.loss.temperature, 100.0)}
assert spread[0.01] < spread[rdc.loss.temperature] < spread[100.0]
torch.testing.assert_close(spread[100.0], nothing.item(), rtol=0.05, atol=0)
print("small tau: one other region decides; large tau: all count alike, and nothing is learned")

# %% [markdown]
# ## 7 Eq. 1: everything at once
#
# $$Loss = L_{Sup} + L_{RC}$$
#
# Two views as in XTC: labels teach the first, the contrast the second, which is cut from it. Regions are cut with the image, and where a view shows what lies beyond it there are none.

# %%
from mtpsl.data.dataset import TrainLoader

views = {"views": 2, "device": session.device}
first, second = next(TrainLoader(divided, batch_size=8, seed=session.seed, **views).epoch(0))
torch.manual_seed(0)
terms = rdc.training_step(first, second, progress=0.5)  # Eq. 1
total = sum(terms.values())
names = [*tasks.names, "region_contrast"]
assert [*terms] == names
print("Loss =", " + ".join(terms), "| regions of the second view:", tuple(second.regions.shape))

# %% [markdown]
# > **Predict.** The paper's weight is 1. The released code multiplies by 2 · min(epoch/20, 1) · 0.075. What is it in the first of 20 epochs, and in the last?

# %%
factor = [2 * min(epoch / 20, 1) * 0.075 for epoch in range(20)]
assert factor[0] == 0 and abs(factor[-1] - 0.1425) < 1e-9
halves = []
for progress in (0.5, 1.0):
    torch.manual_seed(0)
    again = rdc.loss(output.predictions, batch, progress=progress)
    halves.append(again["region_contrast"])
torch.testing.assert_close(halves[1], 2 * halves[0])
print(
    f"from {factor[0]:.0f} to {factor[-1]}; here weight=0.15, growing with the progress of training"
)

# %% [markdown]
# Where does the gradient go? To the *prediction* of every task that has no label, and to nothing where it has one:

# %%
heads = {name: m.clone().requires_grad_() for name, m in output.predictions.items()}
contrast = rdc.loss(heads, batch)["region_contrast"]
for task, slope in zip(heads, torch.autograd.grad(contrast, [*heads.values()]), strict=True):
    reached = slope.flatten(1).any(dim=1)
    assert torch.equal(reached, ~batch.labeled[task])
    print(f"{task}: reaches {int(reached.sum())} of {len(batch)} predictions, those without label")

# %% [markdown]
# ## 8 The alternatives
#
# **Vector**: a region is its mean, and the similarity is $e^{\cos/\tau}$ with $\tau$ = 0.7. **Pixel**: single pixels are compared; the positive is the same pixel of the other map. **Patch**: windows of 8x8 cells in place of regions, so nobody has to divide the image. The cell compares two regions with the same mean and a different texture:
#
# > **Predict.** Which of the three contrasts tells them apart?

# %%
flat = torch.full((1, 2, 8, 16), 0.5)
rough = flat + torch.cat([torch.zeros(1, 2, 8, 8), 0.4 * torch.randn(1, 2, 8, 8)], dim=3)
rough[..., 8:] += 0.5 - rough[..., 8:].mean((2, 3), keepdim=True)
halves = find_regions((torch.arange(16) >= 8).long().expand(1, 8, 16))
apart = {}
for contrast in ("gaussian", "vector"):
    own_loss = RegionContrastLoss(nyud, contrast=contrast)
    a, b = own_loss.describe(rough, halves)
    apart[contrast] = own_loss.similarity(a, a) - own_loss.similarity(a, b)
assert apart["vector"].abs() < 1e-5 and apart["gaussian"] > 0.01
print("the mean vectors are equal; the Gaussians are not")

# %% [markdown]
# **KL** (Table 5). The text says that it "fails to accurately reflect the distance between discrete and continuous distributions". What can be checked is the other sentence: Wasserstein measures Gaussians that hardly overlap.
#
# > **Predict.** Two Gaussians one unit apart, ever narrower. Where do W and KL go? And is KL(p‖k) = KL(k‖p)?

# %%
from mtpsl.papers.rdc.gaussians import kl

for width in (1.0, 0.1, 0.01):
    (m_p, S_p), (m_k, S_k) = ellipse(0, 0, width, width), ellipse(1, 0, width, width)
    p1, k1 = with_factor(m_p, S_p), with_factor(m_k, S_k)
    torch.testing.assert_close(kl(p1, k1).item(), 0.5 / width**2)
    torch.testing.assert_close(wasserstein(p1, k1).item(), 1.0)
    print(f"width {width}: W = 1, KL = {kl(p1, k1):.1f}")
p2, k2 = (with_factor(*ellipse(0, 0, r, r)) for r in (1, 2))
assert (kl(p2, k2) - kl(k2, p2)).abs() > 0.5

# %% [markdown]
# Between two heaps of equal width, W depends on how far they are apart and not on the width, and KL on the distance in units of the width. KL(p‖k) is not KL(k‖p), as the last line asserts.
#
# Here is the loss of each alternative, on the same batch and predictions:

# %%
variants = {"Gaussian": {}, "vector": {"contrast": "vector"}, "pixel": {"contrast": "pixel"}}
variants |= {"Gaussian by patch": {"patch": 8}, "KL": {"measure": "kl"}}
variants |= {"symmetric roots": {"measure": "root"}, "bank": {"negatives": "bank"}}
lines = {}
for name, args in variants.items():
    method = build(experiment.replace(method_args={**experiment.method_args, **args}))
    torch.manual_seed(0)
    value = method.to(session.device).loss(output.predictions, batch)["region_contrast"]
    assert value.isfinite() and (value == 0) == (name == "bank")
    lines[name] = {"contrast": value.item() / 0.15, "retrieval": method.loss.retrieval.item()}

# %% tags=["nbval-ignore-output"]
show_table(pd.DataFrame(lines).T.style.format({"contrast": "{:.2f}", "retrieval": "{:.0%}"}))
assert lines["KL"]["contrast"] > 5 * lines["Gaussian"]["contrast"]

# %% [markdown]
# Their losses cannot be compared with one another, since each has its own scale and number of negatives. KL counts in units of the regions' width and is many times as large at the same temperature; the bank of earlier regions is still empty and has nothing to push away. Only what a network has learned in the end can: [`31_rdc_tables`](31_rdc_tables.ipynb).
#
# ## 9 What was released
#
# The [release](https://github.com/HereNowL/Region-aware-Distribution-Contrast) (commit `a6fa360`) cannot be imported: one module asks another for two names that it does not define. With those added it runs, and its region loss differs from the paper's in three ways, each of which takes a cell.
#
# **The loss is detached.** `forward` calls a function that ends in a NumPy number. `gradient=False` is that: the term is computed and logged.
#
# > **Predict.** What does such a network learn, in comparison with supervised training on the same two views?

# %%
detached, plain = (
    build(experiment.replace(method_args={**experiment.method_args, **args})).to(session.device)
    for args in ({"gradient": False}, {"weight": 0.0})
)
steps = []
for method in (detached, plain):
    torch.manual_seed(0)
    terms = method.training_step(first, second, progress=1.0)
    weights = [p for p in method.net.parameters()]
    steps.append(torch.autograd.grad(sum(terms.values()), weights, materialize_grads=True))
assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))
print("the same gradient, bit for bit, as with weight 0")

# %%
torch.manual_seed(0)
number = detached.loss(output.predictions, batch)["region_contrast"]
assert number > 0 and not number.requires_grad
try:
    torch.autograd.grad(number, [*detached.loss.parameters()])
except RuntimeError as error:
    print("loss", "> 0, but:", str(error).split(" and ")[0])

# %% [markdown]
# *So "RDC as released" is supervised learning with a second view in its BatchNorm.* The table `companion/contrast` in [`33_rdc_beyond`](33_rdc_beyond.ipynb) has it as a row of its own.
#
# **The positive is constant.** Before the exponential, the logarithm of the positive is reduced by its own maximum, a trick that keeps a softmax from overflowing. Of a single number the maximum is the number itself:

# %%
distances = [0.1, 1.0, 10.0, 100.0]
logarithms = [torch.tensor(-d / 5.4) for d in distances]
positive = [torch.exp(one - one.max()).item() for one in logarithms]
print("distance to the positive", distances, "similarity", positive)
assert set(positive) == {1.0}

# %% [markdown]
# Whatever the distance, the similarity is 1: nothing would attract, even with a gradient. In older compiled files beside the code the only negative is the positive itself, and the loss is $\log 2$ for every input:

# %%
for one in logarithms:
    twice = torch.stack([one, one])  # the positive, and the same as its negative
    torch.testing.assert_close(F.cross_entropy(twice, torch.tensor(0)).exp().item(), 2.0)
print("log 2, four times")

# %% [markdown]
# **Two negatives, the oldest.** Negatives come from a bank of 1,000 entries, first in, first out, which holds regions of all images and both tasks. But the loop over them runs over `len([bank_u, bank_s])`, which is the number of *banks*, so two entries are used, the first two. (Their mean is taken, too, where Eq. 3 has a sum.)
#
# > **Predict.** A pair of maps adds its regions, some fifty in all. From which pair are the two negatives after 1, 10 and 100 pairs?

# %%
from collections import deque

bank = deque(maxlen=1000)
for pair in range(1, 101):
    bank.extend((pair, region) for region in range(50))
    if pair in (1, 10, 100):
        print(f"after {pair:3} pairs: {len(bank):4} entries, the two used: {bank[0]}, {bank[1]}")
assert bank[0] == (81, 0) and bank[1] == (81, 1)

# %% [markdown]
# At first they are the anchors' own regions, and later the stalest ones, two regions of one image that was seen a thousand entries ago. Here `negatives="image"` is the default, and `"bank"` draws 32 of the thousand.
#
# One more: the root of a product of two covariances is not symmetric, and numbers on its diagonal may be negative. The released code takes the **absolute value of every number** in it before the trace, which can only raise the trace and lower W. Regions whose pixels vary in one direction mostly:

# %%
torch.manual_seed(0)
streak = lambda: torch.randn(8, 1) @ torch.randn(1, 40) + 0.1 * torch.randn(8, 40)  # noqa: E731
ratios = []
for _ in range(6):
    A, C = (torch.cov(streak().double()).numpy() for _ in "pk")
    X = sqrtm(A @ C).real
    traces = A.trace() + C.trace()
    ratios.append((traces - 2 * abs(X).trace()) / (traces - 2 * X.trace()))

# %% tags=["nbval-ignore-output"]
print("released / exact, six pairs of regions:", [f"{r:.2f}" for r in ratios])
assert max(ratios) <= 1 + 1e-9 and min(ratios) < 0.95

# %% [markdown]
# ## 10 In a loop of your own
#
# The loss needs neither our engine nor our network: predictions, a batch with labels and regions, nothing else. An encoder of yours:

# %%
from mtpsl import Batch

encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 7, 4, 3), torch.nn.ReLU()).to(session.device)
head = {t.name: torch.nn.Conv2d(16, t.channels, 1).to(session.device) for t in tasks}
contrast = RegionContrastLoss(tasks, pools=2).to(session.device)

labels = {t.name: [None] * 8 for t in tasks}  # one label each: a map, or None
for name in labels:
    for i in batch.labeled[name].nonzero().flatten().tolist():
        labels[name][i] = batch.targets[name][i]

# %%
from dataclasses import replace

from mtpsl import supervised_terms

mine = replace(Batch.from_targets(batch.images, labels, tasks), regions=batch.regions)
features = encoder(mine.images)
predictions = {t.name: t.activate(head[t.name](features)) for t in tasks}
predictions = {n: F.interpolate(m, mine.images.shape[2:]) for n, m in predictions.items()}
terms = supervised_terms(tasks, predictions, mine) | contrast(predictions, mine)
gradients = torch.autograd.grad(terms["region_contrast"], [*encoder.parameters()])
assert all(g.isfinite().all() and g.any() for g in gradients)
print("the contrast alone reaches the encoder; terms:", ", ".join(terms))

# %% [markdown]
# What remains are the two lines that every training has, `sum(terms.values()).backward()` and `optimizer.step()`. Give the optimizer `contrast.param_groups(lr)` as well, since the mapping network learns with the rest.
#
# ## 11 What the paper leaves open, and what is done here

# %%
from mtpsl.papers.rdc.loss import CHOICES

rows = pd.DataFrame(CHOICES.items(), columns=["what is open", "what is done here, and elsewhere"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# ## 12 Where each equation is
#
# The table is read from the source, and a test fails if an equation is missing.

# %%
from mtpsl.report.equations import find_equations

places = find_equations("rdc")
assert {place.equation for place in places} == {1, 2, 3, 4, 5, 6}
rows = [(f"Eq. {p.equation}", f"{p.file}:{p.line}", p.function, p.code) for p in places]
rows = pd.DataFrame(rows, columns=["equation", "file:line", "function", "statement"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# ## Take away
#
# 1. A contrast forbids the trivial mapping by itself: equal regions cost $\log M$. XTC needs a regularizer for that.
# 2. Compare Gaussians through Cholesky factors and singular values, in float32 and shrunk. The same formula through `eigh` has the same value and a gradient that is wrong or NaN.
# 3. Read what a release computes before you compare with its numbers: this one trains without the loss that its paper is about.
#
# ## Exercises
#
# 1. Both covariances are multiples of the identity, $a^2 I$ and $b^2 I$ in D channels, with equal means. What is W? What does `measure="mean"` say?
# 2. An image has one region only. What should the loss be, and what is it here?
# 3. Multiply all features of both maps by 2. What happens to W, to $L^{NCE}$ at a fixed $\tau$, and to the vector contrast? What does that say about a network that wants to lower its loss cheaply?
# 4. Why does the sum over pairs of maps, and not their mean, make an image with two labels of three count as much as one with one label? And with all labels?
# 5. A region with eight cells at half size is left out. Which objects of a room are those, and what would you change to keep them?
#
# <details><summary>Solutions</summary>
#
# 1. $D(a-b)^2$; the mean says 0.
#
# 2. There is nothing to push away, so the loss is $-\log 1 = 0$, whatever the distance: an image with one region teaches nothing. The release divides by zero where an image has none.
#
# 3. W grows by 4, since it is a square. $L^{NCE}$ gets harder: what was right becomes more right, what was wrong more wrong, as with $\tau/4$. Cosines do not change. A network whose retrieval is already perfect can lower its loss by scaling its maps, which BatchNorm in front of the last ReLU and $\gamma$ decide; so a falling loss is no proof of better regions, and a rising retrieval is.
#
# 4. One label: two sources and one target, two pairs. Two labels: one source and two targets, two pairs. All three: the code takes all six ordered pairs, three times as many. `per_image_mean=True` divides by the number of sources.
#
# 5. Small and thin things: chair legs, books, pictures far away. `min_pixels=2` keeps them, with covariances of rank one; a larger image or `map_stride=1` gives them cells.
#
# </details>
#
# ## References
#
# Li et al., [ECCV 2024](https://arxiv.org/abs/2403.10252), the paper; Olkin and Pukelsheim, *The distance between two random vectors with given dispersion matrices*, 1982, the distance of two Gaussians; van den Oord et al., [2018](https://arxiv.org/abs/1807.03748), InfoNCE; Felzenszwalb and Huttenlocher, *Efficient graph-based image segmentation*, 2004, the regions.
#
# **Next:** [`31_rdc_tables`](31_rdc_tables.ipynb), what it is worth.
