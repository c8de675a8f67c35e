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
# # XTC's storm: what the first steps of a training leave behind
#
# **You will be able to** say why a small loss can pull many times as hard as a large one, how long Adam remembers it, and what to do about it in a training of your own. **Takes** about 20 minutes to read. **Read before:** [`20_xtc_method`](20_xtc_method.ipynb), where the consistency is built up equation by equation. **Previous:** [`22_xtc_figures`](22_xtc_figures.ipynb). **Next:** [`30_rdc_method`](30_rdc_method.ipynb), the next paper. **Paper:** [Li, Liu and Bilen, CVPR 2022](https://arxiv.org/abs/2111.14893), Section 3.2.
#
# XTC adds one term to the losses of the labels: the prediction of an unlabeled task and the label of another one, mapped into a joint space, should agree. Before anything is learned, that term pulls many times as hard as the labels, and without clipping a short training remembers that to its end. This page takes the first steps apart. Everything on it can be measured in your own code with the same four functions of `mtpsl.papers.xtc.storm`.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show_figures, show_results

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## 1. The whole story in one picture
#
# Above, five trainings of one network on the same data: labels alone and XTC, each with its gradient clipped to length 1 and without, and XTC whose consistency sets in slowly. Every training of this package logs these three numbers at each epoch, for the backbone that all tasks share. Below, on the left, a network that has learned nothing; on the right, what the trained mapping networks still tell apart.

# %% tags=["nbval-ignore-output"]
figures = session.figure("xtc/storm")
show_figures(figures, first=True)

# %% [markdown]
# Read the upper row from left to right, with three questions. For how long is the gradient of XTC longer than that of the labels alone? For how long does Adam remember that, after it is over? And how far do weights go in a step meanwhile? The dotted line is where a training of the released code ends. (At `smoke` a curve has two points and says nothing.)

# %% [markdown]
# ## 2. How hard each term pulls before anything is learned
#
# > **Predict.** A cross-entropy over 13 classes starts near ln 13 = 2.6. A cosine distance between two embeddings is never above 1, because both end in a ReLU. Which of the two terms has the longer gradient at the backbone?

# %% tags=["nbval-ignore-output"]
arrays = next(iter(figures.values())).arrays
lengths = dict(zip(arrays["terms"], arrays["term_lengths"], strict=True))
for name, length in lengths.items():
    print(f"{name:<12} {length:7.1f}  {length / lengths['labels']:5.1f} times the labels'")

# %% [markdown]
# Weights are moved by the length of a gradient, not by the size of a loss. Here are the lengths pair by pair (of the source the prediction is mapped, of the target the label):

# %% tags=["nbval-ignore-output"]
for pair, (consistency, regularizer) in zip(arrays["pairs"], arrays["pair_lengths"], strict=True):
    print(f"{pair:<18} L_ct {consistency:7.1f}   R {regularizer:7.1f}")

# %%
assert lengths["cross_task"] > lengths["labels"]
print("the consistency pulls harder than all labels together")

# %% [markdown]
# ## 3. Where the length comes from
#
# The gradient of the consistency starts at the embedding, where it is short: a cosine over a few positions. It then goes back through the mapping network, stage by stage, and through what turns a prediction into the mapping's input.
#
# > **Predict.** What makes it long: the division by the largest depth, the Gumbel noise, or the number of layers in the mapping network?

# %% tags=["nbval-ignore-output"]
places = dict(zip(arrays["places"], arrays["place_lengths"], strict=True))
before = None
for name, length in places.items():
    print(f"{name:<16} {length:.4f}" + (f"  x {length / before:.2f}" if before else ""))
    before = length

# %%
assert places["mapping's input"] > places["before stage 2"] > places["embedding"]
print("it grows at every stage on its way back")

# %% [markdown]
# It is the number of layers: every stage lengthens the gradient, and the factors multiply. The full size has five stages and the scaled profiles have three, where the storm should therefore be milder. A likely reason is batch normalization, which lengthens gradients from layer to layer while weights are random ([Yang et al., ICLR 2019](https://arxiv.org/abs/1902.08129)); that is an inference, which nothing here tests. What turns a prediction into the mapping's input works the other way and shortens the gradient, as the last line shows.

# %% [markdown]
# ## 4. Is it this package's storm, or XTC's? Beside the released code
#
# A storm that only this package had would be a bug and not a lesson. The [released code](https://github.com/VICO-UoE/MTPSL) (commit `e9d8859`) was therefore run beside this package once, from the same weights, on the same four rooms and with the same Gumbel noise; BatchNorm of the mapping averages over single images, and holes of normals are 0.5, as they are there. What both computed is recorded, and a test computes this package's side again.
#
# > **Predict.** The two make the same first step up to rounding. Are their losses still the same at the 20th step?

# %% tags=["nbval-ignore-output"]
import json

