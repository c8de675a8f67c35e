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
# # Beyond the paper: what the withheld truth says about HiTTs
#
# **You will be able to** measure how good pseudo labels are, whether confidence says so, and what discovery gains as labels become few. **Takes** about 45 minutes to read. **Read before:** [`10_hitts_method`](10_hitts_method.ipynb), Section 5; previous is [`12b_hitts_figures`](12b_hitts_figures.ipynb). **Next:** [`20_xtc_method`](20_xtc_method.ipynb), or [`90_all_tables`](90_all_tables.ipynb). **Paper:** [HiTTs](https://arxiv.org/abs/2411.18823), Section 3.3 and Appendix B.
#
# HiTTs discovers labels, trusts the confident ones and trains on them. Whether they are *right* the paper shows in pictures, because with truly partial labels nobody can know. Here everybody can: labels are withheld by a setting, and the complete ones still lie behind it. Three questions follow that the paper does not ask.
#
# 1. *How good are discovered labels* on the pixels whose label was withheld, and where are they good?
# 2. *Does confidence say so?* A threshold on confidence selects good labels only as far as confidence means something.
# 3. *How much does discovery gain* when an eighth of the labels is left, a quarter, a half, or all?
#
# Contents: (1) three numbers on eight pixels, (2) quality by threshold, (3) where, (4) calibration, (5) what thresholds accept, (6) a setting for shares, (7) the gain by share, (8) the mixture loss, both ways, (9) what remains open, (10) exercises with solutions.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show, show_figures, show_results, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)


def measured(figures):
    """(source, figure) pairs to measure: at smoke only the recorded one, where there is one."""
    return list(figures.items())[: 1 if profile == "smoke" else None]


# %% [markdown]
# ## 1. Three numbers on eight pixels
#
# A pixel's class logits G′ become probabilities, the largest of them is its **confidence**, and its bin the discovered label. The mask M^p accepts a label whose confidence exceeds τ [HiTTs, Sec. 3.3]. Once the truth is known, three numbers describe such a teacher:
#
# | number | asks | is |
# | --- | --- | --- |
# | coverage | how many? | share of the withheld pixels that M^p accepts; here, of those with a truth |
# | quality | how good? | share in the true bin, or mean error, of the accepted ones |
# | calibration error | does confidence say so? | mean distance between confidence and share that is right |
#
# > **Predict.** Below are eight pixels. What are coverage and quality at τ = 0.6 and at τ = 0.9? Is this teacher too sure or not sure enough?

# %%
import torch

confidence = torch.tensor([0.55, 0.58, 0.64, 0.68, 0.91, 0.93, 0.95, 0.97])
right = torch.tensor([1, 0, 1, 0, 1, 1, 0, 1]).bool()
for tau in (0.0, 0.6, 0.9):
    accepted = confidence > tau
    print(f"tau {tau}: coverage {accepted.float().mean():.3f}", end=", ")
    print(f"right {right[accepted].float().mean():.3f}")

# %% [markdown]
# *Six of eight pass the first threshold, four the second, and quality rises from 5/8 over 4/6 to 3/4.* That quality rises is all that a threshold needs. Calibration asks for more: of the pixels with a confidence around 0.9, nine in ten should be right. Pixels are put into bins of confidence, and in each bin the mean confidence is compared with the share that is right. The **expected calibration error** (ECE) is the mean of these gaps, weighted by pixels.

# %%
bins = (confidence * 10).long()  # ten bins of width 0.1
error = 0.0
for b in bins.unique():
    inside = bins == b
    gap = confidence[inside].mean() - right[inside].float().mean()
    error += inside.float().mean() * gap.abs()
    print(f"bin {b / 10:.1f}: {int(inside.sum())} pixels, gap {gap:+.3f}")
print(f"ECE {error:.3f}; too sure by {confidence.mean() - right.float().mean():+.3f} on average")

# %% [markdown]
# All gaps are positive: this teacher is too sure. Note what the ECE does *not* say: a teacher that answers 5/8 for every pixel would have an ECE of 0 and would be useless for choosing.

