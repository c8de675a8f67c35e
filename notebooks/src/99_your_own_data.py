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
# # Your own data: from a folder of photographs to predictions
#
# **You will be able to** take a folder of your own photographs, with whatever labels you have, to a trained network and to saved predictions. **Takes** about 20 minutes to read. **Read before:** [`00_tour`](00_tour.ipynb), which introduces tasks, label settings and methods. **Previous:** [`90_all_tables`](90_all_tables.ipynb); this page is the last one. **Papers:** the methods are taken apart in [`10_hitts_method`](10_hitts_method.ipynb) ([HiTTs](https://arxiv.org/abs/2411.18823)) and [`20_xtc_method`](20_xtc_method.ipynb) ([XTC](https://arxiv.org/abs/2111.14893)).
#
# You have photographs, and labels for *some* of them: classes on these, depth on those, nothing on the rest. There is one rule to remember: **a missing file is a missing label**.
#
# 1. the layout, in a dozen lines
# 2. a folder to try it on
# 3. have it checked before anything else
# 4. what a missing file means
# 5. train
# 6. predict a folder of pictures
# 7. what you are told when something is wrong
# 8. the same on the command line
# 9. three take-aways
# 10. exercises, with solutions

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show, show_table

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# Set `data_root` to your folder and run everything again: the cells below then work on your images instead of the generated ones. (A folder of another data set, which has no `mtpsl.toml`, changes nothing here.)
#
# ## 1. The layout
#
# ```text
# mtpsl.toml                which tasks there are, see below
# train/image/<name>.jpg    photographs, .png or .jpg, of any size
# train/semseg/<name>.png   class ids as 8-bit gray or palette, 255 where there is no class
# train/depth/<name>.png    16 bits, millimeters, 0 where there is none; or .npy, in meters
# train/normals/<name>.npy  (height, width, 3): x right, y down, z forward, zeros where there are none
# train/human_parts/...     class ids: 0 background, head, torso, upper and lower arm, upper and lower leg
# train/saliency/...        0 no, 255 yes, 128 unknown
# train/edges/...           the same
# test/image/<name>.jpg     what is measured; labels as in train
# ```
#
# You need the folders of *your* tasks only. A label has the name of its image and its size; any of them may be a `.png` or a `.npy` file. `mtpsl.toml` names the tasks, one heading each, and what cannot be seen in the files: the names of your classes in the order of their ids.
#
# ```toml
# [semseg]
# classes = ["wall", "floor", "chair"]
#
# [depth]
# ```
#
# | setting | of | means | without it |
# | --- | --- | --- | --- |
# | `classes` | `[semseg]` | the names of ids 0, 1, 2, ... | required |
# | `png_scale` | `[depth]` | what one step of a 16-bit picture is worth | 0.001, millimeters |
# | `inverse` | `[depth]` | `true`: a disparity, or one over the depth | `false`, meters |
# | `axes` | `[normals]` | what the three channels hold, such as `["x", "-y", "-z"]` | `["x", "y", "z"]` |
# | `threshold` | `[saliency]`, `[edges]` | shades of gray from it on are yes | only 0, 128 and 255 are allowed |
# | `weight` | all | the weight of the task's loss | 1 |

# %% [markdown]
# ## 2. A folder to try it on
#
# Generated rooms, written as if you had labeled them: each training image keeps one or two of its three labels, the test images keep all. Nothing below knows that they were generated.

# %%
import os
import tempfile

work = tempfile.TemporaryDirectory(prefix="mtpsl-own-")
os.chdir(work.name)  # so that paths below are short

# %%
from mtpsl.data import open_dataset, recognize
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.readers.own_files import write_split

counts = {"train": 16, "test": 8} if session.profile == "smoke" else {"train": 160, "test": 80}
for split, setting in (("train", "random_labels"), ("test", "full")):
    rooms = open_dataset("rooms13", split, height=96, width=128, images=counts[split])
    write_split(PartialLabels(rooms, assign(setting, len(rooms), rooms.tasks.names)), "my rooms")
