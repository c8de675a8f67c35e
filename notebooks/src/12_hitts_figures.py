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
# # The figures of HiTTs
#
# **You will be able to** put a number beside each figure of the paper, and say which of them an untrained network would show as well. **Takes** about 30 minutes to read. **Read before:** [`10_hitts_method`](10_hitts_method.ipynb); previous is [`11c_hitts_tables`](11c_hitts_tables.ipynb). **Next:** [`12b_hitts_figures`](12b_hitts_figures.ipynb). **Paper:** [HiTTs](https://arxiv.org/abs/2411.18823), Section 4 and Appendix.
#
# Numbers say *how much*, figures say *what*: what the networks see (Figure 5), what the fine-grained tokens have become (7), what they do to a prediction (8), what pseudo supervision does to learning (9) and where the two kinds of tokens look (11). For each figure: what the paper says, a guess, the picture from our data, and a number from the plotted arrays that the sentence can be held against.
#
# Every figure comes from up to two sources: **recorded**, drawn again from the arrays committed with this repository (profile `quick`), and **computed now**, at this notebook's profile. At `smoke` the latter are made from networks after four steps, which is no evidence for anything, so neither the pictures nor the numbers below them are shown. The first word of each caption says which source it is.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show_figures

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)


def measured(figures):
    """(source, figure) pairs to measure, without networks of a few steps, which show noise."""
    return [(source, made) for source, made in figures.items() if not made.rough]


NAMES = {"baseline": "MTL baseline", "mtan": "MTAN", "xtc": "XTC", "ours": "HiTTs, stages 1 and 2"}


# %% [markdown]
# Which trainings a figure needs is written down beside its caption. *They are rows of the paper's tables* ("Ours" are both stages of HiTTs), so after [`11_hitts_tables`](11_hitts_tables.ipynb) little is trained here: the learning curves, whose networks are evaluated along the way, and the networks that the list calls their own.

# %%
from mtpsl import papers

for figure in papers.figures().values():
    if figure.paper == "hitts":
        rows = [": ".join(run) for run in figure.runs.values()]
        rows += [f"a training of its own ({role})" for role in figure.own]
        print(f"{figure.source:<16} {'; '.join(rows) or 'nothing'}")

# %% [markdown]
# ## Figure 5: predictions
#
# **The paper:** "Ours shows both clear semantic boundaries and accurate geometry estimations", compared with XTC. Here the MTL baseline and MTAN stand beside it; every network had one label per image. Rows are spread evenly over the test images; nobody has picked them.
#
# > **Predict.** Will the network that names most pixels right also have the smallest depth error?

# %%
fig5 = session.figure("hitts/fig5")
show_figures(fig5, first=profile == "smoke")

# %% [markdown]
# The next cell puts the pictures into numbers: the share of labeled pixels with the right class, and the mean depth error, over the images shown. Whichever network is first in one column need not be first in the other. And three images decide nothing, which is why there are tables.

# %% tags=["nbval-ignore-output"]
import numpy

for source, made in measured(fig5):
    a = made.arrays
    known = a["semseg/truth"] != 255
    for role in a["roles"]:
        right = (a[f"semseg/{role}"] == a["semseg/truth"])[known].mean()
        off = numpy.nanmean(numpy.abs(a[f"depth/{role}"] - a["depth/truth"]), dtype=float)
        name = NAMES[str(role)]
        print(f"{source:<13} {name:<22} {100 * right:5.1f} % right, depth off by {off:.2f} m")

# %% [markdown]
# ## Figure 7: what orthogonal embeddings do to the tokens
#
# A task has one fine-grained token per class: 13 for segmentation, 30 for depth bins, 20 for directions. They all derive from a single global token. Without something to tell them apart, "the MLPs will tend to degenerate and perform linearly correlated outputs".
#
# **The paper:** with orthogonal embeddings (OE) "the affinities between different tokens are low and the distances between different token clustering centers are far".
#
# > **Predict.** Thirty depth tokens without OE: how similar are two of them, on a scale from 0 to 1? And will neighboring depths be more alike than distant ones?

