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
# # Label settings: what is withheld, and what that does to a comparison
#
# **You will be able to** name the five label settings and count what they leave, find a leak that a mask hides, and say which average a Δ_MTL is. **Takes** about 35 minutes to read. **Read before:** [`00_tour`](00_tour.ipynb) (previous). **Next:** [`10_hitts_method`](10_hitts_method.ipynb), or [`20_xtc_method`](20_xtc_method.ipynb), the paper that posed the problem. **Papers:** [XTC](https://arxiv.org/abs/2111.14893), Section 4.1, and [HiTTs](https://arxiv.org/abs/2411.18823), Section 4.1.
#
# Every table of this repository is about learning from labels that are not all there. Before asking which method does that best, this notebook asks three plainer questions. *Which labels are there?* *What keeps a method from seeing the others?* *And when two methods differ, which number says so?*
#
# 1. five settings, drawn
# 2. balance: why labels are not left to coin flips
# 3. seeds: what varies between two runs, and what must not
# 4. labels that an image cannot carry: people
# 5. why withheld labels are overwritten: a leak that a mask hides
# 6. Δ_MTL: one table, three averages, two verdicts
# 7. exercises, with solutions

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import draw_predictions, setup, show, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## 1. Five settings
#
# | setting | an image keeps | in the papers |
# | --- | --- | --- |
# | `full` | every label | the upper end of a table |
# | `one_label` | one label | "one" [XTC], "One-Label" [HiTTs] |
# | `random_labels` | 1 to K−1 of its K labels | "random" [XTC], "Random-Labels" [HiTTs] |
# | `few_shot` | all labels but one task's, which only ten images keep | [HiTTs, Table 7] |
# | `ratio` | one label, shared unevenly among the tasks | "1:9" and "9:1" [XTC, Table 4] |
#
# (A sixth, `share`, is in none of the papers: each task keeps its label on a share of the images. [`13_hitts_beyond`](13_hitts_beyond.ipynb) draws curves over it.)
#
# > **Predict.** With 795 images and three tasks there are 2385 labels. How many of them does each setting leave? Which setting leaves the fewest labels, and which the fewest to *one* task?

# %%
import pandas

from mtpsl.data.labels import assign

TASKS = ("semseg", "depth", "normals")
asked = {"full": {}, "one_label": {}, "random_labels": {}, "few_shot": {"task": "semseg"}}
asked["ratio"] = {"ratio": "1:1:8"}
drawn = {name: assign(name, 795, TASKS, **args) for name, args in asked.items()}
lines = {name: a.counts | {"labels": int(a.labeled.sum())} for name, a in drawn.items()}
show_table(pandas.DataFrame(lines).T, caption="How many of 795 images keep each label.")

# %% [markdown]
# One-label and this ratio leave a third of the labels; few-shot leaves the fewest to one task. In the picture each column is an image, each row a task. One-label has a single colored square in a column, random-labels has one or two; few-shot is full but for one row. Only the first images fit into the picture, and at the right stands how many of all 795 keep each label: of the ten labels in that one row you see few or none.

# %%
settings = session.figure("companion/label_settings")["computed now"]
show(settings.figure, alt=settings.alt, caption=settings.caption)

# %% [markdown]
# *Few labels and few labels of one task are different problems.* In `one_label` every task suffers alike. In `few_shot` two tasks have all they need, and the question is whether they can carry the third. `ratio` lies between: still one label per image, but a task may have a tenth of them.

# %% [markdown]
# ## 2. Balance
#
# "At random" could mean that every image flips a coin. Here it does not: the setting fixes how *many* labels a task keeps, and chance decides only *which* images keep them. In `random_labels` even the patterns are counted out.
#
# > **Predict.** Had each of the 795 images drawn one of three tasks independently, how far apart would the largest and the smallest count typically be: 3, 30 or 300?

# %%
import torch

