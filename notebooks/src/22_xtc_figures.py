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
# # The figures of XTC
#
# **You will be able to** say what each figure of XTC shows, hold its sentence against a number from the plotted arrays, and tell a mapping that has learned from one that has collapsed. **Takes** about 25 minutes to read. **Read before:** [`20_xtc_method`](20_xtc_method.ipynb). **Previous:** [`21b_xtc_tables`](21b_xtc_tables.ipynb). **Next:** [`23_xtc_storm`](23_xtc_storm.ipynb). **Paper:** Li, Liu, Bilen, [*Learning Multiple Dense Prediction Tasks from Partially Annotated Data*](https://arxiv.org/abs/2111.14893), CVPR 2022, Figures 1 to 4.
#
# Figures 1 and 2 are diagrams, which are drawn by code from a network that is really there. Figure 3 shows what the mapping network makes of a prediction and of a label, Figure 4 predictions of three methods with a score in each map. A last figure, which the paper does not have, asks whether mappings collapse. For each figure you find what the paper says, a guess, the picture from our data, and a number from the plotted arrays that the sentence can be held against.
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
# The trainings behind a figure are rows of Tables 2 and 6, so after [`21_xtc_tables`](21_xtc_tables.ipynb) little is trained here. (The last line below belongs to [`23_xtc_storm`](23_xtc_storm.ipynb).)

# %%
from mtpsl import papers

for figure in papers.figures().values():
    if figure.paper == "xtc":
        print(f"{figure.source:<15} {'; '.join(': '.join(run) for run in figure.runs.values())}")

# %% [markdown]
# ## Figure 1: partial labels, and what they leave to learn from
#
# **The paper:** (a) with all labels each head learns from each image; (b) with partial labels it learns from few; (c) "exploits label correlations between each task pair by mapping them into a *joint pairwise task-space* and penalizing inconsistencies between the provided ground-truth labels and predictions".
#
# > **Predict.** In (c) one branch enters with a prediction, the other with a label. Through which of the two does a gradient reach the network that predicts?

# %%
fig1 = session.figure("xtc/fig1")
show_figures(fig1, first=True)

# %% [markdown]
# The labels that stay are those of the one-label rule, not drawn for the picture; each image keeps one.

# %%
for source, made in fig1.items():
    labeled = made.arrays["labeled"]  # (images, tasks)
    kept = [str(made.arrays["tasks"][row.argmax()]) for row in labeled]
    print(f"{source:<13} images {made.arrays['index'].tolist()} keep {kept}", end="; ")
    print("one each:", bool((labeled.sum(1) == 1).all()))

# %% [markdown]
# ## Figure 2: the method, with the shapes that pass through it
#
# **The paper:** a shared extractor f_φ and a decoder h_ψ for each task (a); prediction ŷ^s and label y^t meet in a joint space (b); one mapping network for all pairs, "whose output is conditioned on the task-pair" (c). The formulas write the embedding as a vector in R^D.
#
# > **Predict.** The scaled profiles halve an image three times. Is the embedding of an image of 64x64 pixels a vector? What is its shape?

# %%
fig2 = session.figure("xtc/fig2")
show_figures(fig2, first=True)

# %% [markdown]
# No shape in that picture is typed. Hooks read each off a forward pass, and parameters are counted on the modules:

# %%
for source, made in fig2.items():
    shapes = {k[6:]: v.tolist() for k, v in made.arrays.items() if k.startswith("shape/")}
    last = sum(k.startswith("stage/") for k in shapes) - 1
    some = ("image", "bottleneck", "stage/0", f"stage/{last}", f"gamma/{last}")
    print(source, {k: shapes[k] for k in some})
    counts = {k[11:]: int(v) for k, v in made.arrays.items() if k.startswith("parameters/")}
    print("   parameters", counts)

# %% [markdown]
# *The embedding is a map*, of the shape of the image's own bottleneck, which the regularizer compares it with; the cosine is taken position by position. That is the released code; `distance="vector"` computes what the paper writes.
#
# At the paper's size the picture has other numbers, and images are halved five times. They cost no training, because shapes alone are traced:

# %%
import torch

from mtpsl.papers.xtc.diagrams import trace_shapes
from mtpsl.papers.xtc.tables import TABLE2
from mtpsl.runs.data import open_split
from mtpsl.runs.network import build

