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
# # The tables of RDC
#
# **You will be able to** say which of RDC's printed numbers can be compared with which, show why its normals column ranks lengths and not directions, and tell what its six tables support from what they do not. **Takes** about 40 minutes to read. **Read before:** [`30_rdc_method`](30_rdc_method.ipynb), and [`21_xtc_tables`](21_xtc_tables.ipynb), Section 1, which says how to read a table. **Previous:** [`30_rdc_method`](30_rdc_method.ipynb). **Next:** [`32_rdc_figures`](32_rdc_figures.ipynb). **Paper:** Li, Li, Wang, Wang, Yang, Shen, [*Region-aware Distribution Contrast*](https://arxiv.org/abs/2403.10252), ECCV 2024, Section 4.
#
# Every row is trained here but those of DejaVu, whose code is not public. What the printed cells alone can tell is told first, because two things in them have to be known before any row is compared: how few of them the text contradicts, and what its normals measure.
#
# 1. what the printed cells say
# 2. a ruler that bends: normals without length 1
# 3. Table 1: partial labels on NYUD-v2
# 4. Table 2: streets
# 5. Table 3: what is compared, and how
# 6. Tables 4 and 6: every label, and whose segments
# 7. Table 5: KL or Wasserstein
# 8. the audit, and what was decided
# 9. three take-aways
# 10. exercises, with solutions

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show_figures, show_results, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## 1. What the printed cells say
#
# Each row of a table has up to three lines: **paper** is what is printed, **recorded** is mean ± standard deviation over *n* seeds, committed with this repository, **computed now** is what this notebook has just run at its own profile; it is left out at `smoke`, where it means nothing. Floors, the ledger and the forest are as in [`21_xtc_tables`](21_xtc_tables.ipynb). Which strategy a row has is marked in the paper by check marks that the text we type from has lost; each was recovered, and the first note below a table says how.
#
# > **Predict.** XTC's text makes 210 comparisons, of which its own cells contradict 11. RDC's makes about a hundred. How many fail?

# %%
from mtpsl.papers.rdc.tables import TABLES
from mtpsl.report.ledger import against, printed_gains

asked, failing = 0, []
for table in TABLES.values():
    asked += sum(len(claim.columns) for claim in table.claims)
    failing += [
        (table, claim, column) for claim in table.claims for column in against(claim, table)
    ]
print(f"{asked} comparisons, {len(failing)} against the printed cells:")
for table, claim, column in failing:
    print(f"{table.source} {column} by {printed_gains(claim, table)[column]:+.2f} %: {claim.text}")

# %% [markdown]
# One, and the text half admits it ("approaches or even surpasses"). The paper prints no spread and no number of seeds, and reports the best epoch on the test set, so nothing can be said about chance. But printed cells can be held against each other, across tables, which the text rarely does.
#
# > **Predict.** A network is trained with a random number of labels per image and RDC, another one of the same kind with all labels and without it. Which one has the better depth, in print?

# %%
from mtpsl.papers.rdc import printed

few = printed.TABLE1.metrics(f"random/{printed.REGION}")
every = printed.TABLE6.metrics("MTL")
expert = printed.TABLE1.metrics(f"full/{printed.EXPERT}")
one = printed.TABLE1.metrics(f"one/{printed.REGION}")
print("random labels, RDC, HRNet18:", few)
print("all labels, MTL, HRNet18:   ", every)
assert few["depth/abs_err"] < every["depth/abs_err"]
assert few["semseg/miou"] < every["semseg/miou"]
assert one["normals/mean_err"] < expert["normals/mean_err"]

# %% [markdown]
# The one with fewer labels has the better depth, by 4 %, and better normals by a third. And a small HRNet with *one* label per image prints better normals (4.86°) than ViT-L with *all* labels (5.90°). Neither is impossible. The next section has a simpler explanation for the normals.

