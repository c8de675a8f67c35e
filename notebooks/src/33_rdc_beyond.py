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
# # Beyond the paper: RDC with a gradient
#
# **You will be able to** say whether the contrast helps once it trains anything, what the quality of regions has to do with it, which part of a Gaussian matters, and what each kind of contrast costs. **Takes** about 30 minutes to read. **Read before:** [`30_rdc_method`](30_rdc_method.ipynb), Sections 4 to 9. **Previous:** [`32_rdc_figures`](32_rdc_figures.ipynb). **Next:** [`40_tpkr_method`](40_tpkr_method.ipynb). **Paper:** [RDC](https://arxiv.org/abs/2403.10252), Sections 3.3 and 4.3.
#
# The released loss has no gradient, and the paper's tables have no row of labels alone with the same network and the same views. So four questions are open, although a reader may take them for answered:
#
# 1. *Does the contrast help at all* once it has a gradient?
# 2. *Do better regions help?* That is the argument for SAM.
# 3. *What of the Gaussian matters:* its mean, its variances, the whole of it, or the way it is compared?
# 4. *What does it cost?* The text calls Gaussians faster than pixels, and prints no time.
#
# Each is a recorded table or a measurement below. What a network has learned of regions is counted beside the first.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show, show_figures, show_results, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## 1. A ladder from labels alone to Gaussians
#
# Each row of `companion/contrast` adds one thing to the row before it: a second view that only BatchNorm sees; the contrast as released, which is computed and detached; then vectors, pixels and Gaussians with a gradient. All rows have one label per image, HRNet18 and felzenszwalb's regions.
#
# > **Predict.** Which two rows are equal to the last digit? And if Gaussians beat labels alone but not the second view, what has been shown?

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.companion.tables import CONTRAST, DISTANCES, REGIONS
from mtpsl.report.ledger import summary
from mtpsl.report.results import DELTA

contrast, now_contrast = session.results(CONTRAST, once=True)
show_results(CONTRAST, contrast, now_contrast)
print("Recorded:", summary(CONTRAST, contrast) if contrast else "nothing is recorded yet")

# %%
session.write(CONTRAST, contrast, now_contrast)

# %% [markdown]
# The equality is no approximation: every metric of the two rows is the same number.

# %%
from mtpsl.papers.companion.tables import DETACHED, TWO_VIEWS

for entry, other in zip(now_contrast.of(DETACHED), now_contrast.of(TWO_VIEWS), strict=True):
    assert entry.seed == other.seed and entry.metrics == other.metrics
    print(f"seed {entry.seed}: {len(entry.metrics)} metrics, all equal")

# %% [markdown]
# The ledger says what holds and what fails. Its sentences go up the ladder: "The second view helps without contrast" is about augmentation, "The contrast of ... helps" is measured against *that* row, and only the last two are about the paper's own subject, Gaussians in place of vectors or pixels. If Gaussians beat labels alone but not the second view, the second view has been shown to help, and the contrast has not. *n* says how many seeds there are; with fewer than two nothing is tested.
#
# Does it learn what it is asked for? The cell prints the share of regions whose own label is nearest, in the first and in the last epoch of the training of each row:

# %% tags=["nbval-ignore-output"]
for row in CONTRAST.rows:
    for entry in now_contrast.of(row.name):
        terms = [e["terms"] for e in session.store.load(entry.keys[0]).history]
        if "region_retrieval" in terms[0]:
            first, last = (t["region_retrieval"] for t in (terms[0], terms[-1]))
            print(
                f"{row.label:<22} {first:.1%} -> {last:.1%}, loss {terms[-1]['region_contrast']:.3f}"
            )

