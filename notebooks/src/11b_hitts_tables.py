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
# # The tables of HiTTs: all labels, no labels, ten labels
#
# **You will be able to** tell a better network from a better use of few labels, say what a network knows about training images whose label it never saw, and judge a comparison whose rows were trained differently. **Takes** about 25 minutes to read. **Read before:** [`11_hitts_tables`](11_hitts_tables.ipynb) (previous), which says how to read a table. **Next:** [`11c_hitts_tables`](11c_hitts_tables.ipynb), the other data sets. **Paper:** [HiTTs](https://arxiv.org/abs/2411.18823), Section 4 and Appendix: Tables 2, 6 and 7, all on NYUD-v2 and each with a question of its own.
#
# 1. Table 2: is it a better network, or does it make better use of few labels?
# 2. Table 6: what is learned about images without a label?
# 3. Table 7: ten labels of one task
# 4. what was decided
# 5. exercises, with solutions

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
# ## 1. Table 2: every label is there
#
# **What it asks.** With full labels nothing is withheld, so nothing can be discovered. What a method gains here it gains as a *network*, or as a way of balancing losses. That makes it the control of the whole paper: a method that gains as much with full labels as with one label per image has not solved the problem of missing labels; it is a better network.
#
# > **Predict.** Of L_s, L_p and L_f, which are left when α_i = 1 for every task and image?

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.hitts.tables import TABLE2, TABLE6, TABLE7
from mtpsl.report.ledger import summary

table2, now2 = session.results(TABLE2)
show_results(TABLE2, table2, now2)

# %%
session.write(TABLE2, table2, now2)

# %% [markdown]
# L_s and L_f are left; L_p has no pixel to work on. L_f counts with weight 1 everywhere: the student is asked for the features of a first network that was trained like it, which is distillation from a twin. That is the row "HiTTs + L_f"; the row "HiTTs" is a single stage.
#
# *What holds.* In print HiTTs is ahead of every other row, and L_f adds to it.
#
# *What fails.* Sharing a network is no gain in itself: the MTL baseline, GradNorm and DWA are behind STL, and on normals every multi-task row but those of HiTTs is.
#
# *What cannot be seen.* What the method contributes and what the training, because the rows were not trained alike. In the records they are; which of them are behind STL there?

# %% tags=["nbval-ignore-output"]
from statistics import fmean

gains = {row.label: table2.values(TABLE2, row.name, "delta_mtl") for row in TABLE2.rows if table2}
gains = {label: fmean(of_seed.values()) for label, of_seed in gains.items() if of_seed}
print(
    f"behind STL by Δ_MTL: {[label for label, gain in gains.items() if gain < 0]} of {len(gains)} rows"
)

# %% [markdown]
# ### Who is compared with whom
#
# *In print two protocols stand side by side.* The rows above CCR carry the numbers of [XTC, Table 5], where networks train for 200 epochs with a batch of 2. HiTTs ("Ours") is a run of 400 epochs with a batch of 8. The cells are the same to the digit:

# %%
from mtpsl.papers.hitts import printed
from mtpsl.papers.xtc import printed as xtc_printed

pairs = {"MTL baseline": "MTL", "MTAN": "MTAN", "GradNorm": "GradNorm", "XTC": "Ours"}
for here, there in pairs.items():
    ours = tuple(printed.TABLE2.metrics(here)[key] for key in printed.NYUD_HEADLINES[:3])
    print(f"{here:<13} {ours}  in [XTC, Table 5]: {ours == xtc_printed.TABLE5.rows[there][:3]}")

# %% [markdown]
# How much the protocol is worth the printed cells cannot say: the only MTL baseline that the authors trained themselves, in Table 1, has *a third of the labels*.

# %%
for table, row in ((printed.TABLE1, "one-label/MTL baseline"), (printed.TABLE2, "MTL baseline")):
    cells = table.metrics(row)
    print(f"{table.source} {row:<24} {[cells[key] for key in printed.NYUD_HEADLINES[:3]]}")

# %% [markdown]
# In this package every row trains alike, so a difference between two *recorded* rows is a difference between methods.
#
# ### Balancing
#
# Four rows change nothing but the weights of the three losses, and XTC+ adds one of these rules to XTC. Each rule is a class that serves every method of this package:

# %%
from mtpsl.weighting import WEIGHTINGS