# %% [markdown]
# ## 2. Quality by threshold
#
# Now the teacher is a real one: the first stage of HiTTs in Table 1, trained with one label per image. It labels its own training images, clean, exactly as it does for the second stage. Every pixel that withholds its label and has a truth is counted once; the teacher sees images only. As everywhere, **recorded** stands for arrays that are committed with this repository, **computed now** for this notebook's profile. *After four steps at `smoke` a network knows next to nothing*, so there the page shows what is recorded; where nothing is yet, the pictures prove the path, no more.
#
# > **Predict.** Along the curve from right to left a threshold rises and accepts fewer labels. For which task will the accepted labels become better the fastest? Must they become better at all?

# %%
from mtpsl.papers.hitts.discovery import draw_acceptance

found = session.figure("hitts/discovery")
alt = "For each task a curve of the quality of accepted labels over the share that is accepted."
for source, made in measured(found):
    caption = "quality of the accepted labels over how many are accepted, on withheld pixels."
    show(draw_acceptance(made.arrays), alt=alt, caption=f"{source.capitalize()}: {caption}")

# %% [markdown]
# How to read it: the right end accepts everything, the dot is the threshold that training used. A curve that improves to the left means that confidence ranks labels; a flat one, that a threshold throws labels away for nothing; one that *worsens*, that the teacher is surest where it is wrong. For segmentation the mIoU of the accepted pixels is drawn too. It may fall while accuracy rises, because a threshold that keeps walls and floors loses rare classes altogether.
#
# The dotted line is a floor: *what the true bin would give*. A discovered depth is the center of a bin, so even a perfect classifier is off by about a quarter of a bin's width. The distance between curve and dotted line is what the teacher lacks, the line itself is what 30 depth bins and 20 directions cost.

# %% tags=["nbval-ignore-output"]
for source, made in measured(found):
    for task in made.arrays["tasks"]:
        tau, coverage, quality = made.arrays[f"{task}/used"]
        everything, label = made.arrays[f"{task}/curve/quality"][0], made.arrays[f"{task}/label"]
        print(f"{source:<13} {task:<8} {label} {everything:6.2f} of all labels,", end=" ")
        print(
            f"{quality:6.2f} of the {100 * coverage:.0f} % with a truth above {tau:.3f},", end=" "
        )
        print(f"{float(made.arrays[f'{task}/floor']):6.2f} of true bins")

# %% [markdown]
# Training accepts the surer half of *all* withheld pixels. Of those that have a truth it may be a little more or less; Figure 16 in [`12b_hitts_figures`](12b_hitts_figures.ipynb) counts the others, too.
#
# Does confidence rank labels? The next cell answers with one number for each task: the share of steps along the curve, from accepting all to accepting few, at which quality gets better. Half of them would be chance.

# %% tags=["nbval-ignore-output"]
import numpy

for source, made in measured(found):
    for task in made.arrays["tasks"]:
        sign = 1 if "↑" in str(made.arrays[f"{task}/label"]) else -1
        steps = sign * numpy.diff(made.arrays[f"{task}/curve/quality"])
        better = f"{100 * (steps > 0).mean():.0f} %" if len(steps) else "no"
        print(f"{source:<13} {task:<8} {better} of {len(steps)} steps to a higher threshold help")

# %% [markdown]
# ## 3. Where labels are good
#
# A share over all pixels is mostly about walls. The next picture has the same counts by place: how far a pixel lies from the nearest boundary between classes, and which class it truly belongs to. Both are known for every pixel, also for depth and normals, and also where segmentation itself is the task that is withheld.
#
# > **Predict.** For which of the three tasks will a class boundary matter the least? And will the teacher *notice* that boundaries are harder, that is, does its confidence fall there as much as its accuracy does?

# %%
from mtpsl.papers.hitts.discovery import draw_places