mine = bool(session.data_root) and recognize(session.data_root) == "own"
folder = session.data_root if mine else "my rooms"

# %%
from pathlib import Path

print(Path(folder, "mtpsl.toml").read_text())
for place in sorted(Path(folder).glob("*/*")):
    names = sorted(path.name for path in place.iterdir())
    print(f"{place.relative_to(folder).as_posix():<14} {len(names):>4} files: {names[0]} ...")

# %% [markdown]
# > **Predict.** There are fewer files in the folders of labels than in `train/image`. Which file says that an image has no depth?
#
# No file says it. There is no list to keep in step with the files, so none can be wrong. A mistyped name does not count as a missing label, though: a label whose image does not exist is an error (section 7).

# %% [markdown]
# ## 3. Have it checked
#
# Before training on data, look at them. The report counts labels and reads 32 images of each split: are all classes there? Is the depth in meters? Do normals and depth tell the same story? It ends with everything that is wrong.

# %% tags=["nbval-ignore-output"]
from mtpsl.data.readers.report import check

report, sound = check(folder)
print(report)

# %% [markdown]
# And look at them with your eyes. Magenta is where there is no label.

# %%
import numpy as np
from PIL import Image

from mtpsl.data.readers import draw_sheet
from mtpsl.data.readers.own import Own
from mtpsl.report.style import Sheet

draw_sheet(Own("train", height=96, width=128, root=folder), Path("sheet.png"), rows=3)
pixels = np.asarray(Image.open("sheet.png"))
sheet = Sheet(6, 6 * pixels.shape[0] / pixels.shape[1])
sheet.picture(0, 0, sheet.width, sheet.height, pixels)
alt = "Three training images, each with its labels; the labels without a file are plain magenta."
show(sheet.figure, alt=alt)

# %% [markdown]
# ## 4. What a missing file means
#
# `carries` tells which images have a task's label. For the others a method gets NaN, or class 255, so a method that looked at a missing label would fail at once ([`00_tour`](00_tour.ipynb), section 4). The loss of a missing label is exactly zero.

# %%
train = Own("train", height=64, width=96, root=folder)
batch = train.load(range(min(6, len(train))))
for task in train.tasks:
    there = train.carries(task.name)[: len(batch)].tolist()
    guess = task.activate(batch.images.new_ones(len(batch), task.channels, 64, 96))
    loss = task.loss(guess, batch.targets[task.name], batch.mask(task.name))
    right = [bool(value != 0) == label for value, label in zip(loss, there, strict=True)]
    words = ["label" if label else "-" for label in there]
    print(f"{task.name:<12}", *(f"{word:<6}" for word in words), "loss only there:", all(right))

# %% [markdown]
# The same holds for test images: where a label is missing, nothing is measured. And an image may lack *every* label: methods that learn without labels use it, the supervised baselines leave it out.

# %% [markdown]
# ## 5. Train
#
# `experiment_on` takes tasks, classes and the numbers of images from the folder. Everything else is a setting like those of any experiment in this repository; here they are tiny. `clip` bounds the length of a gradient: without it a few long ones at the start can decide Adam's steps for most of a short training ([`23_xtc_storm`](23_xtc_storm.ipynb)).

# %%
import dataclasses

from mtpsl.runs.data import experiment_on
from mtpsl.runs.run import run

settings = {"height": 64, "width": 96, "width_factor": 0.125, "batch_size": 4, "lr": 3e-3}
settings |= {"clip": 1.0, "backbone_args": {"stages": 3}}  # as in the scaled profiles
settings |= {"epochs": 8 if session.profile == "smoke" else 40, "seed": session.seed}
experiment = experiment_on(folder, **settings)
here = dataclasses.replace(session, data_root=folder)
record = run(experiment, here)
print("trained on", record.labels["images"], "images with labels", record.labels["counts"])

# %% tags=["nbval-ignore-output"]
import pandas

from mtpsl.report.render import headline_cells
from mtpsl.runs.data import tasks_of

