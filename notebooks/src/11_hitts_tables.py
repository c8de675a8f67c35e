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
# # The tables of HiTTs
#
# **You will be able to** read a table of this repository with its floors, forest and ledger, say which comparisons of HiTTs are fair, and recompute what its paper prints. **Takes** about 40 minutes to read. **Read before:** [`10_hitts_method`](10_hitts_method.ipynb) (previous), or at least [`00_tour`](00_tour.ipynb). **Next:** [`11b_hitts_tables`](11b_hitts_tables.ipynb). **Paper:** [HiTTs](https://arxiv.org/abs/2411.18823) (Zhang, Ye, Li, Wang and Xu), Section 4 and Appendix.
#
# This notebook runs the rows of its Tables 1, 5 and 8 (2, 6 and 7 are in [`11b_hitts_tables`](11b_hitts_tables.ipynb), 3, 4 and 9 in [`11c_hitts_tables`](11c_hitts_tables.ipynb)), puts the measured numbers beside the printed ones, and asks of every sentence that the paper draws from a table: does it hold here?
#
# 1. how to read a table
# 2. Table 1: the comparison
# 3. Table 5: what each component is worth
# 4. Table 8: what it costs
# 5. what the numbers mean on a stand-in
# 6. the audit: do the printed numbers agree with each other?
# 7. exercises, with solutions

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
# ## 1. How to read a table
#
# Each row has up to three lines, which are never mixed:
#
# | line | is | made from |
# | --- | --- | --- |
# | **paper** | what the paper prints | NYUD-v2, the authors' code |
# | **recorded** | mean ± standard deviation over *n* seeds, committed with this repository | profile `quick`, the data named below the table |
# | **computed now** | what this notebook has just run; left out at `smoke`, where it means nothing, except for costs | this notebook's profile |
#
# Rows that this package cannot run have the paper's line alone; below the table stands why, and which records are left out because they answer an older question. At the end stand the **ceiling** (supervised learning with every label) and two **floors**, the best constant answer (*closed eyes*) and the best answer for each position (*position lookup*), wherever they are recorded. A cell that is no better than a floor is marked †. Columns beyond each task's first are folded.
#
# Below a table with records come two views of the paper's sentences that compare two rows. The **forest** has the gain of each, in percent, with its 95 % interval, beside the printed gain; a single seed has no interval. The folded **ledger** has a line for each sentence, decided over all its metrics together. A sentence *holds* or is *contradicted* where the gain is beyond chance; otherwise it is *inconclusive*. With fewer than two seeds it is *not tested*, and where a row is no better than a floor it is *below floor*. Rows are named by their method: "HiTTs, stages 1 and 2" is the paper's "Ours".
#
# The rule in full stands below each ledger. The paper's own cells have no spread, so they decide nothing; whether they agree with its sentences can be asked:

# %%
from mtpsl.papers.hitts.tables import TABLE1, TABLE5, TABLE8
from mtpsl.report.ledger import against, summary

for table in (TABLE1, TABLE5, TABLE8):
    agree = sum(not against(claim, table) for claim in table.claims)
    print(f"{table.source}: print agrees with {agree} of {len(table.claims)} sentences")

# %% [markdown]
# ## 2. Table 1: the comparison
#
# The table has two label settings: in *one-label* an image keeps one label, in *random-labels* one or two of three. The paper says that HiTTs beats everything "by a large margin on all the metrics of the three tasks".
#
# > **Predict.** STL has one network for every task, MTL one for all. With a label on every third image, on which task would you expect the shared network to *lose*?

# %% tags=["nbval-ignore-output"]
table1, now1 = session.results(TABLE1)
show_results(TABLE1, table1, now1)

# %%
session.write(TABLE1, table1, now1)

# %% [markdown]
# *What holds.* In print HiTTs is ahead of the MTL baseline, MTAN and XTC in every column of both blocks, and of STL as well. The shared network of the MTL baseline loses to STL on the normals.
#
# *What fails.* MTAN and XTC lose to STL as well, on some columns of normals in both blocks. The paper's text does not mention it.
#
# *What cannot be seen.* Whether chance explains a difference, since the paper prints one run per row, and how STL would do at equal length of training, as the next paragraphs explain.
#
# What the recorded runs decide stands in the line below the table, and sentence by sentence in the forest and the ledger. The next cell asks them two things more: in which order do the methods come, and on which metrics is STL ahead of HiTTs?

