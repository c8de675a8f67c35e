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
# # A tour: many tasks, few labels
#
# Imagine one network that looks at a photograph of a room and says, for every pixel, **what** it is (semantic segmentation), **how far** away it is (depth) and **which way** the surface faces (normals). Training it takes dense labels, and dense labels are what nobody can afford three times over. So each training image carries labels for *some* of the tasks. That is multi-task learning from **partially labeled data**, the subject of the four papers in this repository.
#
# **You will be able to** say what partially labeled data are, why a withheld label cannot leak here, what a guess scores that never looks at the image, and how to read a table of this repository. **Takes** about 30 minutes to read and one minute to run. **Read before:** nothing. **Next:** [`01_label_settings`](01_label_settings.ipynb). **Papers:** [XTC](https://arxiv.org/abs/2111.14893) (Li, Liu and Bilen, CVPR 2022), [HiTTs](https://arxiv.org/abs/2411.18823) (Zhang et al., 2024), [RDC](https://arxiv.org/abs/2403.10252) (Li et al., ECCV 2024), [TPKR](https://arxiv.org/abs/2601.07474) (Oh, Kim and Kim, AAAI 2026).
#
# 1. the problem, in one picture
# 2. the data, and what they stand in for
# 3. five ways of withholding labels
# 4. why a withheld label cannot leak
# 5. how well one does without looking at the image
# 6. a first training
# 7. a first table
# 8. exercises, with solutions
#
# Boxes that say **Predict** ask for a guess before the next cell shows the answer. Make it out loud.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import draw_predictions, setup, show, show_results, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# The parameters are checked in one place, and every notebook has the same five. `profile="smoke"` is what you see in the committed notebook: it takes seconds and proves that every step works, and **its numbers mean nothing**. `quick` takes up to three minutes for a supervised network and is what recorded results are made with; `full` is the paper's own setting, for a GPU. `data_root` is the folder of the real data; empty means the data that this package generates.

# %% [markdown]
# ## 1. The problem
#
# The picture shows six rooms with all their labels. Under the `one_label` setting a network sees the vivid label of each room and never the two pale ones.

# %%
overview = session.figure("companion/overview")["computed now"]
show(overview.figure, alt=overview.alt, caption=overview.caption)

# %% [markdown]
# Two thirds of the labels are gone, yet not two thirds of the information: the three maps of a room describe the same walls and chairs. A table top is horizontal (normals), a wall is a plane (depth), a bed has a certain height. The papers differ in how they make one task teach another:
#
# | | idea | here |
# | --- | --- | --- |
# | **STL** | one network per task, each on the images that have its label | baseline |
# | **MTL** | one shared network; tasks without a label stay silent | baseline |
# | **XTC** | predictions of different tasks must agree in a common space | [`20`](20_xtc_method.ipynb) to [`23`](23_xtc_storm.ipynb) |
# | **RDC** | a region must look alike in the maps of two tasks, and unlike other regions | [`30`](30_rdc_method.ipynb) to [`33`](33_rdc_beyond.ipynb) |
# | **HiTTs** | learned *task tokens* find labels and features for what is unlabeled | [`10`](10_hitts_method.ipynb) to [`13`](13_hitts_beyond.ipynb) |
# | **TPKR** | one learned *prototype* per task; every task asks all of them for what they know | [`40`](40_tpkr_method.ipynb) to [`43`](43_tpkr_beyond.ipynb) |

# %% [markdown]
# ## 2. The data
#
# NYUD-v2, the benchmark of these papers, cannot be downloaded automatically. The package therefore generates **rooms13**: furnished rooms, cast ray by ray, with the same tasks, the same 13 classes, and the gaps that an annotator and a depth sensor leave. It is a *stand-in*. It can show that code works and how methods compare on a problem of this kind; it cannot confirm a number printed for NYUD-v2, and every table says which data it was made from.

# %%
from mtpsl.papers.hitts.tables import mtl
from mtpsl.runs.data import bind_data, open_split
from mtpsl.runs.profiles import get_profile