alt = "For each task a line chart by distance to a class boundary, and a bar chart by class."
for source, made in measured(found):
    caption = "share of discovered labels in the true bin, and mean confidence, by place."
    show(draw_places(made.arrays), alt=alt, caption=f"{source.capitalize()}: {caption}")

# %% [markdown]
# Two lines that fall together say that confidence knows about boundaries, and then a threshold thins them out: *the second stage learns the insides of objects*. If the dashed line stays flat while the solid one falls, wrong labels at boundaries are accepted like any others. Among the classes, look for long markers on short bars: classes in which the teacher is sure and wrong.

# %% tags=["nbval-ignore-output"]
for source, made in measured(found):
    for task in made.arrays["tasks"]:
        inside = {k: made.arrays[f"{task}/distance/{k}"] for k in ("right", "confidence")}
        words = [f"{k} {v[0]:.2f} on, {v[-1]:.2f} far off" for k, v in inside.items()]
        print(f"{source:<13} {task:<8} a boundary:", "; ".join(words))

# %% tags=["nbval-ignore-output"]
for source, made in measured(found):
    names, shown = made.arrays["class_names"], {}
    for task in made.arrays["tasks"]:
        a = {k: made.arrays[f"{task}/class/{k}"] for k in ("right", "confidence", "pixels")}
        often = a["pixels"] >= 0.01 * a["pixels"].sum()
        gap = numpy.where(often, a["confidence"] - a["right"], -numpy.inf)
        shown[str(task)] = f"{names[gap.argmax()]} ({gap.max():+.2f})"
    print(f"{source:<13} too sure, of classes with one percent of the pixels or more:", shown)

# %% [markdown]
# ## 4. Calibration
#
# The picture is the reliability diagram of each task. Where a bar ends below the diagonal the teacher is too sure, where it ends above, not sure enough. Depth and normals are classified into ordered or neighboring bins, and the one next to the true bin is no great mistake, so a mark shows the share that is right *within one bin*: the next depth, or the second nearest of the directions.
#
# > **Predict.** 13 classes, 30 depths, 20 directions. Which task will have the lowest confidence throughout, even where it is good? What does that do to a threshold that is the same for all tasks?

# %%
show_figures(found, first=profile == "smoke")

# %% tags=["nbval-ignore-output"]
import pandas

lines = {}
for source, made in measured(found):
    for task in made.arrays["tasks"]:
        a = {k: made.arrays[f"{task}/reliability/{k}"] for k in ("ece", "overconfidence")}
        pixels = made.arrays[f"{task}/reliability/pixels"]
        a["none surer than"] = (numpy.flatnonzero(pixels).max() + 1) / len(pixels)
        lines[source, str(task)] = {k: round(float(v), 3) for k, v in a.items()}
show_table(pandas.DataFrame(lines).T.style.format("{:.3f}"), caption="Calibration by task.")

# %% [markdown]
# The last column answers the guess: the task whose confidence ends lowest would have no label above a threshold that suits the others. That is why each task has a threshold of its own.
#
# *The ECE is a difference of two means in each bin, so it hides what cancels inside a bin*, and it says nothing about ranking. Sections 2 and 4 are independent: a monotone change of all confidences leaves every curve of Section 2 as it is and moves every bar here. HiTTs needs the first property for a threshold that is a share, and the second for one that is a printed number.

# %% [markdown]
# ## 5. What a printed threshold accepts
#
# Appendix B of the paper prints τ: 0.9, 0.45 and 0.6 for one label per image. They are confidences of networks after 400 epochs at full size. A shorter training passes them less often, so the scaled profiles accept a *share* of the pixels instead, the more confident half. The next cell reads off the curves what the printed thresholds would have accepted of this teacher:

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.hitts.tables import THRESHOLDS

for source, made in measured(found):
    for task, tau in THRESHOLDS["one_label"].items():
        curve = {k: made.arrays[f"{task}/curve/{k}"] for k in ("threshold", "coverage")}
        share = numpy.interp(tau, curve["threshold"], curve["coverage"], right=0)
        used = made.arrays[f"{task}/used"]
        print(f"{source:<13} {task:<8} above {tau}: {100 * share:.1f} %", end="; ")
        print(f"in training above {used[0]:.3f}: {100 * used[1]:.1f} %")

