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
# # The tables of TPKR
#
# **You will be able to** say which rows of TPKR's six tables can be compared with which, name the five cells in which single-task networks beat it, read a network's size from a column of parameters as far as that goes, and tell what the ablation supports from what it does not. **Takes** about 35 minutes to read. **Read before:** [`40_tpkr_method`](40_tpkr_method.ipynb), and [`21_xtc_tables`](21_xtc_tables.ipynb), Section 1, which says how to read a table. **Previous:** [`40_tpkr_method`](40_tpkr_method.ipynb). **Next:** [`42_tpkr_figures`](42_tpkr_figures.ipynb). **Paper:** Oh, Kim, Kim, [*Task Prototype-Based Knowledge Retrieval*](https://arxiv.org/abs/2601.07474), AAAI 2026, sections "Experiments" and "Ablation Studies".
#
# Every row of the paper can be trained here, also those of DiffusionMTL, TaskPrompter and TSP-Transformer. The paper has no public code, and takes its protocol from the released code of DiffusionMTL: a fused ResNet-18, saliency measured as maxF, losses of an image multiplied by the number of tasks over that of its labels. *No number on this page may be compared with the tables of XTC, HiTTs or RDC*, which follow another protocol.
#
# 1. what the printed cells say
# 2. Table 1: five tasks
# 3. Table 2: three tasks
# 4. Table 3: which loss helps
# 5. Table 4: how wide a slot is, and how large the network
# 6. Tables 5 and 6: other networks
# 7. the audit, and what was decided
# 8. three take-aways
# 9. exercises, with solutions

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show_results, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## 1. What the printed cells say
#
# Each row of a table has up to three lines: **paper** is what is printed, **recorded** is mean ± standard deviation over *n* seeds, committed with this repository, **computed now** is what this notebook has just run at its own profile. At `smoke` a network has made four steps and its numbers mean nothing, so that line is left out.
#
# > **Predict.** XTC's text makes 210 comparisons, of which its own cells contradict 11 ([`21_xtc_tables`](21_xtc_tables.ipynb)). TPKR's makes half as many. How many fail?

# %%
from mtpsl.papers.tpkr import printed
from mtpsl.papers.tpkr.tables import TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, TABLES
from mtpsl.report.ledger import against, printed_gains

claims = [(table, claim) for table in TABLES.values() for claim in table.claims]
asked = sum(len(claim.columns) for _, claim in claims)
failing = [(t.source, claim.text) for t, claim in claims if against(claim, t)]
print(f"{asked} comparisons, {len(failing)} against the printed cells")
rivals = [len(c.columns) for t, c in claims if t in (TABLE1, TABLE2) and c.better.endswith("TPKR")]
print(f"of these, TPKR against other methods for partial labels: {sum(rivals)}")
assert failing == [] and sum(rivals) == 48

# %% [markdown]
# None. In all 48 comparisons of Tables 1 and 2, TPKR is ahead of MTPSL* (XTC on this network) and of both variants of DiffusionMTL. How far ahead?
#
# > **Predict.** Which share of the 48 gains is below one percent of the cell? (For comparison: trained again by its own authors, DiffusionMTL's cells move by up to 0.6, says a note below Table 1.)

# %%
gains = {
    (t.source, c.better.split("/")[0], c.worse.split("/")[1], column): gain
    for t, c in claims
    if t in (TABLE1, TABLE2) and c.better.endswith("TPKR")
    for column, gain in printed_gains(c, t).items()
}
small = {key: gain for key, gain in gains.items() if gain < 1}
print(f"{len(small)} of {len(gains)} gains are below 1 %; the smallest:")
for key, gain in sorted(small.items(), key=lambda item: item[1])[:4]:
    print(f"    {gain:+.2f} %", *key)