paper = mtl("one_label")  # the MTL baseline with the paper's settings
experiment = bind_data(get_profile(session.profile)(paper), session.data_root)
if session.profile == "smoke":  # a little longer than that, so that there is something to see
    more = {"train_images": 48, "test_images": 16, "epochs": 10, "batch_size": 4, "lr": 3e-3}
    experiment = experiment.replace(**more)
train, test = (open_split(experiment, split, session) for split in ("train", "test"))
for name, value in (("paper", paper), (session.profile, experiment)):
    images = f"{value.train_images} + {value.test_images} images of {value.height}x{value.width}"
    print(f"{name:<6} {images}, {value.epochs} epochs")

# %% [markdown]
# An image has three color channels in [0, 1] and one map per task. Class ids are integers, depth is in meters along the optical axis, a normal is a unit vector (x right, y down, z forward). Where the annotation has a hole, `valid` is False.

# %%
clean = train.load(range(len(train)) if len(train) < 64 else range(64))
print("images", tuple(clean.images.shape), "of", train.name, "stand-in:", train.stand_in)
for task in train.tasks:
    target, valid = clean.targets[task.name], clean.valid[task.name]
    print(
        f"{task.name:<8} {tuple(target.shape)} {str(target.dtype):<13} {task.kind:<9} "
        f"{100 * (~valid).float().mean():.1f} % of pixels without"
    )

# %% [markdown]
# Image *i* of a split is a function of the generator's version, the split and *i*, and of nothing else: loading it alone or among others gives the same picture. Normals have length one wherever they are valid.

# %%
one, many = train.load([3]), train.load([5, 3, 1])
print("same image alone and in a batch:", bool((one.images[0] == many.images[1]).all()))
lengths = clean.targets["normals"].norm(dim=1, keepdim=True)[clean.valid["normals"]]
print(f"lengths of normals: {lengths.min():.3f} to {lengths.max():.3f}")

# %% [markdown]
# Your own copy of NYUD-v2, in the `.npy` layout of the released codes, takes the place of rooms13 everywhere: `make reproduce DATA=/path/to/nyuv2`. Check it first with `python -m mtpsl data check /path/to/nyuv2`.

# %% [markdown]
# ## 3. Five ways of withholding labels
#
# > **Predict.** NYUD-v2 has 795 training images, and there are three tasks. In the `one_label` setting every image keeps exactly one label. How many labels does each task keep, and how many are withheld in all?

# %%
from mtpsl.data.labels import assign

names = train.tasks.names
print(assign("one_label", 795, names).counts, "withheld:", 795 * 2)

# %% [markdown]
# The four others are these: `full` keeps every label, `random_labels` keeps one or two of three, `few_shot` keeps ten labels of one task and all of the others, and `ratio` shares one label per image unevenly among the tasks. A column is an image; colored squares are labels that stay.

# %%
settings = session.figure("companion/label_settings")["computed now"]
show(settings.figure, alt=settings.alt, caption=settings.caption)

# %% [markdown]
# Which images lose which labels depends on the setting and a label seed of its own. It does *not* depend on the seed of the training, so all rows of a table can learn from the same labels. A hash of the assignment is kept with every result.
#
# > **Predict.** Are the hashes below equal or different: `one_label` drawn twice; then with another label seed?

# %%
first, again = assign("one_label", 795, names), assign("one_label", 795, names)
other = assign("one_label", 795, names, seed=1)
print("drawn twice:", first.hash == again.hash, "| another label seed:", first.hash == other.hash)

# %% [markdown]
# ## 4. A withheld label does not exist
#
# The worst bug in this field is a leak: a method that sees, by some side door, a label it claims not to have. Here withheld labels are **overwritten** when an image is read, before anything else runs. What a method gets in their place is NaN, or class 255, which means "no class". A loss that touches such a NaN becomes NaN itself, and the training stops, as [`01_label_settings`](01_label_settings.ipynb), Section 5, shows.

# %%
from mtpsl.data.labels import PartialLabels