# %%
from functools import partial

from mtpsl.notebook import slide
from mtpsl.papers.hitts.discovery import draw_threshold

arrays = next(iter(found.values())).arrays
thresholds = arrays["semseg/curve/threshold"]
start = min(thresholds, key=lambda tau: abs(tau - THRESHOLDS["one_label"]["semseg"]))
caption = "Segmentation as in Section 2: a diamond for this threshold, a dot for that of training."
slide(partial(draw_threshold, arrays, "semseg"), thresholds, start, caption=caption)

# %% [markdown]
# If the first share is near zero, L_p with printed thresholds would train on nothing, and its row in Table 5 would repeat the row without. *A threshold is part of a training recipe, not of a method.*

# %% [markdown]
# ## 6. A setting for shares
#
# So far each image kept one label of three. For a curve over the *number* of labels there is the setting `share`: each task keeps its label on that share of the images, drawn task by task. An image may keep everything or nothing.
#
# > **Predict.** At 1/8 with three tasks, what share of the images keeps no label at all?

# %%
from mtpsl.data.labels import assign
from mtpsl.papers.companion.tables import SHARES

TASKS = ("semseg", "depth", "normals")
drawn = {group: assign("share", 795, TASKS, share=share) for group, share in SHARES.items()}
for group, a in drawn.items():
    bare, chance = (~a.labeled.any(1)).float().mean(), (1 - SHARES[group]) ** 3
    print(f"{group:<5} {a.counts} without any: {100 * bare:.0f} % (by chance {100 * chance:.0f} %)")

# %% [markdown]
# Two decisions are hidden here. *Shares are nested*: each task has one order of the images, and a share takes its first ones, so a point further right on a curve has all labels of the one before, and more. And *tasks are independent*, as if each had been annotated by its own team. Spreading labels over as many images as possible, as `one_label` does, would change its kind along the curve: disjoint below a third, overlapping above.

# %%
groups = list(drawn)
for less, more in zip(groups, groups[1:], strict=False):
    kept = (drawn[more].labeled | ~drawn[less].labeled).all()
    print(f"{more} keeps every label of {less}: {bool(kept)}")

# %% [markdown]
# Images without any label teach the MTL baseline nothing, but HiTTs labels them in its second stage. Which images each row is shown:

# %%
from mtpsl.papers.companion.tables import LABEL_SHARE
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.profiles import get_profile

for row in LABEL_SHARE.rows:
    experiment = bind_data(get_profile(session.profile)(row.experiments[0]), session.data_root)
    seen, kept = label(experiment, open_split(experiment, "train", session), session)
    print(f"{LABEL_SHARE.in_words(row.name):<42} {len(seen)} images, labels {kept.counts}")

# %% [markdown]
# Every row is shown all images, labeled or not. In other tables the MTL baseline leaves out images without a label, as the released code of XTC does; here it would then make about a third of the steps at 1/8, and *a gain of HiTTs would be partly one of longer training*. What is left of that doubt is that the full method trains twice. Its comparison with the first stage alone has the same images, the same labels and a network that starts from scratch.

# %% [markdown]
# ## 7. The gain by share of labels
#
# Table `companion/label_share`: the MTL baseline, HiTTs (stage 1 alone) and HiTTs, stages 1 and 2 (L_p + L_f), at 1/8, 1/4, 1/2 and all of the labels. With all labels nothing is withheld, so the second stage has no pseudo labels there and keeps L_f alone, which is a distillation of the first stage's features. Δ_MTL refers to *the MTL baseline of the same share* here, over the three columns.
#
# > **Predict.** With fewer labels there is more to discover, but the teacher is worse. At which share will the gain be largest?

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import judge, verdict_text

recorded, now = session.results(LABEL_SHARE)
show_results(LABEL_SHARE, recorded, now)