# %% tags=["nbval-ignore-output"]
from statistics import fmean

from mtpsl.metrics import delta_mtl

mean = lambda row, column: fmean(table1.values(TABLE1, row, column).values())  # noqa: E731
methods = ("MTL baseline", "MTAN", "XTC", "Ours")
for block in ("one-label", "random-labels") if table1 else ():
    order = sorted(methods, key=lambda row: -mean(f"{block}/{row}", "delta_mtl"))
    print(block, "by Δ_MTL:", [TABLE1.in_words(row) for row in order])
    best, single = (
        {c: mean(f"{block}/{r}", c) for c in TABLE1.columns[:-1]} for r in ("Ours", "STL")
    )
    behind = [c for c in best if delta_mtl({c: best[c]}, {c: single[c]}) < 0]
    print(f"  STL is ahead of HiTTs on {behind or 'no metric'}")

# %% [markdown]
# ### What is compared with what
#
# A comparison is fair if its rows differ in the method and in nothing else. One thing does differ here, as in the released code of XTC: a single-task network leaves out the images without its label and so takes fewer steps in the same epochs, at `quick` 460 (one label) and 690 (random labels) against 1,380. What is measured against STL is measured against a network that trained less. *Every row of a block learns from the same labels*: the assignment is drawn once over all tasks, and single-task networks get their columns of it. Each run keeps the assignment's hash and counts.

# %%
for group in dict.fromkeys(row.group for row in TABLE1.rows):
    entries = [e for e in now1.entries if TABLE1.row(e.row).group == group]
    labels = [session.store.load(key).labels for e in entries for key in e.keys]
    hashes = {each["hash"] for each in labels}
    print(f"{group}: {len(labels)} networks, {len(hashes)} assignment, {labels[0]['counts']}")

# %% [markdown]
# The row "STL" is three networks, "HiTTs, stages 1 and 2" is two trainings: a first network with the labels alone, and a second one, from scratch, with what the first has discovered. *The first is exactly the row "HiTTs" of Table 5*, so it is trained once and used for both.

# %%
ours = TABLE1.row("one-label/Ours").experiments[0]
print("STL:", [experiment.tasks for experiment in TABLE1.row("one-label/STL").experiments])
print("teacher is Table 5's HiTTs:", ours.teacher == TABLE5.row("HiTTs").experiments[0])
print(
    "fields that differ:", [k for k, v in ours.to_dict().items() if v != ours.teacher.to_dict()[k]]
)

# %% [markdown]
# So the full method costs two trainings where a baseline costs one. The row of Table 5 to compare it with is "MTL w. L_p*", which gets two stages as well.
#
# *A method that starts slowly is at a disadvantage at `quick`*: a training there has 1,380 steps, where the paper's has some 40,000. XTC is such a method, because its consistency pulls hardest before anything is learned; [`23_xtc_storm`](23_xtc_storm.ipynb) takes these steps apart. A verdict on its row is one on trainings of this length.
#
# ### Δ_MTL
#
# The last column sums a row up in one number: the mean relative gain over all nine metrics against STL, each counted positive where better [HiTTs, Eq. 9]. *Counting each metric once means counting normals five times, segmentation and depth twice.* With the same printed cells, other averages give other numbers:

# %%
from mtpsl.papers.hitts import printed

one_each = {key.split("/")[0]: key.split("/")[1] for key in printed.NYUD_HEADLINES[:3]}
stl = printed.TABLE1.metrics("one-label/STL")
for row in ("MTL baseline", "MTAN", "XTC", "Ours"):
    cells = printed.TABLE1.metrics(f"one-label/{row}")
    metrics, tasks = (100 * delta_mtl(cells, stl, average=a) for a in ("metrics", "tasks"))
    headline = 100 * delta_mtl(cells, stl, average="headline", headlines=one_each)
    name = TABLE1.in_words(row)
    print(f"{name:<21} metrics {metrics:6.2f}   tasks {tasks:6.2f}   headline {headline:6.2f}")

# %% [markdown]
# The MTL baseline is worth +0.11 % by the paper's average and several percent when every task counts once: its loss on normals weighs five ninths. HiTTs leads in every column. MTAN and XTC are close by the paper's average and far apart when tasks count once.