assignment = assign("one_label", len(train), names, seed=experiment.label_seed)
partial = PartialLabels(train, assignment)
batch = partial.load(range(2, 8))  # every task has a label among these six
for task in partial.tasks:
    print(f"{task.name:<8}", end="")
    for labeled, target in zip(batch.labeled[task.name], batch.targets[task.name], strict=True):
        gone = ((target == task.missing) | target.isnan()).all()
        print(
            "  labeled " if labeled else f"  all {task.missing}", end="" if gone != labeled else "!"
        )
    print()

# %% [markdown]
# An exclamation mark would mean a label that stands where it should not, or is gone where it should be. So what does a supervised loss make of an image whose label is withheld? It must be exactly zero, and so must its gradient.
#
# > **Predict.** For which of the same six images is the depth loss zero?

# %%
import torch

task = partial.tasks["depth"]
guess = torch.full_like(batch.targets[task.name], 2.5).requires_grad_()
losses = task.loss(guess, batch.targets[task.name], batch.mask(task.name))
(gradient,) = torch.autograd.grad(losses.sum(), guess)
print("loss     ", [f"{value:.2f}" for value in losses.tolist()])
print("gradient ", [bool(g.abs().sum() > 0) for g in gradient])
print("labeled  ", batch.labeled[task.name].tolist())

# %% [markdown]
# ## 5. How well can one do with closed eyes?
#
# Before anything is trained, what does a "network" get that never looks at its image? It always answers with the most frequent class, the median depth and the mean normal of the labeled training pixels. Every number below has to be read against it.
#
# > **Predict.** With 13 classes, one of them (wall) on roughly a third of the pixels: what mIoU does "everything is wall" get? Higher or lower than 1/13?

# %% tags=["nbval-ignore-output"]
from mtpsl.data.dataset import EvalLoader
from mtpsl.report.floors import score_guesses
from mtpsl.report.render import headline_cells

rows = score_guesses(partial, EvalLoader(test, 8))
for name, metrics in rows.items():
    print(f"{name:<16}", headline_cells(metrics, train.tasks))

# %% [markdown]
# Lower than 1/13: the wall's own IoU is its share of the pixels, about a third, the other twelve classes have zero, and the mean over classes is a thirteenth of that third. Depth and normals are kinder to a guess, because an answer there can be nearly right.
#
# The second line is a better guess, and it does not look either: at every *position* it answers what the labeled training maps usually have there, ceiling above and floor below. Both guesses stand as **floors** below the recorded tables of this repository, and a cell that is no better than one of them is marked.

# %% [markdown]
# ## 6. A first training
#
# An experiment is a *value*: it holds everything that decides a number and nothing else. Its key, a hash of that content, names the folder of the run. Asking again for what has been run costs nothing.

# %%
from mtpsl.runs.run import run

changes = {"one label": {}, "all labels": {"label_setting": "full"}}
experiments = {k: experiment.replace(seed=session.seed, **v) for k, v in changes.items()}
records = {k: run(e, session) for k, e in experiments.items()}
again = run(experiments["one label"], session)
print("trained again:", again.environment["date"] != records["one label"].environment["date"])

# %% [markdown]
# Both networks are SegNets with three heads. The two experiments differ in their label setting and in nothing else, the seed included. The training loop knows neither the method nor the tasks; it minimizes the sum of the *terms* that the method returns, and keeps a record of each.

# %% tags=["nbval-ignore-output"]
for name, record in records.items():
    terms = [{k: round(v, 1) for k, v in e["terms"].items()} for e in record.history]
    print(f"{name}: labels {record.labels['counts']}")
    print(f"  first epoch {terms[0]}\n  last epoch  {terms[-1]}")

# %%
for name, record in records.items():
    first, last = (record.history[epoch]["terms"] for epoch in (0, -1))
    print(f"{name}: every term has fallen:", all(last[task] < first[task] for task in first))

