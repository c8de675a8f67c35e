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
# # The figures of HiTTs: diagrams, streets, pseudo labels
#
# **You will be able to** draw HiTTs from memory, say what is constant in it, and judge a pseudo label by the truth that it stands in for. **Takes** about 30 minutes to read. **Read before:** [`10_hitts_method`](10_hitts_method.ipynb); previous is [`12_hitts_figures`](12_hitts_figures.ipynb). **Next:** [`13_hitts_beyond`](13_hitts_beyond.ipynb). **Paper:** [HiTTs](https://arxiv.org/abs/2411.18823), Sections 3 and 4, Appendix.
#
# [`12_hitts_figures`](12_hitts_figures.ipynb) has the figures that argue with rooms. Here are the others: the diagrams of the method (Figures 1 to 4 and 12), drawn around a traced forward pass, the comparisons with earlier work (6, 15), tokens and score maps on streets (13, 14), and the pseudo labels themselves beside the truth that they stand in for (10, 16).
#
# As there, a picture is **recorded** (profile `quick`, drawn again from committed arrays) or **computed now** at this notebook's profile; the first word of its caption says which. Each diagram is shown once, the recorded one where there is one. At `smoke`, where a network has made four steps, all other pictures and the numbers below them are shown only if they are recorded.

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
# ## Figure 1: partial labels, two kinds of tokens
#
# **The paper:** each image has labels of some tasks only (a); *global* tokens work on features and discover supervision for features, *fine-grained* tokens work on predictions and discover labels (b).
#
# > **Predict.** Why does a method that discovers labels need features at all? (The paper's introduction gives two reasons.)

# %%
fig1 = session.figure("hitts/fig1")
show_figures(fig1, first=True)

# %% [markdown]
# The introduction's two reasons are these: features that all tasks share hold more than predictions do, and tying predictions of different tasks together takes heavy networks between them, as in XTC.
#
# ## Figure 2: the whole method
#
# **The paper** draws an encoder, global token learning, fine-grained token learning, and three losses: L_s from labels, L_f from discovered features, L_p from discovered labels.
#
# > **Predict.** An image has a label of depth only. Which of L_s, L_p, L_f act on its segmentation branch?

# %%
fig2 = session.figure("hitts/fig2")
show_figures(fig2, first=True)

# %% [markdown]
# Every map in the picture is one of the traced image, and every shape was read off a tensor. The image keeps one label: L_s acts on that task's prediction, L_p takes its place on the other two, and L_f acts on the features of all three. So L_p and L_f act on the segmentation branch of an image that has a label of depth only.
#
# ## Figure 3: global tokens
#
# **The paper:** tokens query the shared feature (here by a gate, one number per pixel and task, and so the gates are all that tasks exchange); affinities between tokens mix tasks (Eq. 1, 2); self-attention refines each task; the refined token tells which positions of its feature to believe, M^f.
#
# > **Predict.** A is 3x3, made by a softmax of products of C numbers that start at N(0, 1), divided by √C. After training, will its rows be nearly uniform or nearly one-hot? Will each task take most from itself?

# %%
fig3 = session.figure("hitts/fig3")
show_figures(fig3, first=True)

# %% [markdown]
# The matrix in the picture is the network's own, and the next cell prints it. A row close to one-hot takes nearly all from one task, which need not be its own.

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig3):
    for task, row in zip(made.arrays["tasks"], made.arrays["values/affinity"], strict=True):
        parts = zip(row, made.arrays["tasks"], strict=True)
        print(f"{source:<13} {task:<8} takes", ", ".join(f"{a:.2f} of {t}" for a, t in parts))

# %% [markdown]
# *The matrix does not depend on the image:* tokens enter Eq. 1 before they have seen anything, so A is a constant of the network. A freshly made network shows it, too:

# %%
import torch

from mtpsl.data import open_dataset
from mtpsl.papers import build_method

rooms = open_dataset("rooms13", "test", height=64, width=96, images=2)
torch.manual_seed(session.seed)
fresh = build_method("hitts", rooms.tasks, "segnet", 0.125).eval()
with torch.no_grad():
    trace = fresh.trace(rooms.load([0, 1]).images, decode=False)
print("A of two images is the same:", torch.equal(trace.affinity[0], trace.affinity[1]))
print("refined tokens are the same:", torch.equal(*trace.global_tokens["depth"]))