# %% [markdown]
# ## 3. Table 5: what each component is worth
#
# The upper part has HiTTs without pseudo supervision, and with one component taken away. The lower part has naive pseudo labels (L_p*, no tokens), then supervision found by the tokens, in features (L_f), in predictions (L_p) and both.
#
# > **Predict.** Orthogonal embeddings are a tiny part: they tell fine-grained tokens apart before an MLP sees them. Does taking them away hurt the paper's Δ_MTL more or less than taking away all *global* tokens?

# %% tags=["nbval-ignore-output"]
table5, now5 = session.results(TABLE5)
show_results(TABLE5, table5, now5)

# %%
session.write(TABLE5, table5, now5)

# %% [markdown]
# *Every row is one switch away from "HiTTs"*, which the experiments themselves show:

# %%
plain = TABLE5.row("HiTTs").experiments[0]
for row in TABLE5.rows:
    for experiment in row.experiments:
        if experiment.method == plain.method:
            stage = "second stage" if experiment.teacher else "first stage"
            print(f"{row.label:<30} {stage:<13} {dict(experiment.method_args)}")

# %% [markdown]
# *What holds.* In print all 15 sentences hold. Every component helps, and orthogonal embeddings help most: without them Δ_MTL falls by 4.38 points, without global tokens by 1.43.
#
# *What fails.* A reading that no sentence of the paper excludes: *three of the five ablations fall below the MTL baseline in mIoU*, the one without orthogonal embeddings by more than three points. There, taking a part away hurts segmentation more than taking all tokens away.
#
# *What cannot be seen.* Why that is so. [`10_hitts_method`](10_hitts_method.ipynb), Section 2, counts how many directions untrained tokens span with and without the embeddings; Figure 7 in [`12_hitts_figures`](12_hitts_figures.ipynb) asks the same of trained ones.

# %%
base = printed.TABLE5.cell("MTL baseline", "semseg/miou")
for row in printed.TABLE5.rows:
    if row.startswith("w/o"):
        print(f"{row:<30} {printed.TABLE5.cell(row, 'semseg/miou') - base:+.2f} mIoU against MTL")

# %% [markdown]
# ## 4. Table 8: what it costs
#
# The table counts parameters, FLOPs and memory. *Whatever the profile, parameters and FLOPs are counted on the full-size network at 288x384*, on shapes alone, so they can be compared with the paper on any machine. Memory is measured, which takes minutes at that size, so it is done only for the record; a line below the table says on which machine.
#
# > **Predict.** HiTTs adds attention, tokens and score masks to SegNet. Does it add more than, or less than, 5 % of the parameters? And of the FLOPs?

# %% tags=["nbval-ignore-output"]
table8, now8 = session.results(TABLE8)
show_results(TABLE8, table8, now8)

# %%
session.write(TABLE8, table8, now8)


# %%
by_source = {"paper": {name: printed.TABLE8.metrics(name) for name in printed.TABLE8.rows}}
of_row = {entry.row: entry.metrics for entry in table8.current()} if table8 else {}
if "MTL baseline" in of_row:  # the measure of the others
    by_source["recorded"] = of_row
for source, costs_of in by_source.items():
    baseline = costs_of["MTL baseline"]
    for name, row in costs_of.items():
        ratios = {c.removeprefix("cost/"): round(v / baseline[c], 2) for c, v in row.items()}
        print(f"{source:<9} {TABLE8.in_words(name):<21} times the baseline: {ratios}")

# %% [markdown]
# *What holds.* HiTTs adds one percent of the parameters and a fifth of the FLOPs, in print and here. *What fails.* Nothing in print. *What cannot be seen.* The paper's gigabytes, which belong to a larger batch on a GPU: only ratios can be compared.
#
# In print, memory is where the methods part: attention modules for every task cost MTAN most, and XTC's mapping network runs on top of the network that it trains.
#
# "FLOPs" has a catch. The printed 68.81 G are those of a counter that adds one per multiply-accumulate of a convolution and four per element of a BatchNorm, and does not see matrix products at all: attention is free of charge. The plain count of multiply-accumulates (MACs) stands beside it.