line = headline_cells(record.metrics["test"], tasks_of(experiment))
caption = f"{len(Own('test', root=folder))} test images, profile {session.profile}."
show_table(pandas.DataFrame([line], index=[experiment.method]), caption=caption)

# %% [markdown]
# Numbers like these need a floor beside them: what does a guess score that never looks at the image, such as the most frequent class, the median depth or the mean normal? `mtpsl.report.floors.score_guesses` computes it, and section 5 of [`00_tour`](00_tour.ipynb) shows how to read it.
#
# Another method is one word: `method="xtc"` ties the tasks to one another, `method="hitts"` looks for the missing labels. The run's key depends on the *content* of your files. Correct a label, and `experiment_on` gives another experiment; ask for the old one again, and nothing is trained.

# %%
again = run(experiment, here)
assert again.environment["date"] == record.environment["date"]
print("found in the store, not trained again")

# %% [markdown]
# ## 6. Predict a folder of pictures
#
# Any pictures, of any size; nothing needs a label here, and the folder of training data may be gone. Here are three rooms that the network has not seen; with a folder of your own, your test images.

# %%
from mtpsl.data.readers.own_files import write_picture
from mtpsl.data.scenes.rooms13 import Rooms13

shapes = {"a wide room": (90, 160), "a room": (96, 128), "a tall room": (150, 100)}
for number, (name, (height, width)) in enumerate(shapes.items()):
    image = Rooms13.picture("test", 600 + number, height, width).image  # uint8
    write_picture(Path("photos", f"{name}.png"), image.movedim(0, -1).numpy())
photos = Path(folder, "test/image") if mine else Path("photos")

# %%
from mtpsl.report.predict import draw_overview, predict_folder

summary = predict_folder(experiment, session, photos, "found")
first = Path("found", summary["pictures"][0]["folder"])
print(sorted(path.name for path in first.parent.iterdir())[:6])
print(sorted(path.name for path in first.iterdir()))

# %%
overview = draw_overview(Path("found"), photos, summary)
show(overview, alt="Pictures of different shapes, each with the maps predicted for it.")

# %% [markdown]
# The sheet is also saved as `found/overview.png`. Every map has the size of its picture: class ids come from the nearest pixel of what the network saw, all else is interpolated. `.npy` files hold what was predicted, pictures hold what other programs can open, and `predictions.json` says what each of them means.

# %%
for name, words in summary["tasks"].items():
    print(name)
    for key in ("unit", "npy", "png", "step", "largest"):
        if key in words:
            print(f"  {key:<8} {words[key]}")

# %% [markdown]
# > **Predict.** A 16-bit picture in millimeters ends at 65.535 m. What happens to a tower that is 80 m away?
#
# Its pixels get 65535, `depth.json` beside the picture counts them, and `depth.npy` keeps 80. Reading the picture back is one multiplication:

# %%
import json

for path in first.glob("depth.json"):  # none, where depth is no task
    said = json.loads(path.read_text())
    steps, meters = np.asarray(Image.open(first / "depth.png")), np.load(first / "depth.npy")
    fits = (meters > said["step"]) & (meters < said["largest"])
    apart = np.abs(steps * said["step"] - meters)[fits].max() / said["step"]
    assert apart < 0.51
    print("at most half a step apart; pixels are counted", " and ".join(said["cut_off"]))

# %% [markdown]
# ## 7. When something is wrong
#
# Nothing is skipped silently. Every complaint is one sentence: which file, what was expected, what was found, what to do. Here is a copy of the rooms with one kind of damage after the other.

# %%
import shutil

label = Path("train/depth") / sorted(p.name for p in Path("my rooms/train/depth").iterdir())[0]
damages = {
    "mistyped": lambda d: (d / label).rename(d / "train/depth/kitchen.png"),
    "truncated": lambda d: (d / label).write_bytes((d / label).read_bytes()[:90]),
    "8 bits": lambda d: write_picture(d / label, np.full((96, 128), 7, np.uint8)),
    "empty": lambda d: write_picture(d / label, np.zeros((96, 128), np.uint16)),
    "other size": lambda d: write_picture(d / label, np.full((90, 128), 700, np.uint16)),
}