# %% [markdown]
# ## 2. A ruler that bends: normals without length 1
#
# The angle between two directions is $\arccos(n\cdot n^*)$ if both have length 1. The released evaluation takes $\arccos$ of the inner product, cut off at 1, and *nobody gives the prediction length 1*, neither the network nor the meter. XTC's SegNet divides by the length itself, so its 32.08° stands in the same column as 4.86° of another quantity.
#
# > **Predict.** A network is off by 20.5° on average, with many small errors and a few large ones. Its predictions are made longer by 10 %, by half, by a factor of 5, with every direction as before. What does the released meter say?

# %%
import math

import torch

share = (torch.arange(10_000) + 0.5) / 10_000
angles = -22 * torch.log(1 - share * (1 - math.exp(-90 / 22)))  # exponential, up to 90 degrees
meter = lambda length: (length * angles.deg2rad().cos()).clamp(-1, 1).acos().rad2deg().mean()  # noqa: E731

for length in (1, 1.1, 1.2, 1.5, 2, 5):
    print(f"length {length:3}: true error {angles.mean():.1f}, released meter {meter(length):5.1f}")
assert abs(meter(1) - angles.mean()) < 0.01 and meter(1.5) < angles.mean() / 4

# %% [markdown]
# Where the inner product is cut off, the error is zero: at length 2, for every pixel within 60° of the truth. So the question is not how good the printed normals are but how *long*. The length that turns these very directions into each printed cell:

# %%
import numpy

grid = numpy.linspace(1, 3, 401)
read = numpy.array([meter(length).item() for length in grid])
cells = {
    f"{source.source[6:-1]}, {row}": source.metrics(row)["normals/mean_err"]
    for source in (printed.TABLE1, printed.TABLE3, printed.TABLE4, printed.TABLE6)
    for row in source.rows
}
cells = {row: v for row, v in cells.items() if v < 20}  # NaN and SegNet's left out
needed = {row: numpy.interp(-v, -read, grid) for row, v in cells.items()}

# %%
import pandas

frame = pandas.DataFrame({"printed normals": cells, "length needed": needed})
frame = frame.sort_values("printed normals")
show_table(frame[~frame.index.str.startswith("Table 3")].style.format("{:.2f}"))
assert 1.0 < frame["length needed"].min() and frame["length needed"].max() < 2.2
order = frame["length needed"]
assert (order.diff().dropna() <= 0).all()

# %% [markdown]
# (Table 3 repeats most of these cells and adds others between them.) A length between 1.0 and 1.7 explains every cell (up to 2.15 if errors are spread otherwise, says the audit in Section 8), without one direction becoming better. That does not prove that directions are equal; it says that *this column cannot tell*.
#
# **Why lengths grow.** The loss is $1-\cos$ of the angle, and a cosine divides by the length. So its gradient is at a right angle to the vector:
#
# > **Predict.** A plain step of gradient descent on such a loss: does it make the vector longer, shorter, or neither?

# %%
import torch.nn.functional as F

torch.manual_seed(0)
w, truth = torch.randn(1000, 3, dtype=torch.float64).requires_grad_(), torch.randn(1000, 3).double()
(slope,) = torch.autograd.grad((1 - F.cosine_similarity(w, truth)).sum(), w)
along = (w * slope).sum(dim=1)
torch.testing.assert_close(along, torch.zeros_like(along))  # a right angle
stepped = w - 0.1 * slope
assert (stepped.norm(dim=1) > w.norm(dim=1)).all()
print("the gradient never points along the vector; every step made it longer, 1000 of 1000")

# %% [markdown]
# Nothing in the loss pulls it back. A short training of ours with the normalization removed, on 64 generated rooms: its length over the steps, its error by both meters, and the released meter on its last directions, with printed cells as dotted lines. (These directions are worse than those of a long training, so the curve on the right ends higher than in the list above.)

# %%
drift = session.figure("rdc/norm_drift")
show_figures(drift, first=True)

# %% tags=["nbval-ignore-output"]
for source, made in drift.items():
    a = {k: made.arrays[k] for k in ("length", "true", "released")}
    for name, values in a.items():
        print(f"{source:<13} {name:<8} {values[0]:7.2f} -> {values[-1]:7.2f}")
    assert a["length"][-1] > a["length"][0] and a["length"][-1] > 1
    assert a["released"][-1] < a["true"][-1]