dice = torch.Generator().manual_seed(session.seed)
flips = torch.randint(3, (1000, 795), generator=dice)
counts = torch.stack([(flips == task).sum(1) for task in range(3)], dim=1)  # (1000, 3)
apart = (counts.max(1).values - counts.min(1).values).float()
print(f"coin flips: {apart.mean():.0f} apart on average, up to {apart.max():.0f} in 1000 draws")
print("counted out:", drawn["one_label"].counts)

# %%
patterns = pandas.DataFrame(drawn["random_labels"].labeled.numpy(), columns=TASKS)
keeps = patterns.apply(lambda row: " + ".join(row.index[row]), axis=1)
print(keeps.value_counts().sort_index().to_string())

# %% [markdown]
# Half of the images keep one label, half keep two, and each of the six patterns is as frequent as the others of its size. Uneven counts would not be *wrong*, but they would favor one task by luck, in all rows of a table at once, where no number of training seeds shows it.
#
# The same holds for shares that do not divide: whole numbers come from rounding down and giving what is left to the largest remainders.

# %%
for ratio in ("1:9", "9:1", "1:2"):
    print(ratio, assign("ratio", 2975, ("semseg", "depth"), ratio=ratio).counts)

# %% [markdown]
# The first two lines are the blocks of [XTC, Table 4] at the size of Cityscapes: at 1:9 segmentation keeps its label on a tenth of the images.

# %% [markdown]
# ## 3. Seeds
#
# An experiment has two seeds. `seed` draws initial weights, the order of images and their augmentation; `label_seed` draws which labels are kept. *Within a table the label seed never changes*, so every row and every training seed learns from the same labels.
#
# > **Predict.** On what share of the images do two one-label assignments with different label seeds keep the same label?

# %%
one, other = (assign("one_label", 795, TASKS, seed=s) for s in (0, 1))
same = (one.labeled == other.labeled).all(dim=1).float().mean()
print("hashes", one.hash, other.hash)
print(f"the same label on {100 * same:.0f} % of the images")

# %% [markdown]
# About a third, which is what chance alone gives: another label seed is another problem, and a method may look better on one of them by luck. The hash tells two assignments apart. It depends on the content alone and is stored with each run: compare two numbers only if their hashes agree.
#
# A single-task network takes its *column* of the common assignment, not an assignment of its own. Images without its label teach it nothing and are left out.

# %%
from mtpsl.data.labels import PartialLabels
from mtpsl.papers.xtc.tables import TABLE2
from mtpsl.runs.data import bind_data, open_split
from mtpsl.runs.profiles import get_profile

row = TABLE2.row("one/Supervised Learning").experiments[0]
experiment = bind_data(get_profile(session.profile)(row), session.data_root)
train = open_split(experiment, "train", session)
kept = assign("one_label", len(train), train.tasks.names)
for task in train.tasks.names:
    single = PartialLabels(train, kept.select((task,)), drop_unlabeled=True)
    print(f"{task:<8} {len(single)} of {len(train)} images")

# %% [markdown]
# ## 4. Labels that an image cannot carry
#
# So far each image could have had each label. On PASCAL-Context it is not so: *human parts* are annotated where there are humans, on about three images of ten. Its stand-in **people21** does the same: it has five tasks, and the parts are void wherever nobody is in sight. Normals are missing on some classes (gray in the picture), as in the real set.

# %%
from mtpsl.data import open_dataset
from mtpsl.report.arrays import describe, picture, shown

people = open_dataset("people21", "train", height=64, width=64, images=100)
able = people.carries("human_parts")
everything = people.load(range(len(people)))
parts = everything.targets["human_parts"]  # (100, 1, H, W), 0 where no part is, 255 where void
largest = ((parts > 0) & (parts < 255)).sum((1, 2, 3)).argsort(descending=True, stable=True)
rows = [*largest[:2].tolist(), *(~able).nonzero().flatten()[:2].tolist()]
print(f"{int(able.sum())} of {len(people)} images can carry human parts")