# %%
for name, damage in damages.items():
    shutil.copytree("my rooms", "copy")
    damage(Path("copy"))
    report, sound = check("copy", read_all=True)
    print(f"{name}: {report.splitlines()[-1]}\n")
    shutil.rmtree("copy")

# %% [markdown]
# `check` looks at all of that before a training does. Reading stops a training at the first damaged file, with the same sentence.

# %% [markdown]
# ## 8. The same on the command line
#
# ```console
# $ python -m mtpsl data check "my rooms" --sheet sheet.png
# $ python -m mtpsl run --experiment experiment.json --data "my rooms"
# $ python -m mtpsl predict runs/1a2b3c4d5e6f photos found
# ```
#
# The second needs a file that says what to train; `python -m mtpsl new own` writes one with remarks. It names only the settings that you choose; the others are those of the papers, which need a GPU. All commands exit with 1 where something failed.

# %%
short = {"dataset": "own", "tasks": list(experiment.tasks), "label_setting": "full"}
short |= {"train_images": experiment.train_images, "test_images": experiment.test_images}
Path("experiment.json").write_text(json.dumps(short | settings, indent=1))
print(Path("experiment.json").read_text())

# %%
from mtpsl.runs.data import bind_data
from mtpsl.runs.experiment import read_experiment

bound = bind_data(read_experiment("experiment.json"), folder)
assert bound.key == experiment.key
print("this file describes the run of section 5")

# %% [markdown]
# ## 9. Take away
#
# 1. A missing file is a missing label: there is no list to keep, and no method ever sees what is not there.
# 2. Check before you train. `data check` names the file, what was expected, what was found and what to do.
# 3. A run's key follows the content of your files: correct a label, and you get another run, never an old number under a new name.

# %% [markdown]
# ## 10. Exercises
#
# **1.** Which labels are worth their price? Take half of the depth labels away (move the files), train again and compare. Then do the same with classes.
#
# <details><summary>Solution</summary>
#
# ```python
# shutil.copytree("my rooms", "less depth")
# for path in sorted(Path("less depth/train/depth").iterdir())[::2]:
#     path.unlink()
# less = experiment_on("less depth", **settings)
# there = dataclasses.replace(session, data_root="less depth")
# print(headline_cells(run(less, there).metrics["test"], tasks_of(less)))
# ```
#
# The keys differ because the files differ. At `smoke` the difference is noise: compare several seeds (`less.with_seed(1)`, ...) at a size that learns something.
# </details>
#
# **2.** Let the network find labels where you have none: HiTTs in two stages.
#
# <details><summary>Solution</summary>
#
# ```python
# teacher = experiment_on(folder, **settings, method="hitts")
# student = experiment_on(
#     folder,
#     **settings,
#     method="hitts",
#     method_args={"pseudo_labels": True, "pseudo_features": True},
#     thresholds=dict.fromkeys(teacher.tasks, "50%"),  # the more confident half of the pixels
#     teacher=teacher,
# )
# run(student, here)  # runs the teacher first
# ```
# </details>
#
# **3.** Someone gives you normals in which a floor is bright green and a wall that faces the camera bright blue. What goes into `mtpsl.toml`?
#
# <details><summary>Solution</summary>
#
# Green is the second channel, and it grows upwards; blue is the third, and it grows towards the camera. Here y points down and z away: `axes = ["x", "-y", "-z"]`. Where images have depth and normals, `data check` finds it out and says so.
# </details>
#
# **4.** To discuss: your test images should have all labels if they can. Why is it less of a problem if some lack one, and when is it a problem?
#
# <details><summary>Solution</summary>
#
# A missing label only makes the sample of that task's metric smaller. It is a problem where labels are missing for a *reason*: if depth is missing wherever the sensor failed, on glass or in sunlight, the metric speaks of the easy images alone. The same bias sits in the training labels.
# </details>