# %% [markdown]
# In this repository every predicted normal has length 1, so recorded normals are much larger than the printed ones on HRNet18 and ViT-L. **Read that column within a source, never across.** The released code goes one step further: it reports the epoch whose mean gain over fixed numbers is largest, on the test set. Against a reference of 25.94°, an error of 5° counts as a gain of 81 %:

# %%
from mtpsl.papers.xtc.printed import TABLE5

reference = TABLE5.metrics("STL")["normals/mean_err"]
gain = 100 * (reference - 5) / reference
assert gain > 80
print(f"normals of 5 against {reference}: +{gain:.0f} %, in a mean over three tasks")

# %% [markdown]
# A rule like that favors epochs with long vectors.

# %% [markdown]
# ## 3. Table 1: partial labels on NYUD-v2
#
# **What it asks.** One label per image or a random number of them; three backbones; XTC, DejaVu and TaskExpert as rivals. "Patch" compares windows of the map, "region" compares SAM's regions, in whose place felzenszwalb's stand here.
#
# > **Predict.** Going from SegNet to HRNet18 with ImageNet's weights, XTC gains 30 % in mIoU, in print. By how much does RDC beat XTC on the same backbone? Which of the two steps is the larger?

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.rdc.tables import TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE6

table1, now1 = session.results(TABLE1, once=True)
show_results(TABLE1, table1, now1)

# %%
session.write(TABLE1, table1, now1)

# %%
for block in ("one", "random"):
    segnet, hrnet, rdc = (
        printed.TABLE1.metrics(f"{block}/{row}")["semseg/miou"]
        for row in (printed.XTC, printed.XTC_HRNET, printed.REGION)
    )
    print(
        f"{block}: backbone {100 * (hrnet / segnet - 1):+.0f} %, contrast {100 * (rdc / hrnet - 1):+.0f} %"
    )
    assert hrnet / segnet > rdc / hrnet > 1

# %% [markdown]
# *What holds.* In print every comparison of the text holds: regions beat patches, patches beat XTC, RDC beats DejaVu on SegNet, and TaskExpert gains from the contrast, in all tasks.
#
# *What fails.* One bracket does not follow: by the cells the depth of RDC on SegNet gains 2.08 % over DejaVu, where 2.25 % is printed and repeated in the text.
#
# *What cannot be seen.* The table says nothing about directions of normals on HRNet18 and ViT-L (Section 2), and nothing about what the contrast adds to supervised training: it has no row of labels alone on HRNet18 with partial labels, so pretrained weights, the second view and the contrast come in one step. `companion/contrast` in [`33_rdc_beyond`](33_rdc_beyond.ipynb) takes them apart.
#
# Where runs are recorded, the ledger says what they decide, and *n* says how many seeds there are. Its summary is one line:

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import summary

print("Table 1, recorded:", summary(TABLE1, table1) if table1 else "nothing is recorded yet")

# %% [markdown]
# DejaVu's rows are printed only, and the table says why:

# %%
from mtpsl.papers.rdc.tables import WHY_NOT

for row, why in WHY_NOT.items():
    print(f"{row}: {why}.")

# %% [markdown]
# ## 4. Table 2: streets
#
# **What it asks.** The same on Cityscapes with one label per image, and whether Gaussians are better than the mean vector and than pixels.
#
# > **Predict.** The text says that the Gaussian contrast is "faster and more efficient" than that of pixels and "still performing on par". By which number of the table could you check each half?

# %% tags=["nbval-ignore-output"]
table2, now2 = session.results(TABLE2, once=True)
show_results(TABLE2, table2, now2)
print("Recorded:", summary(TABLE2, table2) if table2 else "nothing is recorded yet")

