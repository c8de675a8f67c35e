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
# # The tables of HiTTs: Cityscapes and PASCAL-Context
#
# **You will be able to** say what of HiTTs changes with the data set, why two tasks can hold each other back, and what tokens on four scales cost. **Takes** about 25 minutes to read. **Read before:** [`11_hitts_tables`](11_hitts_tables.ipynb), which says how to read a table; previous is [`11b_hitts_tables`](11b_hitts_tables.ipynb). **Next:** [`12_hitts_figures`](12_hitts_figures.ipynb). **Paper:** [HiTTs](https://arxiv.org/abs/2411.18823), Section 4 and Appendix: streets with two tasks (Table 3), and PASCAL-Context with five (Tables 4 and 9), where the backbone has four scales and the tokens follow it.
#
# 1. how the method changes with the data
# 2. Table 3: two tasks that hold each other back
# 3. Table 4: five tasks
# 4. Table 9: tokens on one scale and on four
# 5. what was decided
# 6. exercises, with solutions

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show_results

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## 1. How the method changes with the data
#
# HiTTs treats every task as classification, so each data set needs classes for what is a number or a direction: 30 bins of depth and 20 K-means centers of normals on NYUD-v2, *100 bins* for the streets, *40 directions spread evenly* for PASCAL-Context. And thresholds are chosen by hand, per data set and setting [HiTTs, App. B]:

# %%
from mtpsl.papers.hitts.tables import ALL_THRESHOLDS, DATA_ARGS, TABLES

for dataset, settings in ALL_THRESHOLDS.items():
    print(f"{dataset:<9} {DATA_ARGS.get(dataset, 'defaults')}")
    for setting, taus in settings.items():
        print(f"          {setting:<13} {taus}")

# %% [markdown]
# *Saliency and edges are two classes each.* Their prediction is the difference of two logits, their loss the protocol's balanced one: an edge covers a few pixels in a hundred, and plain cross-entropy would learn to answer "no".
#
# > **Predict.** The paper asks for "unit vectors uniformly from the space". Normals that a camera sees point towards it. How many of 40 uniform centers are never the nearest to a normal?

# %%
import torch

from mtpsl.data import open_dataset
from mtpsl.papers.hitts.quantize import build_quantizer

people = open_dataset("people21", "train", height=64, width=64, images=40)
batch = people.load(range(len(people)))

# %%
quantizer = build_quantizer(
    people.tasks["normals"], normal_centers=40, normal_centers_from="uniform"
)
ids = quantizer.encode(batch.targets["normals"])[batch.mask("normals")]
used = torch.bincount(ids, minlength=40)
most = used.sort().values[-10:].sum() / used.sum()
print(
    f"{(used == 0).sum()} of 40 centers are nobody's; the ten most used have {most:.0%} of pixels"
)

# %% [markdown]
# It is fewer than half, because normals are seen up to the rim of the ball, where a center a little behind it can be the nearest. K-means would put its centers where normals are. The paper gives no reason for the change; a likely one is that PASCAL-Context's normals are not measured but predicted by another network.
#
# ## 2. Table 3: two tasks that hold each other back
#
# **What it asks.** Each image keeps one label of two, as in [`21b_xtc_tables`](21b_xtc_tables.ipynb). Does sharing a network pay for both tasks? In print every earlier multi-task row *loses depth* against the single-task network, .0146 to .0159 against .0142; HiTTs, with .0135, is the only one to gain on both tasks.
#
# > **Predict.** STL learns from half the images, MTL from all. Why can MTL still be worse at depth?

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import summary

TABLE3, TABLE4, TABLE9 = (TABLES[name] for name in ("table3", "table4", "table9"))

table3, now3 = session.results(TABLE3)
show_results(TABLE3, table3, now3)

# %%
session.write(TABLE3, table3, now3)

# %% [markdown]
# *What holds.* In print HiTTs gains on both tasks, and no other row does. *What fails.* Nothing in print. *What cannot be seen.* Whether 0.4 mIoU over XTC is more than chance, since there is one run per row.
#
# There is a possible reason for the printed loss: half of the images have no depth label, and what they teach the shared encoder is to answer alike over a whole road, where depth must not. The printed Δ_MTL of the MTL baseline is −4.9 %, almost all of it from the two columns of depth:

# %%
from mtpsl.metrics import delta_mtl
from mtpsl.papers.hitts import printed