# %%
session.write(LABEL_SHARE, recorded, now)

# %% [markdown]
# The next picture, as far as there are records, shows the same as curves, with one dot per seed. Read the first three panels sideways, too: *how far to the right must the baseline go to reach a method?* If HiTTs at 1/4 stands where the baseline stands at 1/2, discovery is worth twice the labels; the table's last claims ask exactly that.

# %%
from mtpsl.papers.companion.figures import draw_gains
from mtpsl.papers.companion.tables import share_gains

alt = "Line charts of three metrics and of the gain over the share of labels, one line per method."
sources = {"recorded": recorded} | ({} if profile == "smoke" else {"computed now": now})
for source, results in sources.items():
    gains = share_gains(results) if results else None
    if gains and pandas.notna(gains["values"]).any((0, 1, 3)).sum() > 1:  # at two shares at least
        caption = f"{source.capitalize()}, profile {results.profile}: over the share of labels."
        show(draw_gains(gains), alt=alt, caption=caption)
    else:
        print(f"{source}: fewer than two shares are trained, which make no curve")

# %% [markdown]
# Three comparisons answer the guess: the first stage against the baseline, share by share; both stages against the first, which says whether discovery itself adds anything; and where it does not, the quality of the accepted labels in Section 2, because a student cannot learn from a teacher that is wrong where it is sure.
#
# *What holds and what fails* is listed by the next cell, as far as it is decided; no paper prints this table. *What cannot be seen* is everything else: with one seed nothing is tested, and with several many a difference remains inconclusive.

# %% tags=["nbval-ignore-output"]
for claim, verdict in zip(LABEL_SHARE.claims, judge(LABEL_SHARE, recorded), strict=True):
    if verdict.state in ("holds", "contradicted"):
        print(f"{LABEL_SHARE.in_words(claim.text)}: {verdict_text(claim, verdict)}")
known = {entry.row for entry in recorded.current()} if recorded else ()
print(f"recorded: {len(known)} of {len(LABEL_SHARE.rows)} rows")

# %% [markdown]
# ## 8. The mixture loss, both ways
#
# The paper prints $L_i = 0.1\,L_i^{reg} + L_i^{cls}$ (Eq. 13). The code that its authors released later, for another backbone and recipe, has it the other way around, $L_i^{reg} + 0.1\,L_i^{cls}$, and multiplies both by the task's weight. Of all that the release does differently, this should matter most to depth and normals. `mixture="released"` asks for it; the rest of the network and of the recipe is that of Table 5's row HiTTs.
#
# > **Predict.** Which columns will gain when the number counts ten times as much as the bin, and can segmentation change at all?

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.companion.tables import MIXTURE

recorded, now = session.results(MIXTURE)
show_results(MIXTURE, recorded, now)

# %%
session.write(MIXTURE, recorded, now)

# %% [markdown]
# *What holds or fails* is the one sentence of the ledger, that the released mixture helps. *What cannot be seen* is whether another recipe, such as the released one, would say the same.
#
# As for the guess: segmentation is a classification alone, so its own loss is the same in both rows. It can still change, because the three tasks share a body and the balance between their losses shifts.

# %% [markdown]
# ## 9. What remains open
#
# * *The truth of a generated room is sharper than an annotator's.* Real boundaries are drawn by hand and real depth has noise, so part of what counts as wrong near a boundary there would be the annotation's own error. Compare Section 3 across data before believing its first point.
# * *Sections 2 to 5 look at one teacher and one draw of labels.* Many pixels make smooth curves, not certain ones: pixels of an image are not independent.
# * *Quality is not yet use.* A wrong label that the student would have guessed anyway teaches nothing and harms nothing; a right one that it knows is no help either. What counts is Section 7.