# %% [markdown]
# ## Figure 4: fine-grained tokens
#
# **The paper:** a task feature is projected to one channel per class, G; one token per class is derived from the global token and an orthogonal embedding (Eq. 3); tokens score every pixel, and the scores multiply G (Eq. 4).
#
# > **Predict.** Scores pass a softplus, so they are positive. What can a positive factor do to the argmax over classes, and what can it not do?

# %%
fig4 = session.figure("hitts/fig4")
show_figures(fig4, first=True)

# %% [markdown]
# It can change the order of positive logits and of negative ones, but not the sign of any: a class whose G is positive beats one whose G is negative, whatever the tokens say, until the convolution of Eq. 4 mixes classes.
#
# ## Figure 12: one scale and four
#
# **The paper:** on ResNet-18 each token is projected to each scale, asks there and mixes there; features are concatenated and fused by a convolution, tokens are summed [HiTTs, Eq. 14 to 18].
#
# > **Predict.** Where are the parameters: in the tokens, in the projections W, or in the query and value maps?

# %%
fig12 = session.figure("hitts/fig12")
show_figures(fig12, first=True)

# %% [markdown]
# By far most are in the boxes of query and inter-task learning, whose maps grow with the square of the channels; the projections W have less than a quarter of that, and the tokens next to nothing.
#
# ## Figure 6: streets, compared with earlier work
#
# **The paper** compares with MTAN and XTC from one label per image. Rows are spread evenly over the test images. The score in a map is that image's alone, and three images rank nothing: see Table 3 in [`11c_hitts_tables`](11c_hitts_tables.ipynb).

# %%
fig6 = session.figure("hitts/fig6")
show_figures(fig6, first=profile == "smoke")

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig6):
    a = made.arrays
    for task in a["tasks"]:
        scores = {NAMES[str(r)]: a[f"{task}/{r}/score"].round(3).tolist() for r in a["roles"]}
        print(f"{source:<13} {a[f'{task}/label']} {scores}")

# %% [markdown]
# ## Figure 15: rooms and streets
#
# The paper's appendix has more test images: rooms with the MTL baseline and XTC above, streets with MTAN as well below.

# %%
fig15 = session.figure("hitts/fig15")
show_figures(fig15, first=profile == "smoke")

# %% [markdown]
# ## Figure 13: tokens on streets
#
# **The paper:** on Cityscapes "the tokens are more orthogonal with each other" with orthogonal embeddings (OE), as in Figure 7. Streets have seven classes and a hundred bins of inverse depth.
#
# > **Predict.** A hundred tokens in 64 channels cannot all be orthogonal. Which mean |cosine| do random directions in 64 dimensions have?

# %%
fig13 = session.figure("hitts/fig13")
show_figures(fig13, first=profile == "smoke")

# %%
for width in (16, 64):  # of a token at quick, and in the paper
    dice = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(100, width, generator=dice), dim=1)
    cosines = (directions @ directions.T).abs()
    print(f"random directions in {width} dimensions: {(cosines.sum() - 100) / (100 * 99):.3f}")

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig13):
    for task in made.arrays["tasks"]:
        w, o = (float(made.arrays[f"{task}/{v}/off_diagonal"]) for v in ("without", "with"))
        print(f"{source:<13} {task:<8} without OE {w:.2f}, with OE {o:.2f}, lower: {o < w}")

# %% [markdown]
# Three numbers belong together here: the cosine with embeddings, the one without, and the one of random directions, at the width of the network that was measured. At `quick` a token has 16 numbers and not 64, so a hundred of them must share directions, and more is left to chance.

# %% [markdown]
# ## Figure 14: where the tokens look, in rooms and on streets
#
# **The paper:** on streets global tokens "always highlight the road", because it has most pixels; fine-grained tokens attend to "the vehicles and pedestrians with fewer pixel samples".

# %%
fig14 = session.figure("hitts/fig14")
show_figures(fig14, first=profile == "smoke")

# %% [markdown]
# The next cell says, as in [`12_hitts_figures`](12_hitts_figures.ipynb), how many pixels truly are what the shown token stands for, its mean score there, and its mean score elsewhere.

