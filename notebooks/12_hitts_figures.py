# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
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
# Numbers say *how much*, figures say *what*: what the networks see (Figure 5), what the fine-grained tokens have become (7), what they do to a prediction (8), what pseudo supervision does to learning (9) and where the two kinds of tokens look (11). For each figure: what the paper says, a guess, the picture from our data, and a number from the plotted arrays that the sentence can be held against.
#
# Every figure comes from up to two sources: **recorded**, drawn again from the arrays committed with this repository (profile `quick`), and **computed now**, at this notebook's profile. At `smoke` the latter show networks after four steps: proof that the code runs, no evidence for anything. The small print in each picture says what it was made from.

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
# Which trainings a figure needs is written down beside its caption. *They are rows of the paper's tables*, so after `11_hitts_tables` nothing is trained here except for the learning curves, which are evaluated along the way.

# %%
from mtpsl import papers

for figure in papers.figures().values():
    if figure.paper == "hitts":
        rows = [": ".join(run) for run in figure.runs.values()]
        rows += [f"{role} (of its own)" for role in figure.own]
        print(f"{figure.source:<16} {'; '.join(rows)}")

# %% [markdown]
# ## Figure 5: predictions
#
# **The paper:** "Ours shows both clear semantic boundaries and accurate geometry estimations", compared with XTC. Here the MTL baseline and MTAN stand beside it; every network had one label per image. Rows are spread evenly over the test images; nobody has picked them.
#
# > **Predict.** Where will a network that has seen few labels fail first: at boundaries, on small objects, or on whole walls?

# %%
fig5 = session.figure("hitts/fig5")
show_figures(fig5)

# %% [markdown]
# The pictures in numbers: share of labeled pixels with the right class, and the mean depth error, over the images shown. Three images decide nothing, which is why there are tables.

# %% tags=["nbval-ignore-output"]
import numpy

for source, made in fig5.items():
    a = made.arrays
    known = a["semseg/truth"] != 255
    for role in a["roles"]:
        right = (a[f"semseg/{role}"] == a["semseg/truth"])[known].mean()
        off = numpy.nanmean(numpy.abs(a[f"depth/{role}"] - a["depth/truth"]), dtype=float)
        print(f"{source:<13} {role:<9} {100 * right:5.1f} % right, depth off by {off:.2f} m")

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
show_figures(fig7)

# %% [markdown]
# The claim about affinities as a number: the mean absolute cosine between *different* tokens of the same image. Near 1, the tokens are one token; near 0, they are orthogonal.

# %% tags=["nbval-ignore-output"]
for source, made in fig7.items():
    for task in made.arrays["tasks"]:
        w, o = (float(made.arrays[f"{task}/{v}/off_diagonal"]) for v in ("without", "with"))
        print(f"{source:<13} {task:<8} without OE {w:.1f}, with OE {o:.1f}, lower: {o < w}")

# %% [markdown]
# Three things to mind before believing or disbelieving a number here.
#
# *A network that has hardly trained shows its initialization.* Without OE one MLP puts out all tokens of a task at once, and random outputs point in random directions: far from parallel. If they degenerate, they do so while training, so at smoke this figure cannot support the sentence, nor contradict it.
#
# *The recorded networks contradict the sentence*: their tokens are more alike with OE (0.43 to 0.44) than without (0.20 to 0.21), in each task. So they are on streets (Figure 13).
#
# *At most C vectors of length C can be orthogonal.* The paper's network has room for 30 tokens; the narrow networks of the small profiles have not, so their affinities stay above zero whatever the embeddings do.

# %%
from mtpsl.models import build_backbone
from mtpsl.papers.hitts.tables import hitts
from mtpsl.runs.profiles import PROFILES

tokens = {str(t): len(made.arrays[f"{t}/values"]) for t in made.arrays["tasks"]}
for name, scale in PROFILES.items():
    experiment = scale(hitts("one_label"))
    channels = build_backbone(experiment.backbone, experiment.width_factor).channels
    print(f"{name:<6} C = {channels:<3} tokens {tokens}")

# %% [markdown]
# The second claim, separate clusters, is about images: a token is computed anew for each image, and its points should stay closer to each other than to other tokens'. The share of variance in the plane says how much of the cloud a scatter plot can show at all.

# %% tags=["nbval-ignore-output"]
for source, made in fig7.items():
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
show_figures(fig8)

# %% tags=["nbval-ignore-output"]
for source, made in fig8.items():
    for task in made.arrays["tasks"]:
        before, after = (
            made.arrays[f"{task}/{stage}"].mean((1, 2), dtype=float)
            for stage in ("before", "after")
        )
        for image, b, a in zip(("median", "darkest"), before, after, strict=True):
            print(f"{source:<13} {task:<8} {image:<8} {b:.2f} -> {a:.2f} raised: {a > b}")

# %% [markdown]
# One reservation. G feeds G' and is never itself compared with a label: only G' has a loss. So "before" is no earlier prediction but an intermediate layer, and that it looks unsure does not show that it would have been wrong. The sentence to test is whether confident pixels are *right*; Table 5's rows with L_p are that test, because they train on exactly those pixels.

# %% [markdown]
# ## Figure 9: learning curves
#
# **The paper:** "the model trained with pseudo supervision converges faster on both train and test splits, and gains better performance."
#
# > **Predict.** Pseudo labels come from a network of the same size that saw the same labels. Where should they help more: on the training images or on the test images?

# %%
fig9 = session.figure("hitts/fig9")
show_figures(fig9)

# %% [markdown]
# The ends of the curves, and how many points each has. The curves on training images use the labels that the setting leaves: the network's own training labels, on clean images.

# %% tags=["nbval-ignore-output"]
for source, made in fig9.items():
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
# Faster? The same at a quarter of the epochs, on test images:

# %% tags=["nbval-ignore-output"]
for source, made in fig9.items():
    a = made.arrays
    at = {v: len(a[f"epochs/{v}"]) // 4 for v in ("without", "with")}
    early = {str(t): [float(a[f"{t}/test/{v}"][at[v]]) for v in at] for t in a["tasks"]}
    print(source, {t: f"{w:.2f} -> {p:.2f}" for t, (w, p) in early.items()})

# %% [markdown]
# *The recorded curves bear out half of a sentence.* With pseudo supervision segmentation starts faster. At the end it is worse in segmentation and normals and better in depth, on test images; on training images, whose labels the curve reads, it is worse in all three tasks, which answers the guess: if it helps anywhere, then not where the network already has the labels. One seed, and a training that is some sixty times shorter than the paper's; the verdict on L_p belongs to the tables.

# %% [markdown]
# ## Figure 11: where the tokens look
#
# (In rooms; the paper's lower half, streets, is in Figure 14, `12b_hitts_figures`.) A task's *global* token asks every position how much it belongs to the task (the map M^f, which also weighs the feature loss L_f). Its *fine-grained* tokens ask for one class, depth or direction each.
#
# **The paper:** maps of global tokens are "relatively rough and noisy" and "monotonous", those of fine-grained tokens "have finer granularity and less noise"; segmentation highlights distinguishing semantics, depth a range of depths, normals surfaces of one orientation.
#
# > **Predict.** Shown is the fine-grained token whose scores vary most over the image. For segmentation, which class would that be in a typical room?

# %%
fig11 = session.figure("hitts/fig11")
show_figures(fig11)

# %% [markdown]
# *Finer granularity is partly a matter of construction:* global scores live on a grid of 1/8 of the image, fine-grained ones on its pixels, as the shapes show. "Monotonous" can be measured: the variation over the image relative to the mean. A map that hardly varies selects nothing.

# %%
for source, made in fig11.items():
    a = made.arrays
    print(source, "grid of global scores", a["semseg/global"].shape[1:], end=", ")
    print("of fine-grained scores", a["semseg/fine"].shape[1:])

# %% tags=["nbval-ignore-output"]
for source, made in fig11.items():
    for task in made.arrays["tasks"]:
        maps = [made.arrays[f"{task}/{kind}"].astype(float) for kind in ("global", "fine")]
        varied = [float((m.std((1, 2)) / m.mean((1, 2))).mean()) for m in maps]
        print(
            f"{source:<13} {task:<8} variation: global {varied[0]:.3f}, fine {varied[1]:.3f}",
            end="; ",
        )
        print("tokens shown:", made.arrays[f"{task}/token_name"].tolist())

# %% [markdown]
# And does a token respond to *what it stands for*? For each shown token: how many pixels truly are of its class, depth or direction, its mean score there, and its mean score elsewhere.

# %% tags=["nbval-ignore-output"]
for source, made in fig11.items():
    for task in made.arrays["tasks"]:
        names, own = made.arrays[f"{task}/token_name"], made.arrays[f"{task}/own"]
        told = [
            f"{n} {100 * s:.0f} %: {i:.2f}, {o:.2f}"
            for n, (s, i, o) in zip(names, own, strict=True)
        ]
        print(f"{source:<13} {task:<8}", "; ".join(told))

# %% [markdown]
# *The recorded network bears the sentence out for segmentation*: the tokens of window and wall score their own class higher than the rest (2.0 against 1.3, 1.8 against 1.6, 2.0 against 1.3). For depth in two images of three, and by little (1.2 against 1.1); the third shows 0.6 m where nothing is that near. For normals not at all: the token that varies most has next to no pixel of its own.
#
# Why would a token vary most where nothing is like it? Because a score only *multiplies* a logit of G (Eq. 4). On a positive logit a high score says "here", on a negative one "here least of all". A detailed map need not mean what its token stands for.

# %% [markdown]
# Each map in the picture spans its own range, so a global map that varies by a percent *looks* as lively as a fine-grained one that varies by half. The numbers above are the guard against that.

# %% [markdown]
# ## The other figures
#
# Diagrams of the method, streets and pseudo labels are in `12b_hitts_figures`. What was written now, picture, arrays and words of each figure:

# %%
for figures in (fig5, fig7, fig8, fig9, fig11):
    path = figures["computed now"].path
    others = [path.with_suffix(suffix) for suffix in (".npz", ".json")]
    print(session.short_path(path), "with arrays and words:", all(p.exists() for p in others))

# %% [markdown]
# ## Exercises
#
# **1.** At `quick` a token has 16 numbers. If tokens were drawn at random, which mean absolute cosine would the affinity maps of Figure 7 show? Compare with the recorded ones.
#
# <details><summary>Solution</summary>
#
# About $\sqrt{2/(16\,\pi)} = 0.20$:
#
# ```python
# t = torch.nn.functional.normalize(torch.randn(1000, 16), dim=1)
# print((t @ t.T)[~torch.eye(1000, dtype=torch.bool)].abs().mean())
# ```
#
# So *without* orthogonal embeddings the recorded tokens, 0.20 to 0.21, are as alike as chance makes them, no more, and with them, 0.43 to 0.44, they have something in common. Note that the 20 and 30 tokens of normals and depth could not be orthogonal in 16 dimensions; at full width they have 64.
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
# **3.** The training curve of Figure 9 is measured on labeled pixels of training images, the test curve on all pixels of other images. The gap between them closes with pseudo supervision. Does that show that pseudo labels help against overfitting?
#
# <details><summary>Solution</summary>
#
# Not by itself: a gap also closes when the training curve gets *worse*, for instance because wrong pseudo labels compete with right labels. Only the test curve decides; the gap says by which of the two ways.
# </details>