for row in TABLE2.rows:
    for experiment in row.experiments:
        if experiment.weighting != "uniform":
            doc = WEIGHTINGS[experiment.weighting].__doc__.split("\n")[0]
            print(f"{row.label:<12} {experiment.method:<11} {doc}")

# %% [markdown]
# ## 2. Table 6: the training images themselves
#
# **What it asks.** An image with a depth label alone is seen in every epoch, and its semantic segmentation is never taught. Does a network know more about it than about an image it has never seen? The table measures on the *training* set, each task apart for the images that show its label and those that hide it.
#
# > **Predict.** In the printed table the MTL baseline has 89.0 mIoU on labeled training images. What do you expect on unlabeled ones: near 89, near 60, or near its test result of 30.9?

# %% tags=["nbval-ignore-output"]
table6, now6 = session.results(TABLE6)
show_results(TABLE6, table6, now6)

# %%
session.write(TABLE6, table6, now6)

# %% [markdown]
# It is 34.3 in print, hardly more than on test images. *Seeing an image without its label teaches next to nothing about that label.* A gap of 55 points is memory, and the rows "Labeled" measure little else. The rows "Unlabeled" are those that matter.
#
# *What holds.* In print pseudo supervision improves all nine metrics on unlabeled images. *What fails.* That HiTTs alone "generalizes better on them" holds on eight of nine: its pixel accuracy is 61.48, that of the MTL baseline 61.56. *What cannot be seen.* Whether the student generalizes, as the next paragraph says.

# %%
for row in ("MTL baseline", "HiTTs", "HiTTs w. L_p + L_f"):
    seen, hidden = (
        printed.TABLE6.cell(f"{part}/{row}", "semseg/miou") for part in ("labeled", "unlabeled")
    )
    print(
        f"{row:<20} labeled {seen:.1f}, unlabeled {hidden:.1f}: gap {seen - hidden:.1f}", end="; "
    )
    print("unlabeled pAcc", printed.TABLE6.cell(f"unlabeled/{row}", "semseg/pixel_acc"))

# %% [markdown]
# **A second-stage network has been taught on those images**, by the pseudo labels of the first. So the last row is no measure of generalization: it says how well the student has learned what the teacher believed, plus what it corrected. [`13_hitts_beyond`](13_hitts_beyond.ipynb) looks at the beliefs themselves.
#
# Nothing is trained for this table: its runs are those of Table 1 and Table 5, measured on other images.

# %%
from mtpsl.papers.hitts.tables import TABLES

known = {e.key for name in ("table1", "table5") for r in TABLES[name].rows for e in r.experiments}
for row in TABLE6.rows:
    shared = all(e.key in known for e in row.experiments)
    print(f"{row.name:<31} run of another table: {shared}, images: {row.measured_on}")

# %% [markdown]
# ## 3. Table 7: ten labels of one task
#
# **What it asks.** Can a task live on what the others know? One task has ten labels; the others have all of theirs. Each row is three trainings, and each training contributes the columns of *its* poor task.
#
# > **Predict.** STL has ten images and nothing else. To which of the three tasks do the labels of the other two help most?

# %% tags=["nbval-ignore-output"]
table7, now7 = session.results(TABLE7)
show_results(TABLE7, table7, now7)

# %%
session.write(TABLE7, table7, now7)

# %%
for label in ("STL", "MTL baseline"):
    for task, e in zip(TABLE7.row(label).task_of_each, TABLE7.row(label).experiments, strict=True):
        print(f"{label:<13} gives {task:<8} learns {e.tasks} with {dict(e.label_args)}")

# %% [markdown]
# In print segmentation profits most: from 5.8 to 16.8 mIoU by sharing a network, presumably because what an encoder learns from 795 depth maps is of use for finding walls and floors. *That step needs no tokens.* What the tokens add stands between the rows "MTL baseline" and "HiTTs": 1.3 mIoU, but 0.14 m of depth.

# %%
from itertools import pairwise

for column in printed.NYUD_HEADLINES[:3]:
    cells = [printed.TABLE7.cell(row.name, column) for row in TABLE7.rows]
    steps = ", ".join(f"{100 * (b / a - 1):+.0f} %" for a, b in pairwise(cells))
    print(f"{column:<18} {cells}  {steps}")