# %% [markdown]
# > **Predict.** The terms of `one label` are about a third of those of `all labels`, from the first epoch on. Is that network three times better?
#
# No: a withheld label adds exactly zero to the sum (Section 4), and the sum is divided by *all* images of the batch, as in the authors' code of XTC. Losses of different label settings cannot be compared; metrics on the test images can.

# %% tags=["nbval-ignore-output"]
import pandas

rows |= {f"MTL, {name}": record.metrics["test"] for name, record in records.items()}
lines = {name: headline_cells(metrics, train.tasks) for name, metrics in rows.items()}
show_table(pandas.DataFrame(lines).T, caption=f"Test images, profile {session.profile}.")

# %% [markdown]
# Compare each network with the guesses first, and only then with the other network. At `smoke` both have made 120 steps, which is very few: where a cell is no better than a guess, the network has not yet learned to use the image for that task, and which of the two rows is ahead means nothing. A column in which one label is ahead of all labels says nothing, either. What one label per image really loses against all labels is the gap that the papers try to close; the recorded table of Section 7 shows it, in the rows "MTL baseline" and "MTL, full labels".
#
# > **Predict.** What does such a network learn first: colors, shapes, or where in the picture things usually are?

# %% [markdown]
# Rows are test images from all over the split, which nobody has picked. The lines below the picture say on how many of their pixels the class maps of the first two rooms agree.

# %%
from mtpsl.report.arrays import FigureInputs, qualitative
from mtpsl.runs.network import load_method

methods = {k: load_method(e, session) for k, e in experiments.items()}
arrays = qualitative(FigureInputs(methods=methods, test=test, device=session.device))
columns = [("truth", "ground truth"), *((name, name) for name in experiments)]
sheet = draw_predictions(arrays, columns)
alt = (
    "Room images with true and predicted maps of two networks: with one label per image, with all."
)
show(sheet.figure, alt=alt)

# %%
agree = {
    role: (arrays[f"semseg/{role}"][0] == arrays[f"semseg/{role}"][1]).mean() for role, _ in columns
}
print(f"ground truth: two rooms agree on {100 * agree['truth']:.0f} % of their pixels")
for name in experiments:
    print(f"{name}: on at least half as many again:", agree[name] > 1.5 * agree["truth"])

# %% [markdown]
# It learns mostly the third: the predicted maps of two rooms resemble each other far more than the rooms do, as those of the position lookup would. What such a network knows and a guess does not shows where a patch follows the image, as on the bright windows.
#
# ## 7. A first table
#
# Here is HiTTs' Table 1. Read a row from top to bottom: what the paper prints (on NYUD-v2), what was **recorded** with this package at profile `quick`, and what was **computed now**, at this notebook's profile. The three are never mixed, and at `smoke`, whose numbers mean nothing, the third is left out. Recorded floors stand at the end, with the **ceiling**: the MTL baseline with every label. What the paper says in words is kept as sentences that numbers can decide.

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.hitts.tables import TABLE1

recorded, computed = session.results(TABLE1, train=profile != "smoke")
show_results(TABLE1, recorded, computed)

# %% [markdown]
# There are two things to notice. **"HiTTs, stages 1 and 2" is two trainings** (the paper calls the row "Ours"): the first network is frozen and labels what is unlabeled, and the second starts from scratch and learns from both kinds of labels. The thresholds below, which are the paper's, decide which pixels are sure enough to become labels; the small profiles take the more confident half of the pixels instead.
#
# And **one seed decides nothing**. Unfold the ledger: it has a line for each sentence of the paper that compares two rows. A sentence *holds* or is *contradicted* where its gain, over all its metrics together, is beyond chance; it is *inconclusive* where chance could explain it, *not tested* with fewer than two seeds, and *below floor* where a row is no better than a guess.

# %% tags=["nbval-ignore-output"]
ours = TABLE1.row("one-label/Ours").experiments[0]
print("teacher:", ours.teacher.method, dict(ours.teacher.method_args))
print("student:", ours.method, dict(ours.method_args), "thresholds", dict(ours.thresholds))
print("seeds recorded:", len(recorded.of("one-label/Ours")) if recorded else 0)