# %%
arrays = describe(people.tasks) | {"images": picture(everything.images)[rows]}
for task in people.tasks:
    maps, valid = everything.targets[task.name], everything.valid[task.name]
    arrays[f"{task.name}/truth"] = shown(task, maps[rows], valid[rows])
sheet = draw_predictions(arrays, [("truth", "label")])
alt = "Four generated pictures with five label maps each; the two without people lack human parts."
show(
    sheet.figure,
    alt=alt,
    caption="The two images of 100 that show most of a person, two without anybody, and all their labels.",
)

# %% [markdown]
# > **Predict.** If `one_label` ignored that and gave every task a fifth of the images, what share of the labels for human parts would hold nothing?

# %%
names = people.tasks.names
blind = assign("one_label", len(people), names)
aware = assign("one_label", len(people), names, carries={"human_parts": able})
for word, a in (("blind", blind), ("aware", aware)):
    given = a.labeled[:, names.index("human_parts")]
    print(f"{word}: human_parts on {int(given.sum())} images, {int((given & ~able).sum())} empty")
    print("      ", a.counts)

# %% [markdown]
# Blindly drawn, about half of them would be empty, and on the real set two thirds: those images would have no label at all, although the table says "one". So an assignment asks the data set what an image can carry (`Dataset.carries`), and images with the fewest options choose first. As long as enough images are able, all shares stay equal.
#
# With random labels they cannot: an image that can carry all five labels keeps each of them about every second time, so a task that half of the images can carry is kept on a quarter, where the others are kept on half.

# %%
for setting in ("one_label", "random_labels"):
    a = assign(setting, len(people), names, carries={n: people.carries(n) for n in names})
    print(f"{setting:<14} {a.labeled.sum() / len(people):.2f} labels per image", a.counts)

# %% [markdown]
# [XTC, Sec. 4.1] says that one-label has "60% less labels" than random-labels on PASCAL-Context. That is the share of the *setting*, 1 against 2.5. The files that the authors released have fewer labels in the random setting, for the reason above. The audit keeps that as an erratum:

# %%
from mtpsl.papers.xtc.printed import audit

(erratum,) = (e for e in audit().errata if e.where == "Sec. 4.1")
print(erratum.what, erratum.evidence, sep="\n")

# %% [markdown]
# ## 5. Why withheld labels are overwritten
#
# The usual way to withhold a label is to leave it in the batch and to multiply its loss by zero. Everything is computed, nothing counts. What could go wrong?
#
# Below is a depth loss that somebody might write in good faith. Depths are divided by the largest one of the batch, to be at most 1. The mask is applied with care: not a pixel without a label enters the sum.


# %%
def scaled_l1(guess, target, mask):
    error = (guess - target / target.max()).masked_fill(~mask, 0).abs()
    return error.sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)


# %% [markdown]
# > **Predict.** On a batch whose withheld labels are still there, behind the mask: is the loss finite? Do withheld images get a gradient? Would a test of either find the leak?

# %%
complete = train.load(range(6))  # every label, as if withholding were only a mask
partial = PartialLabels(train, kept).load(range(6))
depth = torch.where(complete.valid["depth"], complete.targets["depth"], 0.0)  # holes are no leak
mask = partial.mask("depth")
guess = torch.full_like(depth, 0.5).requires_grad_()
loss = scaled_l1(guess, depth, mask)
(gradient,) = torch.autograd.grad(loss.sum(), guess)
print("labeled ", partial.labeled["depth"].tolist())
print("gradient", [bool(g.any()) for g in gradient])
print("finite  ", bool(loss.isfinite().all()))

# %% [markdown]
# Both tests pass: the loss is finite, and no withheld image gets a gradient. Yet the scale came from *all* labels. There is one way to see it: change a withheld label and look whether the loss moves.