# %% [markdown]
# Compare with the detached row: its mapping network learns nothing, and its retrieval can move all the same, because the predictions that it is given become better. A row that rises above it has learned to tell regions apart in the joint space. Whether that is any use to the *tasks* is the table above; the two need not go together, and where they do not, the contrast was met by the mapping network alone.
#
# ## 2. Which regions find themselves
#
# For all regions of many test images: is the label's own region the nearest to the prediction's? The picture has the answer before and after training, and by size.
#
# > **Predict.** An untrained network maps an untrained prediction and a true label. Does it find regions more often than by chance? And which regions will a trained one find last?

# %%
found = session.figure("rdc/retrieval")
show_figures(found, first=profile == "smoke")

# %% tags=["nbval-ignore-output"]
import numpy

for source, made in found.items():
    a = made.arrays
    for when in ("before", "after", "mismatched"):
        hits = a[f"{when}/found"]
        print(f"{source:<13} {when:<11} {hits.mean():6.1%} of {len(hits)} regions", end="; ")
        print(f"by chance {float(a['chance']):.1%}")

# %% [markdown]
# The last line is the one to stop at. *Mismatched* gives the trained network the labels of **another image**, under the regions of this one. Nothing that a region shows can then be found again, only where it lies. In the recorded run it makes no difference:

# %%
if "recorded" in found:
    trained, swapped = (
        found["recorded"].arrays[f"{k}/found"].mean() for k in ("after", "mismatched")
    )
    assert trained > 0.95 and swapped > 0.95
    print("with the labels of another image as many regions are found: over 95 % either way")

# %% [markdown]
# **The contrast was solved without the image.** The mapping network has learned a code of places: in Figure 2 of [`32_rdc_figures`](32_rdc_figures.ipynb) its maps of prediction and label are the same stripes. All regions of an image lie in different places and every negative comes from the same image, so a map that shows nothing but the place tells all of them apart, and a loss that is met in this way has nothing to teach the tasks. Convolutions can know where they are, most likely from the zeros that pad the border; that this is the cause here has not been tested. As the paper describes the loss, with other regions of the image as negatives, nothing rules the shortcut out. This is one run of `quick`, at one seed, with a small network: whether the paper's networks take the same way is not known. But retrieval alone, however high, is no evidence of learning. With negatives from other images (`negatives="bank"`, a row of the table in Section 4) the place is no longer enough, so that row is the first to look at for a remedy.
#
# ## 3. Do better regions help?
#
# The achievable accuracy of [`30_rdc_method`](30_rdc_method.ipynb), Section 1, now on images of the size that `quick` trains on, for the divisions of the table `companion/regions`:

# %%
from mtpsl.data import open_dataset
from mtpsl.data.region_providers import PROVIDERS as WAYS
from mtpsl.data.regions import achievable_accuracy, compact, to_picture
from mtpsl.papers.companion.tables import PROVIDERS, TRUTH

scenes = open_dataset("rooms13", "train", height=64, width=96, images=16)
rooms = [to_picture(scenes, i, with_labels=True) for i in range(len(scenes))]
ways = PROVIDERS | {TRUTH: ("ground_truth", {})}
ids = {n: [compact(WAYS[p].divide(r, **how)) for r in rooms] for n, (p, how) in ways.items()}

# %%
import pandas

mean = lambda values: sum(values) / len(rooms)  # noqa: E731
kept = lambda m: (numpy.unique(m[1::2, 1::2], return_counts=True)[1] >= 10).sum()  # noqa: E731
quality = {
    name: {
        "regions": mean([m.max() + 1 for m in maps]),
        "of ten cells or more": mean([kept(m) for m in maps]),
        "ASA": mean([achievable_accuracy(m, r.classes) for m, r in zip(maps, rooms, strict=True)]),
    }
    for name, maps in ids.items()
}

# %%
quality = pandas.DataFrame(quality).T
show_table(quality.style.format("{:.0f}").format("{:.2f}", subset="ASA"))
asa = quality["ASA"]
assert asa[TRUTH] == asa.max() == 1 and asa["random cells"] < asa["felzenszwalb 100"]
assert asa["felzenszwalb 400"] < asa["felzenszwalb 200"] < asa["felzenszwalb 50"]