single = printed.TABLE3.metrics("one-label/STL")
for row in ("MTL baseline", "MTAN", "XTC", "Ours"):
    cells = printed.TABLE3.metrics(f"one-label/{row}")
    gains = {k: 100 * delta_mtl({k: cells[k]}, {k: single[k]}) for k in printed.CITYSCAPES[:4]}
    print(
        f"{TABLE3.in_words(row):<21}",
        ", ".join(f"{key} {gain:+.1f} %" for key, gain in gains.items()),
    )

# %% [markdown]
# **Mind the column.** Depth here is inverse depth, and on a street much of it follows from the row of the image alone. How far that gets on the stand-in says the *position lookup*, computed here for this notebook's profile; a network's depth is worth reading only if its error is below that.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.floors import score_guesses
from mtpsl.report.render import headline_cells
from mtpsl.runs.data import bind_data, open_split, test_batches
from mtpsl.runs.profiles import get_profile

(streets,) = TABLE3.row("one-label/Ours").experiments
streets = bind_data(get_profile(session.profile)(streets), session.data_root)
train = open_split(streets, "train", session)
for name, metrics in score_guesses(train, test_batches(streets, session)).items():
    print(f"{name:<16}", headline_cells(metrics, train.tasks))

# %% [markdown]
# ## 3. Table 4: five tasks
#
# **What it asks.** Does discovery scale to five tasks, one label per image? For every true label there are now four withheld ones to discover.
#
# > **Predict.** With one label of five, a single-task network sees a fifth of the images, the shared one all of them. On how many of the five tasks is the MTL baseline nevertheless behind STL in print?

# %% tags=["nbval-ignore-output"]
table4, now4 = session.results(TABLE4)
show_results(TABLE4, table4, now4)

# %%
session.write(TABLE4, table4, now4)

# %% [markdown]
# On two with one label, human parts and saliency, and on three with random labels: segmentation, normals and saliency.
#
# *What holds.* In print HiTTs is ahead of every earlier multi-task row in Δ_MTL, and of XTC on all five tasks, in both settings. *What fails.* Nothing in print. *What cannot be seen.* How much of a difference is one of training, because some of the rows are quotations.
#
# "MTL ssl" and XTC come from [XTC, Table 3], in both settings, and so does the MTL baseline of the lower block; the one of the upper block was trained again. (CL and DL are the contrastive and the discriminator loss of that paper.)

# %%
from mtpsl.papers.xtc import printed as xtc_printed

for group, block in (("one-label", "one"), ("random-labels", "random")):
    rows = {"MTL baseline": "SL", "MTL ssl": "SSL", "XTC": "OURS"}
    for here, there in ((here, getattr(xtc_printed, name)) for here, name in rows.items()):
        ours = tuple(printed.TABLE4.metrics(f"{group}/{here}").values())
        same = ours == xtc_printed.TABLE3.rows[f"{block}/{there}"][: len(ours)]
        print(f"{group:<14} {here:<13} quoted: {same}")

# %% [markdown]
# Human parts are the odd task out: only images with people can carry their label ([`01_label_settings`](01_label_settings.ipynb), Section 4), so with random labels they keep fewer than the other tasks.

# %%
for group in dict.fromkeys(row.group for row in TABLE4.rows):
    entry = next(e for e in now4.entries if e.row == f"{group.lower()}/Ours")
    print(f"{group:<14}", session.store.load(entry.keys[0]).labels["counts"])

# %% [markdown]
# ## 4. Table 9: tokens on one scale and on four
#
# **What it asks.** ResNet-18 hands out four maps, from 1/4 to 1/8 of the image with 64 to 512 channels. With a single scale the tokens ask the last map only. With several, each token is projected to each scale [HiTTs, Eq. 14], asks and mixes there, and features and tokens are fused afterwards (Eq. 17, 18).
#
# > **Predict.** With one label per image, the printed single-scale row *loses* against MTL on human parts and on edges. What have these two tasks in common?

# %% tags=["nbval-ignore-output"]
table9, now9 = session.results(TABLE9)
show_results(TABLE9, table9, now9)

# %%
session.write(TABLE9, table9, now9)

# %% [markdown]
# Both are about thin things, limbs and contours, for which a map at 1/8 has no room. (But normals lose as well, 16.2 against 16.0 degrees, and are not thin.)
#
# *What holds.* In print several scales bring parts and edges back, with random labels as well, and Δ_MTL rises by more than two points. *What fails.* Nothing in print. *What cannot be seen.* Whether the tokens or the finer features do it; exercise 4 asks that.
#
# The next cell counts what scales cost, on shapes alone at the paper's size:

# %%
from mtpsl.models.cost import cost, format_costs
from mtpsl.runs.network import build, without_pretrained

rows = {row.label: row for row in TABLE9.rows if row.group == "One-Label" and row.label != "STL"}
networks = {label: without_pretrained(row.experiments[0]) for label, row in rows.items()}
costs = {label: cost(build(e), e.height, e.width) for label, e in networks.items()}
print(format_costs(costs))

# %% [markdown]
# On SegNet the tokens are almost free (Table 8: one percent of the parameters), because they live in 64 channels. Here they live in 512, and every C x C matrix is 64 times as large. *The comparison with the MTL baseline is therefore not one of equal size on this backbone*; the paper prints no cost for it.
#
# Rows of Table 9 are first stages. "HiTTs, stages 1 and 2" of Table 4 starts from "HiTTs (MS)":

# %%
(ours,) = TABLE4.row("one-label/Ours").experiments
(several,) = TABLE9.row("one-label/HiTTs (MS)").experiments
print("the teacher of Table 4 is HiTTs (MS):", ours.teacher == several)

# %% [markdown]
# ## 5. What was decided

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import against, judge, verdict_text

for table, known in ((TABLE3, table3), (TABLE4, table4), (TABLE9, table9)):
    agree = sum(not against(claim, table) for claim in table.claims)
    print(f"{table.source}: print agrees with {agree} of {len(table.claims)} sentences")
    print(f"  recorded: {summary(table, known)}")
    for claim, verdict in zip(table.claims, judge(table, known), strict=True):
        if verdict.state in ("holds", "contradicted"):
            print(f"  {table.in_words(claim.text)}: {verdict_text(claim, verdict)}")

# %% [markdown]
# ## 6. Exercises
#
# **1.** Eq. 18 is printed as a sum over j = 0 to 5. How do we know that four scales are meant?
#
# <details><summary>Solution</summary>
#
# Eq. 14 defines tokens for j = 0, 1, 2, 3, Eq. 17 concatenates the features (0) to (3), and a ResNet has four stages. A sum to 5 would need two scales that nothing produces.
# </details>
#
# **2.** Behind its heads a ResNet's F'_i has 256 channels at 1/8 of the image; SegNet's has 64 at full resolution, of which a pseudo *feature* is the mean over each cell of a grid of 1/8. What is the difference on disk at 512x512?
#
# <details><summary>Solution</summary>
#
# The grid is 64x64 either way; the channels are four times as many. 5 tasks x 256 x 64 x 64 numbers of 16 bits are 10 MB per image, fifty gigabytes for 4998 images. A coarser grid (`reduction=16` or `32`, the same for teacher and student) divides that by 4 or 16.
# </details>
#
# **3.** With the printed thresholds, the same for both settings: which task of PASCAL-Context can have the largest share of wrong pseudo labels although its threshold is the highest?
#
# <details><summary>Solution</summary>
#
# Edges. At 0.9 nearly every accepted pixel says "no edge", and is right, so the *accuracy* of the mask is high while nearly all accepted "yes" could be wrong. Accuracy over pixels is the wrong question for a rare class; precision of "yes" is the right one.
# </details>
#
# **4.** Train "HiTTs (MS)" without inter-task learning and compare it with "HiTTs (SS)". What does the comparison say that Table 9 does not?
#
# <details><summary>Solution</summary>
#
# ```python
# from mtpsl.runs.run import run
# alone = several.replace(method_args=dict(several.method_args) | {"inter_task": False})
# ```
#
# and run it at the session's profile. Several scales bring finer features *and* affinities at four scales. Without the affinities what is left of the gain is the features', which a plain feature pyramid would bring to the MTL baseline as well.
# </details>

# %% [markdown]
# ## Take away
#
# 1. "The same method" differs by data set: bins, centers, thresholds and scales are chosen anew, and each choice is part of a comparison.
# 2. Sharing a network is no free gain. Look at every task against its single-task network before you look at the mean.
# 3. On a ResNet, tokens on four scales are not small. A gain over a smaller baseline has a price, which parameters and FLOPs tell.
#
# **Next:** [`12_hitts_figures`](12_hitts_figures.ipynb), what the tokens do.