# %%
fig7 = session.figure("hitts/fig7")
show_figures(fig7, first=profile == "smoke")

# %% [markdown]
# The claim about affinities becomes a number in the mean absolute cosine between *different* tokens of the same image. Near 1, the tokens are one token; near 0, they are orthogonal.

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig7):
    for task in made.arrays["tasks"]:
        w, o = (float(made.arrays[f"{task}/{v}/off_diagonal"]) for v in ("without", "with"))
        print(f"{source:<13} {task:<8} without OE {w:.1f}, with OE {o:.1f}, lower: {o < w}")

# %% [markdown]
# There are two things to mind before believing or disbelieving a number here.
#
# *A network that has hardly trained shows its initialization.* There the embeddings make a difference by construction: without them all tokens of a task start out in about two directions, with them in many ([`10_hitts_method`](10_hitts_method.ipynb) counts 15). Whether tokens *degenerate*, as the sentence has it, is a question for trained networks: does training pull them apart where the embeddings are missing, or leave them together?
#
# *At most C vectors of C numbers each can be orthogonal.* The paper's network has room for 30 tokens; the narrow networks of the small profiles have not, so some affinities stay above zero whatever the embeddings do. Exercise 1 says what chance alone gives.

# %%
from mtpsl.models import build_backbone
from mtpsl.papers.hitts.tables import hitts
from mtpsl.runs.profiles import PROFILES

arrays = fig7["computed now"].arrays
tokens = {str(t): len(arrays[f"{t}/values"]) for t in arrays["tasks"]}
for name, scale in PROFILES.items():
    experiment = scale(hitts("one_label"))
    channels = build_backbone(experiment.backbone, experiment.width_factor).channels
    print(f"{name:<6} C = {channels:<3} tokens {tokens}")

# %% [markdown]
# The second claim, separate clusters, is about images: a token is computed anew for each image, and its points should stay closer to each other than to other tokens'. The share of variance in the plane says how much of the cloud a scatter plot can show at all.

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig7):
    for task in made.arrays["tasks"]:
        for v in ("without", "with"):
            points = made.arrays[f"{task}/{v}/points"]  # (images, tokens, 3)
            between, within = points.mean(0).std(0).mean(), points.std(0).mean()
            share = made.arrays[f"{task}/{v}/explained"][:2].sum()
            print(f"{source:<13} {task:<8} {v:<8}", end=" ")
            print(f"spread between tokens {between:.3f}, within {within:.3f}; plane {share:.2f}")

# %% [markdown]
# ## Figure 8: confidence before and after refinement
#
# The fine-grained tokens score every pixel, and the scores multiply the preliminary logits G into G' [HiTTs, Eq. 4]. Confidence is the largest class probability; pseudo labels are taken where it exceeds a threshold.
#
# **The paper:** the tokens "greatly encourage high-confidence predictions on all tasks", most of all on noisy images "like the second photo taken in a dark environment".
#
# > **Predict.** Is a more confident map a better one? What would you plot beside it to find out?

# %%
fig8 = session.figure("hitts/fig8")
show_figures(fig8, first=profile == "smoke")

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig8):
    for task in made.arrays["tasks"]:
        before, after = (
            made.arrays[f"{task}/{stage}"].mean((1, 2), dtype=float)
            for stage in ("before", "after")
        )
        for image, b, a in zip(("median", "darkest"), before, after, strict=True):
            print(f"{source:<13} {task:<8} {image:<8} {b:.2f} -> {a:.2f}, a rise of {a - b:+.2f}")

# %% [markdown]
# The sentence has two halves: every map has to rise, and that of the darkest image most. Compare the rises, task by task.
#
# There is one reservation. G feeds G' and is never itself compared with a label: only G' has a loss. So "before" is no earlier prediction but an intermediate layer, and that it looks unsure does not show that it would have been wrong. The sentence to test is whether confident pixels are *right*; Table 5's rows with L_p are that test, because they train on exactly those pixels.