# %% [markdown]
# The paper prints one run per row and no spread, so nothing can be said about chance. There is one row, however, with which the text never compares TPKR. Of Table 1 the text says that TPKR "outperforms across all tasks":
#
# > **Predict.** A single-task network has a whole ResNet for itself and no loss but its own. In how many of the 16 cells of Tables 1 and 2 is it better than TPKR, in print?

# %%
better = {t.source: printed.stl_over_ours(t) for t in (printed.TABLE1, printed.TABLE2)}
for source, cells in better.items():
    for cell in cells:
        print(f"{source} {cell}")
assert sum(map(len, better.values())) == 5

# %% [markdown]
# STL is better in five cells, four of them with random labels. And one row of these tables cannot be compared at all. "Semi-Supervised Learning" is not a row of this network: each of its cells stands in a table of XTC, where the network is another one (on NYUD-v2 it is SegNet) and the saliency column is a mean IoU.

# %%
from mtpsl.papers.xtc import printed as xtc

for block in ("one", "random"):
    row, source = f"{block}-label{'s' * (block == 'random')}/{printed.SSL}", f"{block}/{xtc.SSL}"
    assert printed.TABLE2.rows[row] == xtc.TABLE2.rows[source][:3]
    assert set(printed.TABLE1.rows[row]) <= set(xtc.TABLE3.rows[source])
    cells = dict(zip(printed.PASCAL, printed.TABLE1.rows[row], strict=True))
    print(f"{row}: 'maxF' {cells['saliency/max_f']:.2f} is XTC's mean IoU of saliency")

# %% [markdown]
# What is trained here under that name is the same method on the network and with the metrics of the other rows.

# %% [markdown]
# ## 2. Table 1: five tasks
#
# **What it asks.** Which method is best on the five tasks of PASCAL-Context, with one label per image or a random number of them? Here people21 stands in for it.
#
# > **Predict.** From the MTL baseline to TPKR, mIoU gains 34 % in print with one label per image. How much of that does MTPSL* have already, whose idea is four years older?

# %% tags=["nbval-ignore-output"]

table1, now1 = session.results(TABLE1, once=True)
show_results(TABLE1, table1, now1)

# %%
session.write(TABLE1, table1, now1)
rows = (printed.MTL, printed.XTC, printed.PREDICTION, printed.OURS)
for block in ("one-label", "random-labels"):
    miou = [printed.TABLE1.cell(f"{block}/{row}", "semseg/miou") for row in rows]
    share = (miou[1] - miou[0]) / (miou[3] - miou[0])
    print(f"{block}: {miou}; {rows[1]} alone has {100 * share:.0f} % of TPKR's gain over MTL")
    assert miou == sorted(miou) and share > 2 / 3

# %% [markdown]
# *What holds.* In print TPKR is the best row for partial labels in all ten columns, and neither variant of DiffusionMTL is the better one everywhere (prediction for classes, feature for the other four tasks), as the text says.
#
# *What fails.* "Across all tasks" fails if STL counts as a rival: on parsing and boundary with random labels STL is better. And the text says of DiffusionMTL, too, that it "has shown improved performance across all tasks", where its prediction variant is behind the MTL baseline in three of ten cells, as the cell below counts. Boundary hardly moves at all: MTL to TPKR is 64.30 to 65.10 with one label, and 66.80 to 67.30 with random labels.
#
# *What cannot be seen.* With one run per row, nobody can tell a gain from chance. Nor can the SSL row be placed, since its printed saliency is another metric.

# %%
behind = [
    (block, printed.TITLES[column])
    for block in ("one-label", "random-labels")
    for column in printed.PASCAL
    for mtl, other in [[printed.TABLE1.cell(f"{block}/{r}", column) for r in rows[::2]]]
    if printed.better(column, mtl, other)
]
print(f"{rows[2]} is behind {rows[0]} in", "; ".join(map(": ".join, behind)))
assert len(behind) == 3