paper = TABLE2.row("one/Ours").experiments[0]
print(paper.backbone, f"{paper.height}x{paper.width}", f"width x {paper.width_factor:g}")

# %%
method = build(paper).eval()
one = open_split(paper.replace(test_images=1), "test").load([0])
s, t = (method.tasks[name] for name in ("semseg", "normals"))
with torch.inference_mode():
    full = trace_shapes(method, one, s, t)
print("bottleneck", full["shape/bottleneck"].tolist(), "embedding", full["shape/stage/4"].tolist())
print(
    f"mapping {int(full['parameters/mapping']):,}, of these conditioning {int(full['parameters/film']):,}"
)

# %% [markdown]
# The conditioning is a scale and a shift per channel for each of six pairs, a third of a percent of the mapping network. That is the paper's point about cost: another pair costs next to nothing.

# %% [markdown]
# ## Figure 3: what the mapping makes of a prediction and a label
#
# **The paper**, about the pair segmentation and normals: "the functions map both task labels to a joint pairwise space where the common information is around object boundaries".
#
# > **Predict.** Where would you look for the common information of a class map and a normal map: in the interior of surfaces, or at their borders? Would a network have to be *trained* for its maps to respond at borders?

# %%
fig3 = session.figure("xtc/fig3")
show_figures(fig3, first=True)

# %% [markdown]
# The sentence can be turned into a number. Take the feature map of the first stage, and call a cell a *border* if the true classes inside it are more than one. By how much do features change from a cell to its neighbors, at borders and elsewhere? A ratio above 1 says "around boundaries".

# %% tags=["nbval-ignore-output"]
import numpy