# %% tags=["nbval-ignore-output"]
for source, made in measured(fig14):
    for key in (key for key in made.arrays if key.endswith("/own")):
        names, own = made.arrays[key.replace("/own", "/token_name")], made.arrays[key]
        told = [
            f"{n} {100 * s:.0f} %: {i:.2f}, {o:.2f}"
            for n, (s, i, o) in zip(names, own, strict=True)
        ]
        print(f"{source:<13} {key.removesuffix('/own'):<15}", "; ".join(told))

# %% [markdown]
# The sentence about streets names two things to look for: is the global map of segmentation brightest on the road, and is the shown fine-grained token one of vehicles or people, with a larger score on its own pixels than elsewhere? A token may score its own class *lowest* and still serve the network: a score multiplies a logit (Eq. 4), so a high one on a negative logit rules a class out.

# %% [markdown]
# ## Figures 10 and 16: pseudo labels, and whether they are right
#
# **The paper** shows pseudo labels of training images and calls their quality good. On real data that is for the eye to judge: the withheld label is not there, or not looked at. Here it is, so each picture also has what the paper does not: *how many* of the withheld pixels a mask accepts, and *how good* these are, as its threshold rises. A vertical line is the threshold in use.
#
# > **Predict.** Draw two curves over the threshold before you look: the coverage of the mask, and the accuracy of what it covers. Must the second rise?

# %%
fig10 = session.figure("hitts/fig10")
show_figures(fig10, first=profile == "smoke")

# %%
fig16 = session.figure("hitts/fig16")
show_figures(fig16, first=profile == "smoke")

# %% [markdown]
# The next cell has the numbers behind the line: threshold, coverage, quality there, and the quality of everything, without a threshold. *If confidence means anything, the mask's labels are better than all labels together.*

# %% tags=["nbval-ignore-output"]
for name, figures in (("fig10", fig10), ("fig16", fig16)):
    for source, made in measured(figures):
        a = made.arrays
        for task in a["tasks"]:
            tau, covered, quality = (float(v) for v in a[f"{task}/used"])
            print(
                f"{name} {source:<13} {task:<8} tau {tau:.2f} covers {100 * covered:.0f} %",
                end="; ",
            )
            print(
                f"{a[f'{task}/label']} {quality:.3f}, of all pixels {float(a[f'{task}/quality'][0]):.3f}"
            )

# %% [markdown]
# [`13_hitts_beyond`](13_hitts_beyond.ipynb) goes on from here: calibration, classes, boundaries, and the gain over the share of labels.

# %% [markdown]
# ## Exercises
#
# **1.** Suppose a token of sky scores sky lowest, and yet the network finds the sky. With two classes, give logits and scores at one pixel for which the class with the *lower* score wins.
#
# <details><summary>Solution</summary>
#
# Scores are positive and multiply logits (Eq. 4). Let both logits be −1 at a pixel of the sky, the score of sky 0.5 and that of road 4: the products are −0.5 and −4, and sky wins. Where logits are negative, a high score rules a class out.
# </details>
#
# **2.** Raise the threshold, keep fewer labels, and expect better ones. Construct a teacher for which they get worse.
#
# <details><summary>Solution</summary>
#
# Half of the pixels with confidence 0.6, of which 80 % are right, and half with 0.9, of which 50 % are right. At τ = 0.5 the mask's labels are right in 65 % of all cases, at τ = 0.7 in 50 %. The curve of Figure 16 rises only as far as confidence *orders* pixels by quality; calibration is not needed for that, an order is.
# </details>
#
# **3.** At `quick` the mask accepts the surer half of the pixels, whatever their confidence; the paper accepts those above a fixed τ. Which of the two curves of Figure 16, coverage and quality, loses its meaning for a comparison of two networks, and what is gained?
#
# <details><summary>Solution</summary>
#
# Coverage: it is 50 % by construction, where a fixed τ would say how sure a network is ([`13_hitts_beyond`](13_hitts_beyond.ipynb) counts what the printed ones would accept). In return quality is compared at equal coverage, so a network cannot look better by being pickier.
# </details>

# %% [markdown]
# ## Take away
#
# 1. The affinity A is a constant of the trained network, whatever the image. What varies with the image are the gates, the refined tokens and the scores.
# 2. Scores are positive. They can reorder classes, but they can turn no vote for a class into one against it.
# 3. A pseudo label is worth what the mask accepts: draw coverage and quality over the threshold before you believe an example picture.
#
# **Next:** [`13_hitts_beyond`](13_hitts_beyond.ipynb), what the withheld truth says.