# %%
from mtpsl.models.cost import format_costs
from mtpsl.runs.network import full_size_cost

rows = {TABLE8.in_words(r.label): r.experiments[0] for r in TABLE8.rows if r.experiments}
costs = {name: full_size_cost(e) for name, e in rows.items()}
print(format_costs(costs))
print("parameters of the MTL baseline:", f"{costs['MTL baseline'].params:,}")

# %% [markdown]
# ## 5. What the numbers mean on a stand-in
#
# **Across data, only directions can be compared.** Measured lines come from generated rooms unless the stamp below a table says otherwise. An mIoU of rooms13 beside an mIoU of NYUD-v2 says nothing; that row A beats row B on both says something.
#
# **At `smoke` nothing can be concluded at all.** A network has made four steps on 12 images, a single-task network two steps on four. The next cell compares them with answers that ignore the image:

# %% tags=["nbval-ignore-output"]
from mtpsl.report.floors import score_guesses
from mtpsl.report.render import headline_cells
from mtpsl.runs.data import bind_data, open_split, test_batches
from mtpsl.runs.profiles import get_profile

scaled = bind_data(get_profile(session.profile)(ours), session.data_root)
train = open_split(scaled, "train", session)
lines = score_guesses(train, test_batches(scaled, session))
lines |= {e.row: e.metrics for e in now1.entries if e.row.startswith("one-label/")}
for name, metrics in lines.items():
    print(f"{TABLE1.in_words(name):<32}", headline_cells(metrics, train.tasks))

# %% [markdown]
# **A share takes the place of thresholds.** The paper accepts a pseudo label where its confidence exceeds a printed threshold. A threshold is only as good as a network is calibrated, and the printed ones belong to 400 epochs at full size. What they would accept of a network trained at `quick` is counted in [`13_hitts_beyond`](13_hitts_beyond.ipynb), Section 5. The scaled profiles therefore accept the more confident half of the withheld pixels. It is the one place where a profile touches a method, so keep it in mind when reading the rows with L_p; whatever else a profile changes (sizes, epochs, stages of the SegNet, learning rate, clipping, augmentation), it changes alike for every row.

# %%
from mtpsl.runs.profiles import PROFILES

for name, scale in PROFILES.items():
    print(f"{name:<6}", dict(scale(ours).thresholds))

# %% [markdown]
# **With one seed nothing is decided.** The spread over seeds is what a difference has to beat. A single seed tests no comparison of accuracies; only costs, which do not vary, are decided by one. These sentences of the three tables are decided so far:

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import judge, verdict_text

for table, known in ((TABLE1, table1), (TABLE5, table5), (TABLE8, table8)):
    print(f"{table.source}: {summary(table, known)}")
    for claim, verdict in zip(table.claims, judge(table, known), strict=True):
        if verdict.state in ("holds", "contradicted"):
            print(f"  {table.in_words(claim.text)}: {verdict_text(claim, verdict)}")

# %% [markdown]
# ## 6. The audit
#
# Before comparing with printed numbers it is worth asking whether they agree with each other. Everything that can be recomputed from the paper's own cells is: each Δ_MTL of six tables, and every difference that the text quotes.
#
# > **Predict.** Eq. 9 is printed as a *sum* of relative gains over N metrics. Of all the printed Δ_MTL, how many are that sum?

# %%
from mtpsl.report.audit import audit

report = audit()
print(report.to_text())

# %% [markdown]
# None: as printed, Eq. 9 lacks a factor 1/N. With it, each printed Δ_MTL follows from its row to within rounding, which is how we know *which* average the paper uses. The check works in both directions: a slip in our typed copy of the tables, or a change of `delta_mtl`, would make the audit fail.

# %%
gains = {key: 100 * delta_mtl({key: cells[key]}, {key: stl[key]}) for key in printed.NYUD_METRICS}
print("gains of HiTTs, one-label:", {key: round(gain, 1) for key, gain in gains.items()})
print(
    f"sum {sum(gains.values()):.2f}, mean {sum(gains.values()) / len(gains):.2f}, printed", end=" "
)
print(printed.TABLE1.cell("one-label/Ours", "delta_mtl"))

# %% [markdown]
# *Only the known errata remain.* An erratum is no accusation: most are typographical. The one to keep in mind when quoting is Table 2, where baselines trained by another protocol stand beside the paper's own.