# %% [markdown]
# [`11_hitts_tables`](11_hitts_tables.ipynb) says how to read a table to the end, Δ_MTL included; [`10_hitts_method`](10_hitts_method.ipynb) takes the method apart, equation by equation; [`12_hitts_figures`](12_hitts_figures.ipynb) looks inside the tokens.

# %% [markdown]
# ## 8. Exercises
#
# **1.** `assign("ratio", 795, names, ratio="1:1:8")` gives normals most of the labels. How many does each task get, and why do the shares come out exactly?
#
# <details><summary>Solution</summary>
#
# Shares of 795 in the ratio 1 : 1 : 8 are 79.5, 79.5 and 636. Whole numbers come from rounding down and giving what is left to the largest remainders: 80, 79 and 636, in the order of the tasks. The assignment draws *which* images get a label at random, never *how many*.
#
# ```python
# assign("ratio", 795, names, ratio="1:1:8").counts
# ```
# </details>
#
# **2.** In `random_labels` an image keeps one or two of three labels. About how many of 795 × 3 labels stay? Compare with `one_label`.
#
# <details><summary>Solution</summary>
#
# Half of the images keep one label and half keep two, so about 1.5 × 795 ≈ 1192 labels stay, against 795. Each task gets about 397, half of the images.
#
# ```python
# assign("random_labels", 795, names).counts
# ```
# </details>
#
# **3.** Why is a withheld depth map filled with NaN and not with 0? The loss would ignore it either way.
#
# <details><summary>Solution</summary>
#
# Because the mistake to guard against is code that forgets to ignore it. A zero is a legal number: a forgotten mask would train the network towards depth 0, quietly. NaN spreads to the loss, and the engine stops with the term, the step and the images by name. The same thought puts 255, which is no class, into withheld class maps.
# </details>
#
# **4.** Write a loss with a leak and watch it fail: average the L1 error over *all* pixels of `batch.targets["depth"]`. Then "mend" it with `torch.where(mask, error, 0)` and look at the gradient of `guess` where the label is withheld, once with `error = (guess - target).abs()` and once with `error = (guess - target).square().sqrt()`.
#
# <details><summary>Solution</summary>
#
# The plain mean is NaN. `where` after the arithmetic mends the *value* only: the gradient of the branch not taken is 0 times the derivative at NaN. With `abs` it happens to be 0, because PyTorch takes the derivative of |NaN| for 0; with the root, which is the same function, it is NaN. Do not live on such luck: fill the target first, then compute:
#
# ```python
# target, mask = batch.targets["depth"], batch.mask("depth")
# for error in ((guess - target).abs(), (guess - target).square().sqrt()):
#     loss = torch.where(mask, error, 0).mean()
#     print(torch.autograd.grad(loss, guess)[0].isnan().any())  # False, then True
# error = (guess - target.masked_fill(~mask, 0)).abs() * mask  # as in mtpsl.losses
# print(torch.autograd.grad(error.mean(), guess)[0].isnan().any())  # False
# ```
# </details>
#
# **5.** To discuss: the label assignment is fixed while the training seed varies. What would be wrong with varying both, and what is wrong with fixing one?
#
# <details><summary>Solution</summary>
#
# Varying both mixes two sources of spread, and methods would be compared on different labels unless the pairing is kept. Fixing the labels compares methods on the same problem, which needs fewer seeds, but the spread then says nothing about *other* label assignments: the conclusion holds for this draw. The authors publish one draw and everyone uses it, so the whole field shares that limit.
# </details>

# %% [markdown]
# ## Take away
#
# 1. Partial labels are simulated by withholding, so the truth stays available for measuring, and only for measuring: what is withheld is overwritten before a method sees the image.
# 2. Read every number against a floor: a guess that never looks at the image already scores something.
# 3. Keep *paper*, *recorded* and *computed now* apart, and ask how many seeds a difference rests on.
#
# **Next:** [`01_label_settings`](01_label_settings.ipynb), which labels are withheld and what that does to a comparison.