# %% [markdown]
# *What holds.* In print each row is ahead of the one before it on the three headline metrics.
#
# *What fails.* The rmse of normals (folded), where HiTTs is behind the MTL baseline, 47.1 against 46.3 degrees, although its mean error is smaller.
#
# *What cannot be seen.* What the other labels alone contribute. They bring *more steps* as well: at `quick` a network with ten images and nothing else has three batches per epoch, the others sixty, so the step from STL to the MTL baseline mixes two causes, here and in print.
#
# Ten images are few enough for *which* ten to matter. The assignment is a function of the setting and its seed, so it is the same for every row; the paper does not say which images its ten were.

# %%
labels = [
    session.store.load(key).labels for e in now7.entries if e.row == "HiTTs" for key in e.keys
]
for each in labels:
    print(each["counts"], each["hash"])

# %% [markdown]
# At `smoke` there are 12 training images, so ten shots are almost all labels and the setting is no longer a poor one. The recorded networks have 240.
#
# ## 4. What was decided

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import against, judge, verdict_text

for table, known in ((TABLE2, table2), (TABLE6, table6), (TABLE7, table7)):
    agree = sum(not against(claim, table) for claim in table.claims)
    print(f"{table.source}: print agrees with {agree} of {len(table.claims)} sentences")
    print(f"  recorded: {summary(table, known)}")
    for claim, verdict in zip(table.claims, judge(table, known), strict=True):
        if verdict.state in ("holds", "contradicted"):
            print(f"  {table.in_words(claim.text)}: {verdict_text(claim, verdict)}")

# %% [markdown]
# ## 5. Exercises
#
# **1.** HiTTs gains 15.2 points of Δ_MTL over the MTL baseline in Table 2 (full labels) and 6.4 in Table 5 (one label, without pseudo supervision). Can you conclude that tokens help more when labels are plenty?
#
# <details><summary>Solution</summary>
#
# No, for two reasons. The baseline of Table 2 was trained by another protocol, for half the epochs. And the average differs: three columns there, nine here, five of which are normals. The comparison needs one protocol and one set of columns; with this package's records:
#
# ```python
# from mtpsl.metrics import delta_mtl
# def gain(results, better, worse):
#     a, b = (results.of(row)[0].metrics for row in (better, worse))
#     keys = printed.NYUD_HEADLINES[:3]
#     return 100 * delta_mtl({k: a[k] for k in keys}, {k: b[k] for k in keys})
# ```
#
# with the recorded results of Table 2 and of Table 5.
# </details>
#
# **2.** What would Table 6 print for a network that memorizes every label it sees and answers everything else with the class "wall"? Which column tells it from a good network?
#
# <details><summary>Solution</summary>
#
# 100 in every "labeled" row, and on unlabeled images what "wall" is worth: its share of pixels as pixel accuracy, a thirteenth of that class's IoU as mIoU. Only the unlabeled rows tell.
# </details>
#
# **3.** In the few-shot runs of Table 7 the threshold decides which pseudo labels of the poor task are believed. A network that has seen ten depth maps, is it likely to be over- or underconfident on the 785 others? How would you find out?
#
# <details><summary>Solution</summary>
#
# Overconfident, typically: it fits ten images perfectly and has no reason for doubt elsewhere. [`13_hitts_beyond`](13_hitts_beyond.ipynb) draws reliability diagrams from withheld truth; its functions take any HiTTs run, so also `TABLE7.row("HiTTs").experiments[1]`.
# </details>
#
# **4.** Add a row "HiTTs with L_p alone" to Table 7 and run it.
#
# <details><summary>Solution</summary>
#
# ```python
# from dataclasses import replace
# from mtpsl.papers.hitts.tables import second_stage
# plain = TABLE7.row("HiTTs")
# runs = tuple(second_stage(e, pseudo_labels=True, pseudo_features=False) for e in plain.experiments)
# row = replace(plain, name="HiTTs w. L_p", label="HiTTs w. L_p", experiments=runs)
# wider = replace(TABLE7, name="table7_lp", rows=(*TABLE7.rows, row))
# _, computed = session.results(wider)
# ```
#
# Only the three new students train; teachers and all other rows are found by their keys. (The new row has no printed cells of its own; it borrows those of the plain row here.)
# </details>

# %% [markdown]
# ## Take away
#
# 1. With full labels a method can gain only as a network or as a balance of losses. That gain is the control for every claim about missing labels.
# 2. Scores on labeled training images measure memory. What a method makes of missing labels shows on images that hide them.
# 3. When rows of a table come from two protocols, their difference is not one of methods: look up where each row was trained.
#
# **Next:** [`11c_hitts_tables`](11c_hitts_tables.ipynb), Cityscapes and PASCAL-Context.