# %%
withheld = ~partial.labeled["depth"].view(-1, 1, 1, 1)
changed = torch.where(withheld, 3 * depth, depth)
with torch.no_grad():
    before, after = scaled_l1(guess, depth, mask), scaled_l1(guess, changed, mask)
print("before", [f"{value:.3f}" for value in before.tolist()])
print("after ", [f"{value:.3f}" for value in after.tolist()])
print("the loss knows withheld labels:", not torch.equal(before, after))

# %% [markdown]
# Nobody runs that test on each line of each method. So the labels are not there to be found: `PartialLabels` overwrites what is withheld with NaN, or with class 255, before anything else sees the image. Here is the same loss on the same images:

# %%
with torch.no_grad():
    print("overwritten", scaled_l1(guess, partial.targets["depth"], mask).tolist())

# %% [markdown]
# The leak has become an error, in every image that counts and at the first step. With this loss in a training run, the engine says where to look:

# %%
from dataclasses import replace

from mtpsl import engine
from mtpsl.data.dataset import TrainLoader
from mtpsl.papers import build_method
from mtpsl.tasks import TaskSet

leaky = TaskSet((replace(train.tasks["depth"], loss=scaled_l1),))
method = build_method("supervised", leaky, width_factor=0.125)
loader = TrainLoader(PartialLabels(train, kept.select(("depth",))), batch_size=6, seed=0)
try:
    engine.fit(method, loader, epochs=1, lr=1e-3, progress=False)
except engine.NonFiniteLoss as error:
    print(error)

# %% [markdown]
# Class ids cannot be NaN, but 255 raises an error wherever ids are used as indices. The mapping network of XTC wants one-hot labels; somebody who forgets that some are withheld gets this:

# %%
try:
    torch.nn.functional.one_hot(partial.targets["semseg"], train.tasks["semseg"].channels)
except RuntimeError as error:
    print(error)

# %% [markdown]
# *What this does not protect against.* `torch.nanmedian`, or replacing NaN by zero "to be safe", silences the alarm. Neither is forbidden; where the package fills in values (`losses.l1` does), it fills where the mask says so, never wherever a NaN is.
#
# A correct version of the loss takes the scale from labeled pixels alone:


# %%
def honest_l1(guess, target, mask):
    target = target.masked_fill(~mask, 0)
    error = (guess - target / target.max()).masked_fill(~mask, 0).abs()
    return error.sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)


with torch.no_grad():
    values = [honest_l1(guess, t, mask) for t in (depth, changed, partial.targets["depth"])]
print("the same three times:", all(torch.equal(v, values[0]) for v in values))

# %% [markdown]
# ## 6. Δ_MTL: which number says so?
#
# Tasks have different units, so tables end with one relative number: the mean gain over single-task networks (STL). *Mean over what?* Three conventions are in use, and papers seldom say which is theirs:
#
# | convention | every ... counts once | used by |
# | --- | --- | --- |
# | `metrics` | metric | [HiTTs]: reproduces each of its printed Δ_MTL |
# | `tasks` | task, by the mean of its metrics | LibMTL |
# | `headline` | task, by one metric | [XTC]'s line of work |
#
# > **Predict.** On NYUD-v2 a table has nine metrics: two for segmentation, two for depth, five for normals. The MTL baseline is better than STL on the first two tasks and worse on normals. In which convention does it look worst?

# %%
from mtpsl.metrics import delta_mtl
from mtpsl.papers.hitts import printed as hitts_printed
from mtpsl.papers.xtc import printed as xtc_printed

AVERAGES = ("metrics", "tasks", "headline")
columns = (*hitts_printed.NYUD_HEADLINES[:3], *xtc_printed.PASCAL)
HEADLINES = dict(column.split("/") for column in columns)


def deltas(cells, single):
    how = {"headlines": HEADLINES}
    return {a: round(100 * delta_mtl(cells, single, average=a, **how), 2) for a in AVERAGES}