# %% [markdown]
# ## 3. Table 2: three tasks
#
# **What it asks.** Which method is best on the three tasks of NYUD-v2, for which rooms13 stands in? The released code has no settings for this data set, so here the three losses have equal weights.
#
# > **Predict.** The printed SSL row has a mIoU of 27.52, *below* the MTL baseline's 42.77, with the same labels. Is semi-supervised learning harmful?

# %% tags=["nbval-ignore-output"]
table2, now2 = session.results(TABLE2, once=True)
show_results(TABLE2, table2, now2)

# %%
session.write(TABLE2, table2, now2)
ssl, mtl = (
    printed.TABLE2.cell(f"one-label/{row}", "semseg/miou") for row in (printed.SSL, "MTL baseline")
)
assert xtc.TABLE2.cell("one/Semi-supervised Learning", "semseg/miou") == ssl < mtl
print(f"{ssl} is that of a SegNet without pretrained weights; {mtl} that of this network")

# %% [markdown]
# *What holds.* In print TPKR is ahead of every method for partial labels, in 18 of 18 comparisons. Over MTPSL*, depth gains most with one label and normals with random labels, 5 % each.
#
# *What fails.* STL is better in three of six cells: depth with one label, segmentation and normals with random labels. No sentence of the paper says so.
#
# *What cannot be seen.* Nobody can tell whether the 0.09 mIoU between TPKR and DiffusionMTL (Prediction) with random labels is more than chance; in print it counts as one of the 18. Nor does the printed SSL row say that semi-supervised learning is harmful: it was measured on another network.

# %% [markdown]
# ## 4. Table 3: which loss helps
#
# **What it asks.** What is each of three losses worth? They are added one after the other: reconstruction with the codebook (L_tae), task embedding (L_tke), task consistency (L_tc). The check marks are lost in the text that the cells were typed from, and the first note below the table says how they were found again.
#
# > **Predict.** L_tae gains 0.1 mIoU, L_tke 13.4, L_tc 1.6. What else changes in the row of L_tke?

# %% tags=["nbval-ignore-output"]
table3, now3 = session.results(TABLE3, once=True)
show_results(TABLE3, table3, now3)

# %%
session.write(TABLE3, table3, now3)
from mtpsl.runs.network import full_size_cost

count = {row.name: full_size_cost(row.experiments[0]).params for row in TABLE3.rows}
miou = {row: cells[0] for row, cells in printed.TABLE3.rows.items()}
for before, row in zip([*miou], [*miou][1:], strict=False):
    step, added = miou[row] - miou[before], count[row] - count[before]
    print(f"{row:<22} {step:+6.2f} mIoU, {added / 1e6:+.2f} M parameters")
assert count[printed.TKE] - count[printed.TAE] > 9e6 and count[printed.ALL] == count[printed.TKE]

# %% [markdown]
# *What holds.* In print each row is better than the one before it, in all five columns.
#
# *What fails.* One cell fails: the first row is the MTL baseline of Table 1, but for boundary (64.38 and 64.30).
#
# *What cannot be seen.* The table cannot say what L_tke adds. With prototypes comes all of the retrieval transformer, two blocks of self-attention, cross-attention and feed-forward network with their projections, ten million parameters in all, and no row has that transformer without prototypes. Nine tenths of the gain over MTL are in this one step. `companion/retrieval` in [`43_tpkr_beyond`](43_tpkr_beyond.ipynb) takes it apart. Nor can L_tc be told from chance: it gains 0.15 % on two of five columns, and where L_tke is at its least, L_tc is zero ([`40_tpkr_method`](40_tpkr_method.ipynb)).

# %% [markdown]
# ## 5. Table 4: how wide a slot is, and how large the network
#
# **What it asks.** Which dimension *d* should a task's slot have? (The paper writes "slot T", but T is the number of tasks.) It is the only table with a column of parameters, which is counted at full width below, whatever the profile.
#
# > **Predict.** A slot has *d* numbers and there are three of them. By how many parameters does the whole network grow with each dimension?