# %% [markdown]
# ## 10. Exercises
#
# **1.** By hand: a teacher labels 100 pixels with confidence 0.8, of which 60 are right, and 100 with confidence 0.4, of which 50 are right. ECE? Too sure or not sure enough on average? Would a threshold of 0.5 help?
#
# <details><summary>Solution</summary>
#
# Gaps 0.8 − 0.6 = +0.2 and 0.4 − 0.5 = −0.1; ECE (0.2 + 0.1) / 2 = 0.15, and on average it is too sure by (0.2 − 0.1) / 2 = 0.05. The threshold raises quality from 55 % to 60 % at half the coverage: badly calibrated, yet of some use.
# </details>
#
# **2.** Divide all logits by a temperature T > 1 before the softmax. What happens to the curves of Section 2, to the reliability diagram, and to the labels themselves?
#
# <details><summary>Solution</summary>
#
# The labels stay, since the largest logit stays the largest. Confidence falls everywhere and bars move to the left, so a T that was fitted on *labeled* pixels can repair calibration. The curves stay as they are only if the order of confidences does, and it need not: of two pixels, the one with the larger maximum can have the larger rest as well. Try it on two pixels with logits (4, 0, 0, 0) and (6, 4, −9, −9):
#
# ```python
# logits = torch.tensor([[4.0, 0, 0, 0], [6.0, 4, -9, -9]])
# for T in (1, 4):
#     print(T, (logits / T).softmax(1).max(1).values)
# ```
#
# At T = 1 the first pixel is surer, at T = 4 the second.
# </details>
#
# **3.** A mask accepts half of the withheld pixels, 90 % of them right. Overall 70 % are right. How many of the rejected ones are right? What does the second stage lose by rejecting them?
#
# <details><summary>Solution</summary>
#
# 0.7 = 0.5 · 0.9 + 0.5 · x, so x = 50 %. Half of what is thrown away was right, and it is the informative half: pixels where the teacher was in doubt. That is why a higher threshold is not simply better.
# </details>
#
# **4.** Bins are a choice. Count the reliability diagram of segmentation again with 2 and with 100 bins. Can the ECE fall when bins are split?
#
# <details><summary>Solution</summary>
#
# ```python
# from mtpsl.papers.hitts.pseudo_quality import calibration, count
# from mtpsl.runs.network import load_method
# from mtpsl.papers.hitts.tables import hitts
#
# teacher = bind_data(get_profile(session.profile)(hitts("one_label")), session.data_root)
# train, _ = label(teacher, open_split(teacher, "train", session), session)
# counts = count(load_method(teacher.with_seed(session.seed), session), train)["semseg"]
# print([round(float(calibration(counts, bins)["ece"]), 4) for bins in (1, 2, 10, 100, 1000)])
# ```
#
# It can only grow or stay: the absolute value of a sum is at most the sum of absolute values. With one bin it is the mean overconfidence; with one pixel per bin it would be the mean of |confidence − right|, which even a perfectly calibrated teacher does not bring to 0. So two ECEs can be compared only at equal bins.
# </details>
#
# **5.** To discuss: the thresholds of the paper were presumably chosen by looking at test results. With truly partial labels, how would you choose τ for a task?
#
# <details><summary>Solution</summary>
#
# Labeled pixels are the only truth there is. Hold some of them out of the first stage, draw Section 2's curve on those, and take the τ at which quality is what you are willing to train on; fit a temperature on them at the same time. On the training labels themselves the teacher is better and surer than anywhere else, so a curve on those would flatter it. The price is fewer labels for the first stage, which Section 7 puts a number on.
# </details>

# %% [markdown]
# ## Take away
#
# 1. Coverage, quality and calibration are three numbers. A threshold needs only that confidence *orders* labels; a printed threshold needs that it is calibrated, too.
# 2. Ask where labels are wrong, not only how many: at boundaries and in rare classes a mask may let wrong labels through, or leave nothing.
# 3. Quality is not yet use. Only the gain over the first stage, at equal labels and from scratch, says what discovery is worth.
#
# **Next:** [`20_xtc_method`](20_xtc_method.ipynb), the next paper, or [`90_all_tables`](90_all_tables.ipynb), all sentences on one page.