table = hitts_printed.TABLE1
lines = {row: deltas(table.metrics(row), table.metrics(table.reference(row))) for row in table.rows}
show_table(pandas.DataFrame(lines).T.style.format("{:+.2f}"), caption=table.source)

# %% [markdown]
# Look at "random-labels/MTL baseline". By the paper's average, training the tasks together *hurts*; when tasks count once, it *helps*. The cells are the same. Such reversals, in all tables of [HiTTs] whose rows have several metrics per task:

# %%
from itertools import combinations

tables = (hitts_printed.TABLE1, hitts_printed.TABLE3, hitts_printed.TABLE5)
for table in tables:
    for row in table.rows:
        found = deltas(table.metrics(row), table.metrics(table.reference(row)))
        if min(found.values()) < 0 < max(found.values()):
            print(f"{table.source} {row}: better or worse than STL? {found}")

# %%
for table in tables:
    rows = [row for row in table.rows if table.reference(row) != row]
    for one, other in combinations(rows, 2):
        if table.reference(one) == table.reference(other):
            single = table.metrics(table.reference(one))
            a, b = (deltas(table.metrics(row), single) for row in (one, other))
            signs = {name: a[name] > b[name] for name in AVERAGES}
            if len(set(signs.values())) > 1:
                print(f"{table.source} {one} above {other}? {signs}")

# %% [markdown]
# The second line is the one to remember: by metrics, HiTTs without orthogonal embeddings is better than the MTL baseline; by tasks, it is worse. *No verdict on the paper's own method changes*: HiTTs ("Ours" in print) leads in every convention.

# %%
for table in (hitts_printed.TABLE1, hitts_printed.TABLE3):
    for group in {row.split("/")[0]: None for row in table.rows}:
        rows = [row for row in table.rows if row.startswith(f"{group}/")]
        single = table.metrics(f"{group}/STL")
        found = {row.split("/")[1]: deltas(table.metrics(row), single) for row in rows}
        best = {a: max(found, key=lambda row: found[row][a]) for a in AVERAGES}
        print(f"{table.source} {group}: first {best}")

# %% [markdown]
# ### Where a task has one metric
#
# [XTC, Table 5] has three tasks with a metric each, so the three conventions must agree. The verdict still hangs on two choices: *which tasks count*, and *against what*.
#
# > **Predict.** STL is very good at normals in this table. Leave normals out: how many of the multi-task rows are now better than STL?

# %%
table = xtc_printed.TABLE5
single = table.metrics("STL")
without = {k: v for k, v in single.items() if not k.startswith("normals")}
lines = {
    row: deltas(table.metrics(row), single)
    | {"no normals": deltas(table.metrics(row), without)["tasks"]}
    for row in table.rows
}
show_table(pandas.DataFrame(lines).T.style.format("{:+.2f}"), caption=table.source)

# %%
for name in ("tasks", "no normals"):
    worse = [row for row in lines if lines[row][name] < 0]
    print(f"{name:<10} worse than STL: {worse or 'none'}")

# %% [markdown]
# The second choice is what to compare with. XTC trained with one label per image can be measured against STL with *all* labels and against STL with *one* label. The cells for both are printed, those of the second by [HiTTs]. Both are fair questions, "what does it cost to withhold labels?" and "what does sharing gain when labels are withheld?", but one number cannot answer both.
#
# There is a trap on the way. [XTC] prints no STL row for one label, [HiTTs] does, and it is tempting to divide one paper's XTC by the other's STL. But they train differently, 200 epochs with batches of 2 against 400 with batches of 8, and the better trained STL eats more than half of the gain. A relative number needs both of its sides from one protocol.

# %%
ours, theirs = xtc_printed.TABLE2.metrics("one/Ours"), hitts_printed.TABLE1.metrics("one-label/XTC")
one_label = hitts_printed.TABLE1.metrics("one-label/STL")
print("[XTC] against its STL with all labels:    ", deltas(ours, single)["tasks"])
print("[HiTTs]' XTC against its STL, one label:  ", deltas(theirs, one_label)["headline"])
print("the trap, [XTC] against the STL of [HiTTs]:", deltas(ours, one_label)["headline"])