# %% [markdown]
# These are eight divisions, from blind to perfect. If SAM's regions are what makes RDC work, the gain should rise along this column.
#
# > **Predict.** Random cells are as many as felzenszwalb's and ignore the image. With one label per image, how much of the gain over labels alone will they keep: none, half, all?

# %% tags=["nbval-ignore-output"]
regions, now_regions = session.results(REGIONS, once=True)
show_results(REGIONS, regions, now_regions)
print("Recorded:", summary(REGIONS, regions) if regions else "nothing is recorded yet")

# %%
session.write(REGIONS, regions, now_regions)

# %% [markdown]
# The chart has the gain over the quality, with a point per recorded seed of each row of the block with one label:

# %% tags=["nbval-ignore-output"]
from mtpsl.report.sketches import draw_points

measured = {}
for name in PROVIDERS:
    by_seed = regions.values(REGIONS, f"one/{name}", DELTA) if regions else {}
    if gains := [gain for gain in by_seed.values() if gain == gain]:
        measured[name] = (asa[name], gains)
words = {"x": "achievable segmentation accuracy", "y": "gain over labels alone, Δ_MTL (%)"}
if measured:
    alt = "A chart of the gain of each division of the images over its achievable accuracy."
    show(draw_points(measured, **words), alt=alt, caption="Recorded: a dot per seed.")
else:
    print("no division is recorded yet, so there is no curve to draw")

# %% [markdown]
# *How to read it.* Points that rise from left to right say that regions matter, and that SAM may be worth its cost. Points at one height above zero say that any division will do, and that local contrast as such helps. Points below zero say that the contrast does not help, whoever divides the image. A single point says nothing about this. The block with all labels has true segments, the upper bound that SAM's could reach; between it and felzenszwalb's lies all that better regions can win.
#
# ## 4. What of the Gaussian matters?
#
# `companion/gaussian` changes one thing at a time: how two Gaussians are compared (means alone, variances, symmetric roots, KL), the temperature, the negatives, the gradient through labels, and the weight.
#
# > **Predict.** Means alone drop everything that sets Gaussians apart from vectors, but for the measure (a squared distance, not a cosine). How much of the difference between "vector" and "gaussian" in Table 3 could that explain?

# %% tags=["nbval-ignore-output"]
distances, now_distances = session.results(DISTANCES, once=True)
show_results(DISTANCES, distances, now_distances)
print("Recorded:", summary(DISTANCES, distances) if distances else "nothing is recorded yet")

# %%
session.write(DISTANCES, distances, now_distances)

# %% [markdown]
# *How to read it.* "Covariances matter" compares with means, "More than variances matters" with diagonal covariances: unless one of them holds, nothing here shows that a region is more than its mean. What the measure alone explains is the difference between "means" and "RDC with vectors" in Section 1. "Wasserstein is the better distance" is Table 5 at one temperature. The other rows are no claims of the paper; they say how far the result depends on what the paper leaves open.
#
# How different are those distances before any training? The order of all pairs of regions of one image, by exact W and by each alternative, as a rank correlation:

# %%
import torch

from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.regions import WithRegions
from mtpsl.papers.rdc.gaussians import MEASURES, find_regions, region_moments, shrink
from mtpsl.papers.xtc.loss import Inputs, find_links
from mtpsl.runs.network import build, without_pretrained
from mtpsl.runs.profiles import quick

row = without_pretrained(quick(CONTRAST.rows[-1].experiments[0])).replace(seed=session.seed)
rdc = build(row)
partial = PartialLabels(scenes, assign("one_label", len(scenes), scenes.tasks.names))