# %% tags=["nbval-ignore-output"]
table4, now4 = session.results(TABLE4, once=True)
show_results(TABLE4, table4, now4)

# %%
session.write(TABLE4, table4, now4)

# %%
here = {
    d: full_size_cost(TABLE4.row(row).experiments[0]).params for d, row in printed.SLOTS.items()
}
plain = full_size_cost(TABLE4.row(printed.NO_SLOTS).experiments[0]).params
frame = {
    d: {
        "printed (M)": printed.sizes.PRINTED[d],
        "here (M)": n / 1e6,
        "over MTL (M)": (n - plain) / 1e6,
    }
    for d, n in here.items()
}

# %%
import pandas

frame = pandas.DataFrame(frame).T.rename_axis("d")
show_table(frame.style.format("{:.1f}").format("{:.2f}", subset=["here (M)", "over MTL (M)"]))
slope = (here[2048] - here[256]) / (2048 - 256)
low, high = printed.sizes.slope_band()
print(f"per dimension: here {slope:,.0f}, printed between {low:,.0f} and {high:,.0f}")
print(f"networks of ordinary widths in that band: {len(list(printed.sizes.designs()))}")
assert low < slope < high and plain == 43_933_265

# %% [markdown]
# The slope is reproduced, by seven linear maps of width 512 that touch *d* (a projection for each of three tasks, keys and values of two blocks) and the three slots. But 15 other networks of ordinary widths have a slope in the printed band as well. The offset is not: over the MTL baseline of 43.93 M the four rows cannot have the printed counts, over one of 146.47 M they would. No network of the framework has that size.
#
# *What holds.* In print d = 1024 is the best of four on every column.
#
# *What fails.* The reason given, that small slots lack room and large ones are hard to use, fails on normals, where 512 is worse than 256. And depth at 2,048 is only 0.0002 from the best.
#
# *What cannot be seen.* The table does not say which network it was, nor whether the differences are real: from 512 to 1024 nothing moves by more than 0.7 %.

# %% [markdown]
# ## 6. Tables 5 and 6: other networks
#
# **What they ask.** Are prompts a better memory than prototypes (Table 5: ViT-L, three tasks)? And does TPKR keep its lead on a larger ResNet (Table 6: ResNet-50, five tasks)?
#
# > **Predict.** The text says that prompts "only work when labeled data is available". By how much do both prompted rows beat their baseline in print, with one label per image?

# %% tags=["nbval-ignore-output"]
table5, now5 = session.results(TABLE5, once=True)
show_results(TABLE5, table5, now5)

# %% tags=["nbval-ignore-output"]
table6, now6 = session.results(TABLE6, once=True)
show_results(TABLE6, table6, now6)

# %%
session.write(TABLE5, table5, now5)
session.write(TABLE6, table6, now6)
larger = {
    column: (printed.TABLE1.cell("one-label/TPKR", column), printed.TABLE6.cell("TPKR", column))
    for column in printed.PASCAL
}
for column, (small, large) in larger.items():
    print(f"{printed.TITLES[column]:<14} ResNet-18 {small}, ResNet-50 {large}")
worse = [c for c, (small, large) in larger.items() if printed.better(c, small, large)]
assert worse == ["saliency/max_f", "normals/mean_err"]

# %% [markdown]
# *What holds.* In print TPKR is first in every column of both tables, and both prompted rows beat the baseline B in every column.
#
# *What fails.* The table does not bear out that prompts need all labels: with one label per image they gain 2 to 7 % in mIoU. And a larger network is not always a better one: from ResNet-18 to ResNet-50 TPKR's saliency and normals get worse.
#
# *What cannot be seen.* The paper does not say what B is ("baseline MTL network with a ViT-L backbone"), nor how the prompted networks were run: as released, neither takes three tasks at 288x384. The rows here are compact readings of their mechanisms.