# %% [markdown]
# ## Figure 9: learning curves
#
# **The paper:** "the model trained with pseudo supervision converges faster on both train and test splits, and gains better performance."
#
# > **Predict.** Pseudo labels come from a network of the same size that saw the same labels. Where should they help more: on the training images or on the test images?

# %%
fig9 = session.figure("hitts/fig9")
show_figures(fig9, first=profile == "smoke")

# %% [markdown]
# The ends of the curves, and how many points each has. The curves on training images use the labels that the setting leaves: the network's own training labels, on clean images.

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig9):
    a = made.arrays
    print(f"{source}: {len(a['epochs/with'])} points, last epoch {a['epochs/with'][-1]}")
    for task in a["tasks"]:
        ends = {
            s: [float(a[f"{task}/{s}/{v}"][-1]) for v in ("without", "with")]
            for s in ("train", "test")
        }
        print(
            f"  {task:<8} {a[f'{task}/label']}  "
            + "  ".join(f"{s}: {w:.2f} -> {p:.2f}" for s, (w, p) in ends.items())
        )

# %% [markdown]
# Is it faster, too? The next cell compares the two at a quarter of the epochs, on test images:

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig9):
    a = made.arrays
    at = {v: len(a[f"epochs/{v}"]) // 4 for v in ("without", "with")}
    early = {str(t): [float(a[f"{t}/test/{v}"][at[v]]) for v in at] for t in a["tasks"]}
    print(source, {t: f"{w:.2f} -> {p:.2f}" for t, (w, p) in early.items()})

# %% [markdown]
# *How to read the curves.* The sentence has two halves, faster and better, and the two cells above answer one each. Compare the two splits as well: where the gain is larger on test images than on training images, pseudo labels add what the labels did not say. It is one seed, and a training at `quick` has 1,380 steps where the paper's has some 40,000; the verdict on L_p belongs to the ledgers of [`11_hitts_tables`](11_hitts_tables.ipynb).

# %% [markdown]
# ## Figure 11: where the tokens look
#
# (This page has rooms; streets, the lower half of the paper's figure, are in Figure 14, [`12b_hitts_figures`](12b_hitts_figures.ipynb).) A task's *global* token asks every position how much it belongs to the task (the map M^f, which also weighs the feature loss L_f). Its *fine-grained* tokens ask for one class, depth or direction each.
#
# **The paper:** maps of global tokens are "relatively rough and noisy" and "monotonous", those of fine-grained tokens "have finer granularity and less noise"; segmentation highlights distinguishing semantics, depth a range of depths, normals surfaces of one orientation.
#
# > **Predict.** Shown is the fine-grained token whose scores vary most over the image. For segmentation, which class would that be in a typical room?

# %%
fig11 = session.figure("hitts/fig11")
show_figures(fig11, first=profile == "smoke")

# %% [markdown]
# *Finer granularity is partly a matter of construction:* global scores live on a grid of 1/8 of the image, fine-grained ones on its pixels, as the shapes show. "Monotonous" can be measured: the variation over the image relative to the mean. A map that hardly varies selects nothing.

# %%
for source, made in measured(fig11):
    a = made.arrays
    print(source, "grid of global scores", a["semseg/global"].shape[1:], end=", ")
    print("of fine-grained scores", a["semseg/fine"].shape[1:])

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig11):
    for task in made.arrays["tasks"]:
        maps = [made.arrays[f"{task}/{kind}"].astype(float) for kind in ("global", "fine")]
        varied = [float((m.std((1, 2)) / m.mean((1, 2))).mean()) for m in maps]
        print(
            f"{source:<13} {task:<8} variation: global {varied[0]:.3f}, fine {varied[1]:.3f}",
            end="; ",
        )
        print("tokens shown:", made.arrays[f"{task}/token_name"].tolist())