# %%
batch = WithRegions(partial, row.regions, row.region_args).load(range(8))
links = find_links(rdc.tasks, batch)
with torch.no_grad():
    output = rdc.net(batch.images)
    maps, labels = rdc.loss.embed(links, Inputs(output.predictions, batch))
    cells = torch.cat([rdc.loss.region_ids(link, batch, maps.shape[2:]) for link in links])
    inside = find_regions(cells, rdc.loss.min_pixels)
    gaussians = [region_moments(inside.gather(m), inside) for m in (maps, labels)]
    gaussians = [(mu, shrink(sigma, rdc.loss.shrinkage)) for mu, sigma in gaussians]

# %%
first = inside.image == 0
table = {}
for name, (describe, distance) in MEASURES.items():
    p, k = (describe(mu[first], sigma[first]) for mu, sigma in gaussians)
    table[name] = distance(p[:, None], k[None]).flatten().tolist()
ranks = pandas.DataFrame(table).rank().corr()["wasserstein"]

# %% tags=["nbval-ignore-output"]
print({name: round(value, 3) for name, value in ranks.items()})
assert ranks["root"] > 0.95 and ranks["kl"] < ranks["mean"]

# %% [markdown]
# Where the rank correlation is near 1, two measures ask nearly the same of the network; if a table tells them apart all the same, the reason may be something else, such as their scale. Symmetric roots cost one matrix product for all pairs and rank them as W does. KL has an order of its own, because it counts in units of a region's width.
#
# ## 5. What it costs
#
# The text: "the Gaussian contrast method is faster and more efficient, while still performing on par with pixel-based contrast methods." Whether that is so depends on how many pixels are compared. A region of $n$ pixels is *one* anchor as a Gaussian and $n$ anchors as pixels, and all pairs of anchors are compared.
#
# > **Predict.** A contrast map of 32x48 cells with about 30 regions. At how many pixels per region does a contrast of pixels take as much time as one of Gaussians in 32 channels, and at how many as much memory?

# %%
from mtpsl import RegionContrastLoss

with torch.random.fork_rng():
    torch.manual_seed(0)
    pair = torch.randn(2, 4, 32, 32, 48)  # two maps of four images, D = 32
numbers = cells[:4]
kinds = {"vector": {"contrast": "vector"}, "Gaussian": {}, "roots": {"measure": "root"}}
kinds |= {"8 negatives": {"negatives": 8}}
kinds |= {f"{n} pixels": {"contrast": "pixel", "pixels": n} for n in (8, 32, 128)}
kinds |= {"all pixels": {"contrast": "pixel", "pixels": 32 * 48}}


# %%
def keep(tensor):  # what the forward pass keeps for the backward pass, each storage once
    kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return tensor


# %%
import time

costs = {}
for name, args in kinds.items():
    loss, leaves, kept = RegionContrastLoss(rdc.tasks, **args), pair.clone().requires_grad_(), {}
    start, dice = time.process_time(), torch.Generator().manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = loss.contrast_maps(*leaves, numbers, dice)[0].sum()
    memory = sum(kept.values()) / 2**20
    torch.autograd.grad(total, leaves)
    costs[name] = {"ms per map": 250 * (time.process_time() - start), "MB per map": memory / 4}

# %% tags=["nbval-ignore-output"]
costs = pandas.DataFrame(costs).T
show_table(costs.style.format("{:.1f}"))
cheaper = costs["ms per map"] < costs.loc["Gaussian", "ms per map"]
print("faster than exact Gaussians, here and now:", ", ".join(costs.index[cheaper]))

# %%
megabytes = costs["MB per map"]
assert megabytes["vector"] < megabytes["Gaussian"] < megabytes["all pixels"]
assert megabytes["8 pixels"] < megabytes["32 pixels"] < megabytes["128 pixels"]
print("memory: vectors < Gaussians < all pixels")

# %% [markdown]
# Exact distances of Gaussians are no cheap thing; whether they beat pixels is a question of how many pixels. Seconds depend on the machine (one thread, the processor's clock, forward and backward), and on a GPU the order may differ, since a large matrix of cosines is what it is best at, and many small decompositions are what it is worst at. What does not depend on it is how costs grow: with the square of the regions for Gaussians, with the square of the *pixels* for pixels.
#
# At the paper's size the contrast map has 144x192 cells. All pixels of one map against all of the other:

# %%
pixels, channels, count = 144 * 192, 32, 60
print(f"pixels: {pixels**2:,} cosines, {4 * pixels**2 / 2**30:.1f} GB of float32 per pair of maps")
print(
    f"Gaussians: {count**2:,} distances, {4 * 3 * channels**2 * count**2 / 2**20:.0f} MB of factors"
)
assert pixels**2 > 100_000 * count**2

# %% [markdown]
# So pixels have to be sampled (here 32 per region by default), and *whether the claim is true depends on the size of the sample*. Nobody can check the paper's: it prints neither the sample nor the time.
#
# ## 6. What remains open
#
# * *SAM itself.* Nothing here was divided by SAM. `regions="file"` takes its masks as PNG or npy, and `regions="sam"` makes them where its weights and torchvision's compiled operators are.
# * *Pretrained weights.* At `quick` all networks start from random ones. A contrast between maps of a network that already sees objects may behave differently.
# * *Long trainings.* The weight grows over the whole training, so a short one sees little of it at full strength; the row "weight 1 from the start" is the other extreme.
#
# ## Take away
#
# 1. Put a detached row and a second-view row beside every consistency loss. If those rows gain as much as the full method, the loss adds nothing.
# 2. Count retrieval, and count it again with the wrong labels. A contrast between regions of one image can be met by a code of places, which no image and no label enters.
# 3. "Faster" needs a size. Gaussians grow with the regions squared, pixels with the pixels squared.
#
# ## Exercises
#
# **1.** The detached row equals the row with two views to the last digit, although it computes a random Gumbel sample that the other does not need. How must random numbers be drawn for that to hold?
#
# <details><summary>Solution</summary>
#
# Every mode draws the same number from the global generator, one seed per step, and everything else comes from generators that this seed starts (`Inputs.seed`). If the noise came from the global generator directly, the next batch would be another one.
# </details>
#
# **2.** Random cells keep most of the gain, say. Which sentence of the paper would that contradict, and which not?
#
# <details><summary>Solution</summary>
#
# It would contradict that high-quality regions are what makes local alignment work (abstract, Section 3.3); it would not contradict that local alignment is better than global (Table 3 compares regions with patches, and random cells are patches of another shape), nor anything about Gaussians.
# </details>
#
# **3.** At what number of regions M does the exact W of all pairs cost as much as the cosines of all pairs of 32 pixels per region, if a W takes 200 microseconds and a cosine 10 nanoseconds?
#
# <details><summary>Solution</summary>
#
# Never: both grow with M squared. Per pair of regions it is 200 µs against 32 · 32 · 10 ns = 10 µs. Pixels become dearer from about 140 pixels per region on. With symmetric roots the distance of a pair is a vector difference of 1,056 numbers, a microsecond or less.
# </details>
#
# **4.** To discuss: a method's released code cannot compute its own loss. Its tables may still be right, from another version of the code. What would convince you?
#
# <details><summary>Solution</summary>
#
# Weights that reproduce a row under a fixed meter, with logs in which the loss moves; or an independent reimplementation whose ladder has the same order. The present one is the latter, on generated rooms; it can say that the idea works or does not work *here*.
# </details>
#
# ## References
#
# Li et al., [ECCV 2024](https://arxiv.org/abs/2403.10252), the paper; Wang et al., [*Exploring Cross-Image Pixel Contrast*](https://arxiv.org/abs/2101.11939), ICCV 2021, contrast of pixels with a sample; Hu, Cui, Wang, *Region-aware Contrastive Learning*, ICCV 2021.
#
# **Next:** [`40_tpkr_method`](40_tpkr_method.ipynb), prototypes that tasks ask for knowledge.