# %% [markdown]
# ## 7. The audit, and what was decided
#
# The paper derives none of its numbers from others, so there are no brackets to recompute. The audit checks the borrowed cells, puts every sentence to the cells, and recomputes what an erratum says wherever it can.

# %%
from mtpsl.report.audit import audit

report = audit().papers["TPKR"]
print(
    f"{sum(check.agrees for check in report.checks)} of {len(report.checks)} borrowed cells agree"
)
for erratum in report.errata:
    how_known = "documented" if erratum.remains is None else "recomputed"
    print(f"{erratum.where}: {erratum.what} [{how_known}]\n    {erratum.evidence}")

# %% [markdown]
# The last table counts the sentences of all tables. A single seed tests nothing, so a row with one seed leaves its sentences untested.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import count_states

measured = zip(TABLES.values(), (table1, table2, table3, table4, table5, table6), strict=True)
counts = {table.name: count_states(table, recorded) for table, recorded in measured}
show_table(pandas.DataFrame(counts).T.fillna(0).astype(int), caption="Recorded sentences by table.")

# %% [markdown]
# ## 8. Take away
#
# 1. Look for the row that the text does not mention. Here it is STL, which is better than TPKR in five cells of sixteen.
# 2. A row that is borrowed brings its metric and its network along. A mean IoU under the heading maxF is neither a good result nor a bad one.
# 3. An ablation that adds a loss *and* the module that the loss belongs to says nothing about the loss.

# %% [markdown]
# ## 9. Exercises
#
# **1.** In Table 3 the row with L_tke gains 13.38 points of mIoU over the row before it, and the whole method 15.05 over the first. Which share is that? Name the row that you would add to the table.
#
# <details><summary>Solution</summary>
#
# 13.38 / 15.05 = 89 %. The row to add has the transformer, self-attention and feed-forward network, and nothing to retrieve: `method_args={"retrieve": "none"}`, which is the row "transformer alone" of `companion/retrieval`.
# </details>
#
# **2.** Two designs have the same slope in Table 4: A projects features of 512 channels for each of three tasks and has two blocks with keys and values of width 512; B projects 1,024 channels once and has one block. How many maps of width 512 must touch *d* in B's block?
#
# <details><summary>Solution</summary>
#
# A has 3 · 512 + 4 · 512 + 3 = 3,587. B needs 3,587 − 1,024 − 3 = 2,560 = 5 · 512. Five maps are none of the usual numbers (two, four or eight), so B is not among the designs that are searched; with 1,024 channels for each task and two maps of width 256, it is.
# </details>
#
# **3.** The largest of the 48 gains is 8.5 % and the smallest 0.05 %. If each of the 48 were a coin toss, how likely would it be that all point the same way? Why is that no proof?
#
# <details><summary>Solution</summary>
#
# 2 to the power of −48. But cells of a row come from one network, rows of a block share data and labels, and the three rivals share a code base: so there are far fewer than 48 independent tosses. And a method is published *after* it has come out ahead.
# </details>
#
# **4.** To discuss: STL needs one network per task, TPKR one for all. When is it fair to leave STL out of a comparison?
#
# <details><summary>Solution</summary>
#
# It should never be left out of the table, and here it is in it. It is fair to say that it costs more: at three tasks 75 M parameters against 57 M. It is not fair to say "across all tasks" when the table has a row that is better in some.
# </details>
#
# ## References
#
# Oh, Kim, Kim, [AAAI 2026](https://arxiv.org/abs/2601.07474), the paper; Ye and Xu, [*DiffusionMTL*](https://arxiv.org/abs/2403.15389), CVPR 2024, the protocol; Ye and Xu, *TaskPrompter*, ICLR 2023; Li, Liu, Bilen, [CVPR 2022](https://arxiv.org/abs/2111.14893), XTC.
#
# **Next:** [`42_tpkr_figures`](42_tpkr_figures.ipynb), what the paper shows.