# %%
session.write(TABLE2, table2, now2)
gaussian, pixel = (printed.TABLE2.metrics(row) for row in (printed.GAUSSIAN, printed.PIXEL))
print({c: f"{100 * abs(gaussian[c] / pixel[c] - 1):.1f} % better" for c in gaussian})
assert gaussian["semseg/miou"] > pixel["semseg/miou"]
assert gaussian["depth/abs_err"] < pixel["depth/abs_err"]

# %% [markdown]
# *What holds.* In print Gaussians are ahead of vectors, of pixels and of XTC on both tasks; on depth by a seventh over pixels, which is more than "on par".
#
# *What fails.* A second bracket does not follow: the gain in depth is 22.93 % by the cells and 22.73 % in print. (A cell of 0.01213 before rounding would mend it.)
#
# *What cannot be seen.* No time is printed, so speed cannot be judged. It can be measured, and [`33_rdc_beyond`](33_rdc_beyond.ipynb) does. Nor is there a released script for this data set, so batch, learning rate and schedule are those of NYUD-v2 or XTC's.

# %% [markdown]
# ## 5. Table 3: what is compared, and how
#
# **What it asks.** Two choices, crossed: *where* features are gathered (patches or regions), and *what* stands for a place (its mean vector, its pixels, its Gaussian).
#
# > **Predict.** Of the two choices, which one matters more for segmentation in print, and which for normals?

# %% tags=["nbval-ignore-output"]
table3, now3 = session.results(TABLE3, once=True)
show_results(TABLE3, table3, now3)
print("Recorded:", summary(TABLE3, table3) if table3 else "nothing is recorded yet")

# %%
session.write(TABLE3, table3, now3)
blocks = {"one": {}, "random": {}}
for row, cell in printed.TABLE3.rows.items():
    block, name = row.split("/")
    blocks[block][name] = cell
effects = {}
for block, rows in blocks.items():
    cell = lambda what, where: numpy.array(rows[f"{what} by {where}"])  # noqa: E731, B023
    places = [cell(what, "region") / cell(what, "patch") - 1 for what in ("vector", "gaussian")]
    kinds = [cell("gaussian", where) / cell("vector", where) - 1 for where in ("patch", "region")]
    effects[block, "regions for patches"] = 100 * numpy.mean(places, axis=0)
    effects[block, "Gaussians for vectors"] = 100 * numpy.mean(kinds, axis=0)

# %%
columns = ["semseg mIoU (%)", "depth error (%)", "normals error (%)"]
show_table(pandas.DataFrame(effects, index=columns).T.style.format("{:+.1f}"))
assert all(e[0] > 0 > e[1] for e in effects.values())
one = [e for (block, _), e in effects.items() if block == "one"]
assert abs(one[0][2]) > 5 * abs(one[1][1])

# %% [markdown]
# *What holds.* In print regions beat patches in all 18 cells, and Gaussians beat vectors in all 12.
#
# *What fails.* "Surpasses pixel contrast" fails in one cell of twelve: with random labels and regions, pixels have the better mIoU (46.41 against 46.21).
#
# *What cannot be seen.* It stays open whether any of it is about directions: the largest effects stand in the normals column, where regions take a third off the error and everything else moves by less than a tenth. It stays open, too, whether two tenths of mIoU are more than chance, as no spread is printed.

# %% [markdown]
# ## 6. Tables 4 and 6: every label, and whose segments
#
# **What they ask.** With all labels, does the contrast still help (Table 6)? And is it SAM's segments that help, or the distribution (Table 4, where the connected parts of the true classes are the regions)?
#
# > **Predict.** True segments in place of SAM's: which of the three tasks gains the most in print, and does one lose?

# %% tags=["nbval-ignore-output"]
table6, now6 = session.results(TABLE6, once=True)
show_results(TABLE6, table6, now6)
print("Recorded:", summary(TABLE6, table6) if table6 else "nothing is recorded yet")

# %% tags=["nbval-ignore-output"]
table4, now4 = session.results(TABLE4, once=True)
show_results(TABLE4, table4, now4)
print("Recorded:", summary(TABLE4, table4) if table4 else "nothing is recorded yet")