record = json.loads((session.recorded / "xtc/parity.json").read_text())
for name, term in record["start"]["float64"].items():
    pulled = term["gradient"]
    print(
        f"{name:<12} gradient: released {pulled['released']:8.3f}, here {pulled['ours']:8.3f}, "
        f"cosine {term['cosine']:.9f}"
    )

# %%
steps, same = record["steps"], record["same_weights"]
rows = (steps["float32"]["difference"], steps["float64"]["difference"], same["difference"])
print("largest relative difference of a loss\nstep   float32   float64   float64, same weights")
for step, (single, double, alike) in enumerate(zip(*rows, strict=True)):
    print(f"{step:4}   {single:.1e}   {double:.1e}   {alike:.1e}")
assert max(same["difference"]) < 1e-8 < max(steps["float64"]["difference"])

# %% [markdown]
# They are the same function: given this package's weights before any of the 20 steps, the released code computes the same losses (the last column). Yet left to themselves the two drift apart by some percent, in float32 from the second step on. In float64 one sees how: a difference of rounding grows many times over in each step, and after four it has reached a percent. Do not compare two trainings of XTC step by step; compare them at the same weights.

# %% [markdown]
# ## 5. What Adam remembers
#
# Adam divides each step by the root of a running mean of squared gradients:
#
# $$v_k = \beta_2 v_{k-1} + (1 - \beta_2)\, g_k^2, \qquad \Delta_k = -\eta\, \frac{\hat m_k}{\sqrt{\hat v_k} + \epsilon}, \qquad \beta_2 = 0.999.$$
#
# > **Predict.** A gradient of length 700 at step 1, of length 7 ever after. After how many steps is what Adam remembers down to twice the present length?

# %%
import math

from mtpsl.papers.xtc.storm import RELEASED_STEPS
from mtpsl.papers.xtc.tables import TABLE2
from mtpsl.runs.profiles import quick

first, later, beta = 700.0, 7.0, 0.999
step, square = 1, (1 - beta) * first**2
while math.sqrt(square / (1 - beta**step)) > 2 * later:
    step, square = step + 1, beta * square + (1 - beta) * later**2
scaled = quick(TABLE2.row("one/Ours").experiments[0])
short = scaled.epochs * scaled.train_images // scaled.batch_size
print(f"after {step:,} steps; quick has {short:,}, the released code {RELEASED_STEPS:,}")

# %% [markdown]
# One long gradient is enough for more than a thousand short steps, and a storm is more than one gradient. A training of the released code is long enough to forget it; one at `quick` would not be, if nothing clipped the gradient. The trainings of the picture, at their first and at their last epoch:

# %% tags=["nbval-ignore-output"]
for role in map(str, arrays["roles"]):
    for name in ("gradient", "remembered", "moved"):
        values = arrays[f"{role}/{name}"]
        print(f"{role.replace('_', ', '):<18} {name:<11} {values[0]:9.3f} -> {values[-1]:8.3f}")

# %% [markdown]
# ## 6. What becomes of the mapping
#
# A long gradient acts on the mapping network as well, and the shortest way to make two embeddings agree is to make all of them the same. Are they the same over the positions of one image, or over images?

# %% tags=["nbval-ignore-output"]
for role in map(str, arrays["roles"]):
    if f"{role}/spread" in arrays:
        images, positions = arrays[f"{role}/spread"]
        same, other = arrays[f"{role}/distances"]
        print(
            f"{role.replace('_', ', '):<18} variance over images {images:.4f}, over positions {positions:.4f}; "
            f"distance to the same image's label {same:.4f}, to another's {other:.4f}"
        )

# %% [markdown]
# Where a prediction is as near to another image's label as to its own, the mapping carries no information about the image, and the consistency asks for nothing any more.

# %% [markdown]
# ## 7. What it costs, and what clipping changes
#
# The table takes XTC apart: the second view, the consistency, the ramp and the clipping, one at a time. All scaled profiles clip every row to length 1. *That was adopted after this finding*; it holds for every method and for labels alone, and the unclipped rows stay here so that you can see what it changes.

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.companion.tables import CONSISTENCY

parts, now_parts = session.results(CONSISTENCY)
show_results(CONSISTENCY, parts, now_parts)

# %%
session.write(CONSISTENCY, parts, now_parts)

# %% [markdown]
# How to read it: "Clipping helps labels alone" in the ledger says what the setting changes where no storm is, "Clipping helps XTC" what it changes where one is, and only the two sentences "Consistency helps ..." are about the idea. Where runs are recorded, that ledger says what they decide; *n* says how many seeds there are, and a sentence with fewer than two is not tested.

# %% [markdown]
# ## Take away
#
# 1. Look at gradients, and not only at losses, when you add a term; `storm.gradient_lengths` takes a method and a few batches.
# 2. Adam's memory is more than a thousand steps long. Clip, or let a new term set in slowly, before you judge a method by a short training.
# 3. A consistency that has become zero need not be satisfied: compare distances between images, not only within them.