# %% [markdown]
# ### What this package does
#
# Tables print Δ_MTL by `metrics`, because that reproduces the printed ones, against STL of the same block, source and seed. `delta_mtl` computes the other two as well. If a verdict of yours depends on the convention, say so, or better: show the columns.

# %% [markdown]
# ## 7. Exercises
#
# **1.** Draw `few_shot` for depth with 10 shots, and again with 20. Are the ten images among the twenty? Is that a virtue?
#
# <details><summary>Solution</summary>
#
# ```python
# ten, twenty = (assign("few_shot", 795, TASKS, task="depth", shots=n).labeled[:, 1] for n in (10, 20))
# print(bool((twenty | ~ten).all()))  # True
# ```
#
# They are: the images are the first of one permutation that depends on the seed alone. So a curve over the number of shots adds labels instead of exchanging them, and has less noise.
# </details>
#
# **2.** In Section 2 each pattern of `random_labels` is counted out. With K = 5 tasks, how many patterns are there, and how many labels does an image keep on average?
#
# <details><summary>Solution</summary>
#
# 5 + 10 + 10 + 5 = 30 patterns of 1 to 4 labels. Each *number* of labels is as frequent as the others, so the mean is (1 + 2 + 3 + 4) / 4 = 2.5, and within a number each pattern is as frequent: those of one label are 1/20 of the images each, those of two 1/40.
# </details>
#
# **3.** The loss of Section 5 leaks through a maximum. Find three other operations, common in such methods, through which a masked label can leak.
#
# <details><summary>Solution</summary>
#
# Anything that mixes images or pixels before the mask: BatchNorm over a batch of *label* maps (the mapping network of XTC has that; here unlabeled ones never enter the pass); statistics for normalizing a task, such as mean depth or class frequencies for a weighted loss; choosing images by their labels, as negative pairs or in a sampler; resizing or warping a label map bilinearly, which mixes neighbors at the border of the mask; a choice of thresholds or of the epoch by labels that should not exist.
# </details>
#
# **4.** Pixel accuracy can be written as a share that is right or as a share that is wrong. Take segmentation of the MTL baseline in [HiTTs, Table 1], one-label, and compute the relative gain over STL both ways.
#
# <details><summary>Solution</summary>
#
# ```python
# table = hitts_printed.TABLE1
# stl, mtl = (table.cell(f"one-label/{row}", "semseg/pixel_acc") for row in ("STL", "MTL baseline"))
# print((mtl - stl) / stl, ((100 - stl) - (100 - mtl)) / (100 - stl))
# ```
#
# +5.1 % and +6.3 %. The same pixels, another number: relative gains depend on where zero is. Near a share of 100 % or of 0 % the two differ by any factor.
# </details>
#
# **5.** To discuss: the papers of this field publish *one* file with the labels that are kept, and everyone uses it. What does that make easier, and what can nobody know as a result?
#
# <details><summary>Solution</summary>
#
# Comparisons have less noise: all methods see the same labels, and numbers can be taken from a table of another paper. But each difference is conditional on that draw. Whether a method wins on *another* third of the labels is never measured, and a method that was tuned on this draw for years may well have learned it by heart.
# </details>

# %% [markdown]
# ## Take away
#
# 1. A setting fixes *how many* labels each task keeps; chance, with a seed of its own, decides only *which* images keep them. Compare two numbers only if the hashes of their assignments agree.
# 2. A mask is no protection: statistics over a batch leak withheld labels without a gradient or a NaN to show for it. Overwriting them turns the leak into an error.
# 3. Δ_MTL is an average, and the convention can turn its sign. Name yours, and look at the columns.
#
# **Next:** [`10_hitts_method`](10_hitts_method.ipynb), HiTTs equation by equation.