# %%
session.write(TABLE6, table6, now6)
session.write(TABLE4, table4, now4)
for row in (printed.VECTOR, printed.GAUSSIAN):
    true, sam = printed.TABLE4.metrics(row), printed.TABLE6.metrics(row)
    print(row, {c: f"{sam[c]:g} -> {true[c]:g}" for c in true})
    assert true["semseg/miou"] > sam["semseg/miou"]
    assert true["depth/abs_err"] < sam["depth/abs_err"]
    assert true["normals/mean_err"] > 1.4 * sam["normals/mean_err"]

# %% [markdown]
# *What holds.* In print the order on segmentation is MTL < XTC < vector < pixel < Gaussian, with the Gaussian first in every task; and with true segments Gaussians stay ahead of vectors.
#
# *What fails.* "Solely introducing fine-grained segmentation results is insufficient" is supported by Table 4 only half: with vectors, true segments gain 1.4 points of mIoU over SAM's, more than vectors with SAM gain over XTC. The error of normals grows by about half with *perfect* segments, of which the text says nothing. A meter of lengths would explain that, and so would chance.
#
# *What cannot be seen.* It stays open what of the gain over MTL is the contrast, as MTL sees one view of each image and every other row two.

# %%
vector, xtc = printed.TABLE6.metrics(printed.VECTOR), printed.TABLE6.metrics("XTC")
true = printed.TABLE4.metrics(printed.VECTOR)
segments, method = (x["semseg/miou"] - vector["semseg/miou"] for x in (true, xtc))
assert sorted(printed.TABLE6.rows, key=printed.TABLE6.rows.get) == [*printed.TABLE6.rows]
print(f"true segments for SAM's: {segments:+.2f} points; vectors over XTC: {-method:+.2f} points")
assert segments > -method > 0

# %% [markdown]
# ## 7. Table 5: KL or Wasserstein
#
# **What it asks.** The distance between two Gaussians, all else equal.
#
# > **Predict.** [`30_rdc_method`](30_rdc_method.ipynb), Section 8, showed the two on the same regions and at the same temperature: KL was many times as large. Is "all else equal" a fair comparison then?

# %% tags=["nbval-ignore-output"]
table5, now5 = session.results(TABLE5, once=True)
show_results(TABLE5, table5, now5)
print("Recorded:", summary(TABLE5, table5) if table5 else "nothing is recorded yet")

# %%
session.write(TABLE5, table5, now5)
for block in ("one", "random"):
    rows = [printed.TABLE5.metrics(f"{block}/{row}") for row in (printed.KL, printed.WASSERSTEIN)]
    gains = {c: f"{100 * (rows[1][c] / rows[0][c] - 1):+.1f} %" for c in rows[0]}
    print(block, "Wasserstein in place of KL:", gains)

# %% [markdown]
# *What holds.* In print Wasserstein is ahead in all six cells, by one to three percent on two tasks and by up to 11 % on normals.
#
# *What fails.* The reason that the paper gives does not apply. KL between two Gaussians does not mind whether a task was discrete: both maps come out of one mapping network and are continuous. What does tell the two apart is scale: KL counts in units of a region's width.
#
# *What cannot be seen.* Nobody outside knows which temperature the KL row had; details are in a supplement that is not public with the text. At the temperature of the Wasserstein row KL is many times as large, so this may be a comparison of temperatures.

# %% [markdown]
# ## 8. The audit, and what was decided
#
# 28 of the 30 gains in brackets are what their cells give. Below them stand the errata, recomputed or documented:

# %%
from mtpsl.report.audit import audit

report = audit().papers["RDC"]
wrong = [check for check in report.checks if not check.agrees]
print(f"{len(report.checks) - len(wrong)} of {len(report.checks)} brackets agree")
for check in wrong:
    print(f"    printed {check.printed}, computed {check.computed:.2f}: {check.where}")
assert len(report.checks) == 30 and len(wrong) == 2

# %%
for erratum in report.errata:
    how_known = "documented" if erratum.remains is None else "recomputed"
    print(f"{erratum.where}: {erratum.what} [{how_known}]\n    {erratum.evidence}")