# %% [markdown]
# "Monotonous" would be a smaller number for the global map than for the fine-grained one. Where it is the larger of the two, the sentence does not hold on these images.
#
# And does a token respond to *what it stands for*? The next cell says for each shown token how many pixels truly are of its class, depth or direction, and after the colon its mean score there and its mean score elsewhere.

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig11):
    for task in made.arrays["tasks"]:
        names, own = made.arrays[f"{task}/token_name"], made.arrays[f"{task}/own"]
        told = [
            f"{n} {100 * s:.0f} %: {i:.2f}, {o:.2f}"
            for n, (s, i, o) in zip(names, own, strict=True)
        ]
        print(f"{source:<13} {task:<8}", "; ".join(told))

# %% [markdown]
# The sentence asks for a larger score on a token's own pixels than elsewhere: compare the two numbers behind each colon. A token without a pixel of its own (0 %, or nan) cannot be judged on that image.
#
# How can a token vary most over an image in which nothing is like it? Because a score only *multiplies* a logit of G (Eq. 4). On a positive logit a high score says "here", on a negative one "here least of all". A detailed map need not mean what its token stands for.

# %% [markdown]
# Each map in the picture spans its own range, so a map that varies by one percent *looks* as lively as one that varies by half. The numbers above guard against that.

# %% [markdown]
# ## The other figures
#
# Diagrams of the method, streets and pseudo labels are in [`12b_hitts_figures`](12b_hitts_figures.ipynb).

# %% [markdown]
# ## Exercises
#
# **1.** At `quick` a token has 16 numbers. If tokens were drawn at random, which mean absolute cosine would the affinity maps of Figure 7 show? Compare with the trained ones above.
#
# <details><summary>Solution</summary>
#
# About $\sqrt{2/(16\,\pi)} = 0.20$:
#
# ```python
# import torch
# t = torch.nn.functional.normalize(torch.randn(1000, 16), dim=1)
# print((t @ t.T)[~torch.eye(1000, dtype=torch.bool)].abs().mean())
# ```
#
# A mean absolute cosine near 0.20 is as little as chance gives in 16 dimensions; a larger one says that tokens have something in common, a smaller one that something has spread them out. Note that the 20 and 30 tokens of normals and depth could not be orthogonal in 16 dimensions; at full width they have 64.
# </details>
#
# **2.** Figure 7 draws tokens in the plane of their first two principal components. If the thirteen tokens of a task were exactly orthogonal and of equal length, which share of their variance would that plane hold? And the three dimensions of the paper's picture?
#
# <details><summary>Solution</summary>
#
# Centered, they are the corners of a regular simplex, whose 12 variances are equal: $2/12 = 17\,\%$ and $3/12 = 25\,\%$.
#
# ```python
# corners = torch.eye(13) - torch.eye(13).mean(0)
# variance = torch.linalg.svdvals(corners) ** 2
# print(variance[:2].sum() / variance.sum())
# ```
#
# So a plane that holds much of the variance speaks *against* orthogonality, and clear clusters in it do as well. The paper asks its picture to show both.
# </details>
#
# **3.** The training curve of Figure 9 is measured on labeled pixels of training images, the test curve on all pixels of other images. Suppose the gap between them closes with pseudo supervision. Would that show that pseudo labels help against overfitting?
#
# <details><summary>Solution</summary>
#
# Not by itself: a gap also closes when the training curve gets *worse*, for instance because wrong pseudo labels compete with right labels. Only the test curve decides; the gap says by which of the two ways.
# </details>

# %% [markdown]
# ## Take away
#
# 1. A figure argues only with a number beside it: three images rank nothing, and every map that spans its own range looks lively.
# 2. Ask what an untrained network would show. Fine granularity and separate tokens are partly built in; what training adds is the finding.
# 3. A score multiplies a logit, so a bright map need not mean "here it is". Ask whether the score is larger where the token's class truly is.
#
# **Next:** [`12b_hitts_figures`](12b_hitts_figures.ipynb), diagrams, streets and pseudo labels.