for source, made in fig3.items():
    a = made.arrays
    ids = numpy.where(a["semseg/truth"] == 255, -1, a["semseg/truth"].astype(int))
    for task, role in ((task, role) for task in a["pair"] for role in ("ours", "truth")):
        maps = a[f"first/{task}/{role}"].astype(float)  # (images, h, w)
        h, w = maps.shape[1:]
        cells = ids.reshape(len(ids), h, ids.shape[1] // h, w, ids.shape[2] // w)
        edge = cells.max((2, 4)) != cells.min((2, 4))  # (images, h, w): more than one class
        change = numpy.hypot(*numpy.gradient(maps, axis=(1, 2)))
        what = "label" if role == "truth" else "prediction"
        print(f"{source:<13} {task:<8} {what:<10} {change[edge].mean() / change[~edge].mean():.2f}")

# %% [markdown]
# Two reservations before this counts as evidence.
#
# *Any convolution responds at borders.* A network with random weights turns a class map, constant inside a region, into a map that is constant inside and changes at its border. The ratio for labels is therefore high before any training, and only a ratio that *training* raises says something about the method. At smoke the network is almost untrained.
#
# *One component of many is shown.* All four maps of a layer share one color scale, that of their first principal component; its share of the variance is the guard:

# %% tags=["nbval-ignore-output"]
for source, made in fig3.items():
    shares = {layer: made.arrays[f"{layer}/explained"] for layer in ("first", "second_to_last")}
    print(source, {layer: f"{float(share.sum()):.2f}" for layer, share in shares.items()})

# %% [markdown]
# The paper shows the layer before the last. At full size that is a map at a sixteenth of the image's size; in the scaled profiles, which have three stages, it is one at a quarter. Boundaries are easier to see in the first stage, at half the size, which stands above it.

# %% [markdown]
# ## Figure 4: predictions
#
# **The paper:** XTC "produces more accurate predictions by leveraging cross-task consistency", beside SL and SSL, with the score of each map.
#
# > **Predict.** A figure shows two images of 654. If a method is ahead on average by a little, must it lead on both of them?

# %%
fig4 = session.figure("xtc/fig4")
show_figures(fig4, first=True)

# %% [markdown]
# Images come from all over the test split, at equal distances; nobody picked them. The scores in the picture, and who leads:

# %% tags=["nbval-ignore-output"]
for source, made in fig4.items():
    a = made.arrays
    for task in a["tasks"]:
        named = {"sl": "SL", "ssl": "SSL", "ours": "XTC"}
        scores = {named[str(role)]: a[f"{task}/{role}/score"] for role in a["roles"]}
        best = max if a[f"{task}/higher_is_better"] else min
        leads = [best(scores, key=lambda role: scores[role][i]) for i in range(len(a["images"]))]
        rounded = {role: [f"{v:.2f}" for v in values] for role, values in scores.items()}
        print(f"{source:<13} {a[f'{task}/label']} {rounded} best: {leads}")

# %% [markdown]
# A score of a single image is not a number of the table divided by 654. The mIoU of one image averages the classes of *that* image; the table's averages classes over the whole split, where rare ones get their weight. Nor must the method that leads in the table lead on each image shown. Look at more images before believing a picture, or look at the table.

# %% [markdown]
# ## Do mappings collapse?
#
# A mapping that sends everything to one point is perfectly consistent. The regularizer R of Eq. 4 is there to forbid it, by keeping embeddings close to the image's own feature. **The paper** finds that without it "the pairwise mappings can still be regulated with a lower learning rate to avoid learning trivial mappings".
#
# > **Predict.** Without R, how will the consistency term move over the epochs: rise, fall, or stay? And how far apart will the embeddings of *two different images* be at the end?

# %%
moves = session.figure("xtc/consistency")
show_figures(moves, first=True)

# %% [markdown]
# A low consistency alone decides nothing: it is what learning and collapsing have in common. What tells them apart is the distance between prediction and label of *different* images. If that is zero as well, the space has forgotten which image it is looking at.

# %% tags=["nbval-ignore-output"]
for source, made in moves.items():
    for role in ("with", "without"):
        a = {k: made.arrays[f"{role}/{k}"] for k in ("consistency", "same", "other", "feature")}
        first, last = a["consistency"][[0, -1]]
        print(f"{source:<13} {role:<7} R: consistency {first:.3f} -> {last:.1e}", end="; ")
        print(f"same image {a['same'].mean():.1e}, other {a['other'].mean():.1e}", end=", ")
        print(f"to the feature {a['feature'].mean():.2f}", end=", ")
        print(f"features of two images {made.arrays[f'{role}/two_features']:.2f}")

# %% [markdown]
# Read `other` beside the features of two images: the regularizer pulls embeddings to the features, so it cannot separate images whose features are alike. A ratio of `same` to `other` near 1 means that a mapped prediction says no more about its image's label than about any other's:

# %% tags=["nbval-ignore-output"]
for source, made in moves.items():
    for role in ("with", "without"):
        ratios = made.arrays[f"{role}/same"] / made.arrays[f"{role}/other"]
        pairs = (
            f"{s} -> {t} {r:.2f}" for (s, t), r in zip(made.arrays["pairs"], ratios, strict=True)
        )
        print(f"{source:<13} {role:<7} R:", ", ".join(pairs))

# %% [markdown]
# BatchNorm plays a part that the paper does not mention. It normalizes each channel over the maps of a pass, so a mapping cannot make *all* of them constant at once unless its scales undo the normalization. That should make a collapse harder, with and without R; nothing here tests it. [`20_xtc_method`](20_xtc_method.ipynb), Section 9, has more of such fine print. Table 6 asks what a training without R costs in accuracy.
#
# **How to read it.** Three numbers per training decide, and they are the same three for a network of your own: how near a prediction is to its own image's label, how near to another image's, and how far apart the features of two images are. Take the training with R and the one without, and ask of each whether its space still tells images apart, and whether a prediction is nearer to its own label. There is one seed of each behind the picture, so it can show what a collapse looks like, but not how often it happens. [`23_xtc_storm`](23_xtc_storm.ipynb) goes into what the first steps of a training do to the mapping.

# %% [markdown]
# ## What was written
#
# These are the pictures; the arrays of each lie beside it as `.npz`, its words as `.json`.

# %%
for figures in (fig1, fig2, fig3, fig4, moves):
    print(session.short_path(figures["computed now"].path))

# %% [markdown]
# ## Take away
#
# 1. An embedding is a map of the bottleneck's size, and XTC compares it position by position. How many positions there are depends on the profile.
# 2. A response at borders needs no training. Only a ratio that training raises is evidence for what a mapping has learned.
# 3. A low consistency is what learning and collapsing have in common; distances between *different* images tell them apart.