# %%
print(f"unexplained: {len(report.problems)}; known errata of the four papers: {len(report.errata)}")

# %% [markdown]
# ## 7. Exercises
#
# **1.** By hand: Table 1, one-label, MTL baseline. Its gains in mIoU and in mErr against STL, in percent? Then check with `delta_mtl` on one metric at a time.
#
# <details><summary>Solution</summary>
#
# mIoU: (30.92 − 29.28) / 29.28 = +5.6 %. mErr: lower is better, so −(31.8509 − 30.1971) / 30.1971 = −5.5 %. The two nearly cancel, but normals have five columns, and three of the other four lose more: η₁ loses 14.9 %, η₂ 11.1 %, η₃ 8.3 %, rmse 2.4 %.
#
# ```python
# cells = printed.TABLE1.metrics("one-label/MTL baseline")
# {k: 100 * delta_mtl({k: cells[k]}, {k: stl[k]}) for k in cells}
# ```
# </details>
#
# **2.** Suppose three seeds give differences of +1.0, +0.6 and +0.8 mIoU between two rows. Does the claim hold by the pairs of these two rows alone? And with +1.0, +0.4 and +0.7? (With three pairs, the mean must exceed 4.3 standard errors.) What changes if ten rows of three seeds each measure the noise?
#
# <details><summary>Solution</summary>
#
# First: mean 0.8, standard deviation 0.2, standard error 0.2 / √3 = 0.12; 0.8 > 4.3 × 0.12 = 0.50, so it *holds*. Second: mean 0.7, standard deviation 0.3, standard error 0.17; 0.7 < 4.3 × 0.17 = 0.75, so it is *inconclusive*, although all three seeds agree about the sign. The usual two standard errors would have called both significant: they are made for many seeds, and three say little about a spread. Ten rows of three seeds leave (10 − 1)(3 − 1) = 18 degrees of freedom for the noise, and the mean must exceed 2.1 standard errors; with several sentences in a table, somewhat more.
# </details>
#
# **3.** Why are differences paired by seed, instead of comparing the means of two rows with their two standard deviations?
#
# <details><summary>Solution</summary>
#
# Rows with the same seed share initial weights of the backbone, the order of images and the augmentation where the methods allow it, so part of the spread is common to both and cancels in the difference. Pairing seldom hurts and often saves seeds.
# </details>
#
# **4.** Recompute the ledger for Δ_MTL by tasks instead of metrics. Which printed claims of Table 5 turn around?
#
# <details><summary>Solution</summary>
#
# ```python
# rows = {row: printed.TABLE5.metrics(row) for row in printed.TABLE5.rows}
# delta = {r: 100 * delta_mtl(m, rows["STL"], average="tasks") for r, m in rows.items()}
# for claim in TABLE5.claims:
#     if claim.columns == ("delta_mtl",):
#         print(claim.text, round(delta[claim.better] - delta[claim.worse], 2))
# ```
#
# None turns around, although the sizes change: "w/o Orthogonal Embeddings" then costs 5.7 points and the MTL baseline is 5.0 below HiTTs. The conclusions of this table do not hang on the average; the size of the headline number does.
# </details>
#
# **5.** To discuss: the paper's runs train for 400 epochs and report a single number per row. What would you want to know before citing the 0.72 points between "w/o Intra-Task" and "w/o Inter-Task Learning"?
#
# <details><summary>Solution</summary>
#
# The spread over seeds, and how the epoch was selected: the released codes of this line of work pick the best epoch *on the test set*, which adds a little to every row and more to noisy ones. The recorded lines above come with both: *n*, ±, and "weights of the epoch selected by: last".
# </details>

# %% [markdown]
# ## Take away
#
# 1. Three sources, two floors and a ceiling: read a cell with its *n*, and against the floor before you rank it.
# 2. Fair means that rows differ in the method alone. Here the labels, the data and the recipe are the same; steps (of STL) and the number of trainings (of the full method) are not.
# 3. A sentence is decided over all its metrics and seeds, with chance counted for the whole table. A single seed, and every printed number, decides nothing.
#
# **Next:** [`11b_hitts_tables`](11b_hitts_tables.ipynb), all labels, no labels, ten labels.