# %% [markdown]
# **Table 1 compares 20 epochs with 200.** XTC on SegNet starts from random weights and learns for 200 epochs; HRNet18 and ViT-L start from ImageNet's and learn for 20. Rows of different backbones are different experiments, so the claims of this table stay within one:

# %%
for row in TABLE1.rows:
    if row.group == "one" and row.experiments:
        e = row.experiments[0]
        weights = e.backbone_args.get("weights", "random").split(".")[0].split("/")[-1]
        print(f"{row.label:<26} {e.epochs:>3} epochs, batch {e.batch_size:>2}, {weights}")

# %% [markdown]
# Here is what the recorded runs say of all sentences. A single seed tests nothing.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import count_states

measured = (
    *((TABLE1, table1), (TABLE2, table2), (TABLE3, table3)),
    *((TABLE4, table4), (TABLE5, table5), (TABLE6, table6)),
)
counts = {table.name: count_states(table, recorded) for table, recorded in measured}
show_table(pandas.DataFrame(counts).T.fillna(0).astype(int), caption="Recorded sentences by table.")

# %% [markdown]
# ## 9. Take away
#
# 1. Ask what a column measures before you compare its cells. An angle needs two vectors of length 1; a loss that divides by the length never provides them.
# 2. Printed cells can be held against each other across tables. There, perfect segments lose to SAM's on normals, and fewer labels beat all labels on depth.
# 3. A table without the row "labels alone, same backbone, same views" cannot say what a method adds.

# %% [markdown]
# ## 10. Exercises
#
# **1.** By hand: a prediction of length 1.5 is off by 40°. What does the released meter say? Up to which error does it say 0?
#
# <details><summary>Solution</summary>
#
# 1.5 · cos 40° = 1.149 is cut off at 1, so it says 0°. Zero is what it says up to arccos(1/1.5) = 48.2°.
# </details>
#
# **2.** Would the released meter be right if predictions were *shorter* than 1? Which error does it give to a perfect direction of length 0.5?
#
# <details><summary>Solution</summary>
#
# No: 0.5 · cos 0° = 0.5, an "error" of 60° for a perfect direction. It is an angle at length 1 alone; above it is too small, below it too large.
# </details>
#
# **3.** Δ_MTL averages relative gains over tasks. RDC by region beats XTC on HRNet18 by 7.26, 8.48 and 67.14 %. What is the mean, and what is it without normals?
#
# <details><summary>Solution</summary>
#
# 27.6 % with normals, 7.9 % without. Seven tenths of the headline come from a column that cannot tell directions.
# </details>
#
# **4.** Someone wants to reproduce Table 1 within a week. Which two rows would you train first, and with which third row that the table lacks?
#
# <details><summary>Solution</summary>
#
# "RDC by region on HRNet18" and "XTC on HRNet18", and supervised training on HRNet18 with two views. Without the third, a difference between the first two may be the cost of XTC as well as the worth of RDC (see [`23_xtc_storm`](23_xtc_storm.ipynb) for what the first steps do to XTC).
# </details>
#
# **5.** To discuss: you review a paper whose normals error is a quarter of everyone else's, with the sentence "we use the exact same metrics". What do you ask for?
#
# <details><summary>Solution</summary>
#
# The mean length of its predictions on the test set, or one more number: the share of pixels within 11.25°, after normalization. Either takes a minute to compute and settles it. Asking for code alone would not: here the code was there, and could not be imported.
# </details>
#
# ## References
#
# Li et al., [ECCV 2024](https://arxiv.org/abs/2403.10252), the paper; Li, Liu, Bilen, [CVPR 2022](https://arxiv.org/abs/2111.14893), XTC; Borse et al., *DejaVu*, CVPR 2023; Ye and Xu, [*TaskExpert*](https://arxiv.org/abs/2307.15324), ICCV 2023.
#
# **Next:** [`32_rdc_figures`](32_rdc_figures.ipynb), what the paper shows.
