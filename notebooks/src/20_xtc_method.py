# %% [markdown]
# # XTC, equation by equation
#
# **You will be able to** compute every equation of XTC by hand and find it in the code, and say what each part is for.
# **Takes** about 45 minutes to read. **Read before:** [`00_tour`](00_tour.ipynb) and [`01_label_settings`](01_label_settings.ipynb).
# **Previous:** [`13_hitts_beyond`](13_hitts_beyond.ipynb). **Next:** [`21_xtc_tables`](21_xtc_tables.ipynb).
# **Paper:** Li, Liu, Bilen, [*Learning Multiple Dense Prediction Tasks from Partially Annotated Data*](https://arxiv.org/abs/2111.14893)
# (CVPR 2022), Section 3.
#
# **The problem in three sentences.** One network must predict several things for every pixel, but a training image
# carries the label of only some of these tasks. The tasks describe one scene, so a label of one says something about
# the others: where depth jumps, an object ends. XTC maps the *prediction* of a task without label and the *label* of another
# into a space that the two share, and asks them to agree there.
#
# This page walks through Eq. 1 to 4, by hand on toys beside the package's own functions, with an `assert` wherever the
# two meet. **Only Section 6 trains**, forty steps of a toy; every other network has random weights. What trained
# ones do is in [`21_xtc_tables`](21_xtc_tables.ipynb) and [`22_xtc_figures`](22_xtc_figures.ipynb), and what the first steps of a
# training do to XTC in [`23_xtc_storm`](23_xtc_storm.ipynb).
#
# Boxes that say **Predict** ask for a guess before the next cell shows the answer.

# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl.notebook import setup, show, show_table, show_terms

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)

# %% [markdown]
# ## The picture first
#
# This is Figure 2 of the paper, drawn from a forward pass of the package's network. Sections 4 and 5 explain its parts.

# %%
overview = session.figure("xtc/fig2")["computed now"]
show(overview.figure, alt=overview.alt, caption=overview.caption)

# %% [markdown]
# ## Symbols
#
# `B` images, `n` of which take part in a pair, `K` tasks, `P = K (K - 1)` ordered pairs, `O` channels of a task, `H x W`
# pixels, `h x w` positions of the bottleneck with `D` channels, `M` channels inside the mapping network. The **source**
# *s* is a task without label, the **target** *t* one with a label.

# %%
from mtpsl.papers import PAPERS

show_terms([term.row for term in PAPERS["xtc"].terms])

# %% [markdown]
# ## 1 One batch
#
# The batch has eight rooms with one label each. `PartialLabels` overwrites what is withheld, so no method can look at it by accident.

# %%
import torch
import torch.nn.functional as F

from mtpsl.data.labels import PartialLabels, assign
from mtpsl.papers import build_method
from mtpsl.papers.xtc.tables import TABLES
from mtpsl.runs.data import bind_data, open_split, tasks_of
from mtpsl.runs.profiles import get_profile

(paper,) = TABLES["table2"].row("one/Ours").experiments
experiment = bind_data(get_profile(session.profile)(paper), session.data_root)
rooms, tasks = open_split(experiment, "train", session), tasks_of(experiment)

# %%
partial = PartialLabels(rooms, assign("one_label", len(rooms), tasks.names, seed=0))
batch = partial.load(range(8)).to(session.device)
made_of = ("segnet", experiment.width_factor, {}, experiment.backbone_args)  # of this profile
torch.manual_seed(session.seed)
xtc = build_method("xtc", tasks, *made_of).to(session.device)
with torch.no_grad():
    output = xtc.net(batch.images)
B, _, H, W = batch.images.shape

# %% [markdown]
# > **Predict.** An image carries one of three labels. In how many ordered pairs (source without label, target with label) does it take part? And with two of three labels?

# %%
from mtpsl.report.arrays import describe, picture, shown
from mtpsl.report.sketches import draw_known

labeled = torch.stack([batch.labeled[name] for name in tasks.names], dim=1).cpu()  # (B, K)
rows = [int(labeled[:, k].nonzero()[0]) for k in range(len(tasks))]  # one image for each label
truth = {t.name: shown(t, batch.targets[t.name][rows], batch.valid[t.name][rows]) for t in tasks}
guess = {t.name: shown(t, output.predictions[t.name][rows]) for t in tasks}
arrays = describe(tasks) | {"images": picture(batch.images[rows]), "labeled": labeled[rows].numpy()}
for k, name in enumerate(tasks.names):
    arrays[f"{name}/truth"], arrays[f"{name}/known"] = truth[name], guess[name].copy()
    arrays[f"{name}/known"][labeled[rows, k].numpy()] = truth[name][labeled[rows, k].numpy()]

# %%
show(
    draw_known(arrays),
    alt="Three rooms; each has the label of one task and predictions of an untrained network for the others.",
    caption="Every label is the target of two pairs, whose sources are the two predictions in its row.",
)

# %% [markdown]
# `find_links` gathers the pairs of Eq. 3 over the batch. With one label of three an image takes part in two pairs (two
# sources times one target), and with two labels in two as well (one source times two targets):

# %%
import pandas as pd

from mtpsl.papers.xtc.loss import find_links

links = find_links(tasks, batch)
table = [(x.source.name, x.target.name, ", ".join(map(str, x.rows))) for x in links]
table = pd.DataFrame(table, columns=["source: prediction", "target: label", "images"])
show_table(table.style.hide(axis="index"))
assert sum(len(x.rows) for x in links) == B * (len(tasks) - 1)

# %% [markdown]
# > **Predict.** Which shapes below depend on the number of classes? Which two must be equal for Eq. 4 to make sense?

# %%
from mtpsl.papers.xtc.loss import Inputs

inputs = Inputs(output.predictions, batch)
embedded = xtc.loss.embed(links, inputs)
shapes = {"x": batch.images.shape, "f(x)": output.bottleneck.shape}
for t in tasks:
    shapes[f"ŷ of {t.name}"] = output.predictions[t.name].shape
    shapes[f"y of {t.name}, as m reads it"] = inputs.label(t, links[0].rows).shape
shapes[f"m(ŷ), m(y) of {len(links[0].rows)} images"] = embedded[0][0].shape
text = {name: " x ".join(map(str, shape)) for name, shape in shapes.items()}
show_table(pd.DataFrame({"shape": text}))
assert embedded[0][0].shape[1:] == output.bottleneck.shape[1:]

# %% [markdown]
# Only the maps of classes have as many channels as there are classes. An embedding must have the channels and the size
# of $f(x)$, or Eq. 4 could not compare the two.
#
# ## 2 Eq. 1: learn from the labels there are
#
# $$\min_{\phi,\psi} \frac1N\sum_n \frac{1}{|\mathcal T_n|} \sum_{t\in\mathcal T_n} L^t(\hat y^t(x_n), y^t_n)$$
#
# The released code sums instead of dividing by $|\mathcal T_n|$. The toy: two images; the first has two depth-like labels with an
# error of 1 each, the second has one with an error of 3.
#
# > **Predict.** Paper and code: what are the two totals?

# %%
from dataclasses import replace

from mtpsl.batch import Batch
from mtpsl.methods.base import supervised_terms
from mtpsl.tasks import TaskSet, depth

near, far = replace(depth(), name="near"), replace(depth(), name="far")
toys, pixels = TaskSet((near, far)), torch.ones(2, 1, 4, 4)
has = {"near": torch.tensor([True, True]), "far": torch.tensor([True, False])}
valid = {name: on.view(-1, 1, 1, 1).expand(2, 1, 4, 4) for name, on in has.items()}
toy = Batch(pixels.expand(2, 3, 4, 4), {"near": pixels, "far": pixels}, valid, has, torch.arange(2))

# %%
error = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
guesses = {"near": pixels + error, "far": pixels + 1}
divided = sum(supervised_terms(toys, guesses, toy, per_image_mean=True).values())  # Eq. 1
summed = sum(supervised_terms(toys, guesses, toy).values())
torch.testing.assert_close(torch.stack([divided, summed]), torch.tensor([(1 + 3) / 2, (2 + 3) / 2]))
print(f"paper {divided:.2f}, released code {summed:.2f}")

# %% [markdown]
# With one label per image both are the same. With more, the sum gives well-labeled images more weight.
#
# ## 3 Eq. 2: a prediction must follow a crop
#
# $$\dots + \frac{1}{|\mathcal U_n|}\sum_{t\in\mathcal U_n} L_u\bigl(e_r(\hat y^t(x_n)),\; \hat y^t(e_r(x_n))\bigr)$$
#
# The semi-supervised baseline: crop the image and predict, or predict and crop the prediction; both must agree. It uses each
# task alone. Two views make it possible, and XTC uses the same two: the second is cut from the first.

# %%
from mtpsl.data.dataset import TrainLoader
from mtpsl.data.transforms import relative

loader = TrainLoader(rooms, batch_size=8, seed=session.seed, views=2, device=session.device)
first, second = next(loader.epoch(0))
box = relative(first.geometry, second.geometry, H, W).box
picked = torch.argsort(box[:, 2]).tolist()[:2]  # the smallest crops are the easiest to see
pair = lambda a, b: torch.stack([a[picked], b[picked]], dim=1).flatten(0, 1)  # noqa: E731
both = describe(tasks) | {"images": picture(pair(first.images, second.images))}
both["box"] = box[picked].cpu().numpy()
for t in tasks:
    seen = pair(first.valid[t.name], second.valid[t.name])
    both[f"{t.name}/truth"] = shown(t, pair(first.targets[t.name], second.targets[t.name]), seen)

# %%
from mtpsl.report.sketches import draw_views

show(
    draw_views(both, title="Truth", names=("first view", "second view")),
    alt="Two rooms; the first view with a dashed box, below it the second view that shows the box.",
    caption="Labels teach the first view of a room; the dashed box becomes the second.",
)

# %% [markdown]
# > **Predict.** A perfect network predicts 2 m for a wall. The crop magnifies it by 1.5. What does it predict for the crop, and what must $e_r$ do to the first prediction?

# %%
from mtpsl.methods.baselines import crop_predictions

wall = {t.name: torch.zeros_like(output.predictions[t.name]) for t in tasks}
wall["depth"] += 2
wall["normals"][:, 2] = -1
moved = crop_predictions(tasks, wall, first, second)
zoom = (second.geometry.scale / first.geometry.scale).view(-1, 1, 1, 1)
torch.testing.assert_close(moved["depth"], (2 / zoom).expand_as(moved["depth"]))
torch.testing.assert_close(moved["normals"], wall["normals"])
print(
    "zoom", sorted({round(z, 2) for z in zoom.flatten().tolist()}), "divides depth, leaves normals"
)

# %% [markdown]
# By hand: only tasks *without* label count. Predictions that agree everywhere except 0.5 m in depth cost $0.5^2$ for every
# image whose depth is withheld.

# %%
ssl = build_method("semi_supervised", tasks, *made_of).to(session.device)
one, two = replace(first, labeled=batch.labeled), second
off = moved | {"depth": moved["depth"] + 0.5}
L_u = ssl.consistency(wall, off, one, two)  # Eq. 2
withheld = (~batch.labeled["depth"]).float().mean()
torch.testing.assert_close(L_u, 0.25 * withheld)
print(f"L_u = 0.25 x {withheld:.3f} = {L_u:.3f}")

# %% [markdown]
# ## 4 Eq. 3: agree in a joint space
#
# $$\dots + \frac{1}{|\mathcal U_n|}\sum_{s\in\mathcal U_n,\,t\in\mathcal T_n}
# L_{ct}\bigl(m_{\vartheta_{st}}(\hat y^s(x_n)),\, m_{\vartheta_{ts}}(y^t_n)\bigr),
# \qquad L_{ct}(a, b) = 1 - \frac{a\cdot b}{|a||b|}$$
#
# Depth cannot be computed from classes, nor classes from depth. So neither is mapped to the other: both go to a space that
# holds what they have in common.
#
# ### Why a cosine, and why one per position?
#
# The paper writes the joint space as $\mathbb R^D$; in the code an embedding is a map, and a cosine is taken at every position.
# The toy has two positions and D = 2. At the left one both agree, at the right one they are at right angles.
#
# > **Predict.** What is the mean distance over the positions? What happens to it if the left position gets ten times as bright, and what to the cosine of the whole map as one vector?

# %%
from mtpsl.papers.xtc.loss import cosine_distance

a = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)  # (1, 0) left, (0, 1) right
b = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # (1, 0) at both
bright = torch.tensor([10.0, 1.0])
whole = lambda u, v: 1 - F.cosine_similarity(u.flatten(1), v.flatten(1))  # noqa: E731
for name, k in (("as it is", 1), ("left x 10", bright)):
    print(f"{name}: per position {cosine_distance(a * k, b * k).item():.3f}", end=", ")
    print(f"whole map {whole(a * k, b * k).item():.3f}")
assert cosine_distance(a * bright, b * bright).item() == 0.5
torch.testing.assert_close(whole(a * bright, b * bright), torch.tensor([1 - 100 / 101]))

# %% [markdown]
# Per position, length carries no meaning and no region can drown the others. `distance="vector"` is the other
# reading. The same on generated rooms, with random weights:

# %%
from mtpsl.report.sketches import draw_matrices

(m_s, m_t), link = embedded[0], links[0]
similarity = F.cosine_similarity(m_s, m_t, dim=1)  # (n, h, w)
torch.testing.assert_close(cosine_distance(m_s, m_t), 1 - similarity.mean((1, 2)))  # Eq. 3
panels = {f"image {row}": s.detach().cpu() for row, s in zip(link.rows, similarity, strict=True)}
show(
    draw_matrices(panels, ranges=dict.fromkeys(panels, (0, 1))),
    alt="Small matrices of cosines, one for each image, between two embeddings.",
    caption=f"Cosine at each position: prediction of {link.source.name}, label of {link.target.name}.",
)

# %% [markdown]
# ### What the mapping network reads
#
# Labels of classes are one-hot. A softmax is not: a network would notice that at once. So classes are *sampled*
# (Gumbel-softmax): the class with the largest logit + noise, one-hot forward, with the gradient of the soft version backward.
#
# > **Predict.** Probabilities 0.7, 0.2, 0.1 at ten thousand pixels. How often does each class win, and how often by plain argmax?

# %%
from mtpsl.papers.xtc.mapping import prediction_input
from mtpsl.tasks import semseg

three = semseg(("wall", "floor", "bed"))
p = torch.tensor([0.7, 0.2, 0.1])
logits = p.log().view(1, 3, 1, 1).expand(1, 3, 100, 100).clone().requires_grad_()
torch.manual_seed(0)
noise = -torch.empty_like(logits).exponential_().log()  # standard Gumbel
sampled = prediction_input(three, logits, noise)
shares = sampled.mean((0, 2, 3)).detach()
print("sampled", [f"{s:.1f}" for s in shares.tolist()], "argmax", [1, 0, 0])
torch.testing.assert_close(shares, p, atol=0.02, rtol=0)
assert set(sampled.round(decimals=4).unique().tolist()) == {0, 1}

# %% [markdown]
# The gradient is that of the softmax. By hand, for one pixel without noise, it is $p_0(1 - p_0)$ for the
# winner.

# %%
pixel = p.log().view(1, 3, 1, 1).clone().requires_grad_()
hard = prediction_input(three, pixel)
(gradient,) = torch.autograd.grad(hard[0, 0, 0, 0], pixel)
by_hand = p[0] * (torch.tensor([1.0, 0, 0]) - p)
torch.testing.assert_close(gradient.flatten(), by_hand)
print(
    "hard value",
    round(hard[0, 0, 0, 0].item(), 4),
    "gradient",
    [f"{g:.2f}" for g in gradient.flatten()],
)

# %% [markdown]
# Depth is divided by its largest value and normals move to [0, 1].
#
# > **Predict.** Depth 1, 2 and 4 m: what does the network read, and what does it read of a depth map that is twice as far everywhere? What of a hole in the label?

# %%
from mtpsl.papers.xtc.mapping import label_input

meters = torch.tensor([1.0, 2.0, 4.0, torch.nan]).view(1, 1, 1, 4)
read = label_input(depth(), meters, meters > 0)
assert read.flatten().tolist() == [0.25, 0.5, 1.0, 0.0]
assert torch.equal(label_input(depth(), 2 * meters, meters > 0), read)
print("read:", read.flatten().tolist())

# %% [markdown]
# ## 5 One network for all pairs
#
# $$h_i \leftarrow a^c_{\theta,i}(A) \odot h_i + a^b_{\theta,i}(A)$$
#
# $A$ is a K x K matrix with a single 1, at (s, t). A linear layer on a one-hot input picks one of its columns, so the
# auxiliary network is a **table lookup**: a scale $\gamma$ and a shift $\beta$ for each pair (FiLM).

# %%
K, M = len(tasks), 4
torch.manual_seed(0)
a_c = torch.nn.Linear(K * K, M, bias=False)  # one fully connected layer, as in the paper
A = torch.zeros(K, K)
A[0, 1] = 1  # from the first task to the second
torch.testing.assert_close(a_c(A.flatten()), a_c.weight[:, 0 * K + 1])
print("rows of the table:", {f"{s} → {t}": row for (s, t), row in xtc.mapping.pairs.items()})

# %% [markdown]
# `PairNorm` does BatchNorm and this in one step. By hand, two channels of one image:

# %%
from mtpsl.papers.xtc.mapping import PairNorm

norm, h_i = PairNorm(2, pairs=6), torch.randn(1, 2, 3, 3)
with torch.no_grad():
    norm.gamma[1], norm.beta[1] = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 5.0])
    found = norm(h_i, pair=1)
    plain = norm(h_i, pair=0)  # gamma = 1, beta = 0
torch.testing.assert_close(found[:, 0], 2 * plain[:, 0])
assert (found[:, 1] == 5).all()  # gamma 0: this pair forgets the channel

# %% [markdown]
# > **Predict.** Change $\gamma$ and $\beta$ of one pair. Which embeddings of predictions move?

# %%
from copy import deepcopy

torch.manual_seed(0)
before = xtc.loss.embed(links, Inputs(output.predictions, batch))
other, changed = deepcopy(xtc), links[0]
with torch.no_grad():
    for norm in (m for m in other.mapping.stages.modules() if isinstance(m, PairNorm)):
        norm.gamma[other.mapping.pairs[changed.source.name, changed.target.name]] *= 0.5
        norm.beta[other.mapping.pairs[changed.source.name, changed.target.name]] += 0.1

# %%
torch.manual_seed(0)
after = other.loss.embed(links, Inputs(output.predictions, batch))
for link, (old, _), (new, _) in zip(links, before, after, strict=True):
    moves = not torch.allclose(old, new)
    assert moves == (link is changed)
    print(f"{link.source.name} → {link.target.name}: {'moves' if moves else 'stays'}")

# %% [markdown]
# The table shows what that saves at full width. Direct-Map and Perceptual-Map need a whole SegNet for each ordered pair:

# %%
import sys

sys.path.insert(0, "..")  # benchmarks are not part of the package: they lie in tests/
from tests.benchmarks.xtc import TASKS

# %%
count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
lines = {}
for k, some in TASKS.items():
    with torch.device("meta"):
        shared, maps = build_method("xtc", some).mapping, build_method("direct_map", some).maps
    film = sum(p.numel() for p in shared.film_parameters())
    lines[f"{k} tasks"] = {"pairs": k * (k - 1), "m (M)": count(shared) / 1e6}
    lines[f"{k} tasks"] |= {
        "of it γ, β (M)": film / 1e6,
        "one SegNet per pair (M)": count(maps) / 1e6,
    }

# %%
show_table(pd.DataFrame(lines).T.style.format("{:.2f}").format("{:.0f}", subset="pairs"))
assert len(maps) == 20 and film < 0.02 * count(shared)

# %% [markdown]
# ## 6 Trivial mappings
#
# Eq. 3 has a perfect and useless solution: map everything to one point. By hand, with $m \equiv (1, 1)$:
#
# > **Predict.** What is $L_{ct}$ for a right prediction, for a wrong one, and what is the gradient?

# %%
point = torch.ones(1, 2, 1, 1)
f_left, f_right = torch.tensor([1.0, 0]).view(1, 2, 1, 1), torch.tensor([0, 1.0]).view(1, 2, 1, 1)
assert cosine_distance(point, point).abs().item() < 1e-6  # right or wrong: no difference
R = cosine_distance(point, f_left)
torch.testing.assert_close(R, torch.tensor([1 - 0.5**0.5]))
torch.testing.assert_close(cosine_distance(point, f_right), R)
print(f"L_ct = 0; but the distance to either of two features is {R.item():.3f}, and never 0")

# %% [markdown]
# So the regularizer $R$ asks an embedding to stay near the feature of *its own image*, $f_\phi(x)$, which differs from place
# to place. A constant cannot be near all of them.
#
# **Forty steps of a toy.** Eight images of near and far blocks; the class of a pixel says whether it is near, and depth is 1 m or
# 3 m. Half of the images carry the classes, half the depth. The "backbone" is fixed: its feature is one of two orthogonal codes.

# %%
from mtpsl.models import Features


class Codes(torch.nn.Module):
    channels, bottleneck_channels, reduction = 3, 8, 4

    def forward(self, images):
        far = F.avg_pool2d(images[:, :1], 4)
        return Features(images, torch.cat([1 - far, far], dim=1).repeat_interleave(4, dim=1))

    def build_head(self, out):
        return torch.nn.Conv2d(3, out, 1)


# %%
blocks, n = TaskSet((semseg(("near", "far")), depth())), 8
path = blocks["depth"], blocks["semseg"]  # from the prediction of depth to the label of classes
generator = torch.Generator().manual_seed(0)
far = torch.randint(0, 2, (n, 1, 4, 4), generator=generator).float()
far = F.interpolate(far, scale_factor=8)  # (8, 1, 32, 32): 0 near, 1 far
everywhere, all_of_them = torch.ones_like(far, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
maps = {"semseg": far.long(), "depth": 1 + 2 * far}
named = lambda value: dict.fromkeys(blocks.names, value)  # noqa: E731

# %%
full = Batch(far.expand(n, 3, 32, 32), maps, named(everywhere), named(all_of_them), torch.arange(n))
even = torch.arange(n) % 2 == 0
half = {"semseg": even, "depth": ~even}
seen = {name: on.view(-1, 1, 1, 1) & everywhere for name, on in half.items()}
hidden = {
    t.name: torch.where(seen[t.name], maps[t.name], t.fill_missing(maps[t.name])) for t in blocks
}

# %%
from types import SimpleNamespace

from mtpsl.engine import fit
from mtpsl.papers.xtc.diagrams import pair_distances
from mtpsl.papers.xtc.method import XTC
from mtpsl.training import Selection

forty = SimpleNamespace(
    steps=1, epoch=lambda epoch: [(replace(full, targets=hidden, valid=seen, labeled=half),)]
)

# %% [markdown]
# Each step we measure the distance between the prediction's and the label's embedding of the **same** image, of **other**
# images (so the prediction is wrong in about half of the places), and from an embedding to its **feature**.
#
# > **Predict.** Where does each of the three curves end, with and without $R$? If the two codes are orthogonal and images differ in 48 % of their places, what is the largest "other" that a perfect mapping can have?

# %%
runs = {}
for run, args in {"with R": {}, "without R": {"regularize": False}}.items():
    torch.manual_seed(0)
    net = XTC(blocks, Codes(), two_views=False, **args)
    ask = lambda net=net: {"train": pair_distances(net, *path, net.net(full.images), full)}  # noqa: E731
    selection = Selection(curve=torch.no_grad()(ask), eval_every=1)
    runs[run] = fit(net, forty, epochs=40, lr=1e-2, selection=selection).history

# %%
words = {"same": "same image", "other": "other images", "feature": "to the feature"}
curves = {
    run: {word: [e["metrics"]["train"][key] for e in history] for key, word in words.items()}
    for run, history in runs.items()
}
differ = (far != far.roll(1, dims=0)).float().mean().item()

# %%
from mtpsl.report.sketches import draw_distances

levels = {f"places that differ: {differ:.2f}": differ, "R of a constant: 0.29": 1 - 0.5**0.5}
show(
    draw_distances(curves, levels),
    alt="Curves of three cosine distances over forty steps, with the regularizer and without it.",
    caption="Without R all images end in one point; with R other images end nearly as far off as they differ.",
)

# %%
end = {run: {word: values[-1] for word, values in lines.items()} for run, lines in curves.items()}
assert end["with R"]["same image"] < 0.05 and end["without R"]["same image"] < 0.05
assert end["with R"]["other images"] > 0.3 and end["without R"]["other images"] < 0.02
assert end["with R"]["to the feature"] < 0.1 < end["without R"]["to the feature"]
print("same L_ct, but only one of them can tell a right prediction from a wrong one")

# %% [markdown]
# Look at the first steps with $R$ again: all three distances fall, the one to other images too, and only later do other
# images move away. The spike near step 12 has a likely cause, which no cell here tests: a depth prediction is divided by
# its largest value, as in the released code, and turns over when that value changes its sign. **Pictures of rooms are harder than two codes**; how
# far trained mappings get there is measured in [`22_xtc_figures`](22_xtc_figures.ipynb).
#
# ## 7 Eq. 4: everything at once
#
# $$\dots + \frac{1}{|\mathcal U_n|}\sum_{s,t} L_{ct}\bigl(m^{s\to st}(\hat y^s), m^{t\to st}(y^t)\bigr)
# + R\bigl(f_\phi, m^{s\to st}(\hat y^s)\bigr) + R\bigl(f_\phi, m^{t\to st}(y^t)\bigr)$$
#
# By hand from the embeddings of the batch of Section 1:

# %% tags=["nbval-ignore-output"]
features = output.bottleneck
torch.manual_seed(0)  # the same Gumbel noise
L_ct, R = xtc.loss.consistency(output.predictions, features, batch)
sums = torch.zeros(2, device=session.device)
for link, (m_s, m_t) in zip(links, before, strict=True):
    f = features[list(link.rows)]
    sums[0] += cosine_distance(m_s, m_t).sum()
    sums[1] += cosine_distance(m_s, f).sum() + cosine_distance(m_t, f).sum()
torch.testing.assert_close(torch.stack([L_ct, R]), sums / B)  # Eq. 4
print(f"L_ct = {L_ct:.3f}, R = {R:.3f}")

# %% [markdown]
# > **Predict.** R pulls embeddings towards features. Why must it not pull features towards embeddings?

# %%
leaf = output.bottleneck.clone().requires_grad_()
heads = {name: maps.clone().requires_grad_() for name, maps in output.predictions.items()}
total = sum(xtc.loss.consistency(heads, leaf, batch))
to_feature, to_depth = torch.autograd.grad(total, [leaf, heads["depth"]], materialize_grads=True)
reached = to_depth.flatten(1).any(dim=1)
assert not to_feature.any() and torch.equal(reached, ~batch.labeled["depth"])
print("feature: no gradient; depth predictions: only where depth has no label")

# %% [markdown]
# Were features pulled too, $R$ could be met by giving all images the same feature.
#
# ### Two views
#
# One forward pass sees both views. Labels teach the first, consistency the second, which is cut from it. The gradient of
# the input images says so:

# %%
one_label = TrainLoader(partial, batch_size=8, seed=session.seed, views=2, device=session.device)
first, second = next(one_label.epoch(0))
still = deepcopy(xtc).eval()  # in training BatchNorm lets both views see each other
first, second = (replace(v, images=v.images.clone().requires_grad_()) for v in (first, second))
terms = still.training_step(first, second, progress=0.0)
labels = sum(terms[name] for name in tasks.names)
for name, loss in {"labels": labels, "consistency": terms["cross_task"]}.items():
    views = [first.images, second.images]
    into = torch.autograd.grad(loss, views, retain_graph=True, materialize_grads=True)
    print(f"{name}: first view {bool(into[0].any())}, second view {bool(into[1].any())}")
print("L =", " + ".join(terms))

# %% [markdown]
# ## 8 Many small maps at once
#
# As printed, Eq. 4 loops over images and pairs, and maps one image at a time. Here all maps of a step travel
# together. `statistics="image"` computes what the loop computes: BatchNorm over each map alone.
#
# > **Predict.** Eight images, three tasks, one label: how many maps go through $m$ in a step? How many of them are the same map in front of the first FiLM?

# %%
from tests.benchmarks.xtc import parity

passes = [tuple((link.source.name, row, "ŷ") for row in link.rows) for link in links]
passes += [tuple((link.target.name, row, "y") for row in link.rows) for link in links]
every_map = [one for group in passes for one in group]
print(f"{len(every_map)} maps in {len(passes)} passes; {len(set(every_map))} different ones")
totals = parity(TASKS[3], images=3, side=64, width_factor=0.125)
assert abs(totals["image"] - totals["loop"]) < 1e-5
print("total loss of the loop and of all at once: the same within 1e-5")

# %% [markdown]
# One step of a small network takes this much processor time, which depends on the machine. *supervised* has no
# consistency, *loop* maps one image at a time, *image* maps all at once with the same statistics, and *pass* lets
# BatchNorm average over the images of a pass, which is the default.

# %% tags=["nbval-ignore-output"]
from tests.benchmarks.xtc import step_times

size = {"images": 4, "height": 32, "width": 64, "width_factor": 0.25, "steps": 1, "clock": "cpu"}
times = step_times(TASKS[3], **size)
print(
    ", ".join(
        f"{name} {1000 * times[name]:.0f} ms" for name in ("supervised", "loop", "image", "pass")
    )
)

# %% [markdown]
# ## 9 What the paper leaves open, and what is done here

# %%
from mtpsl.papers.xtc.loss import CHOICES

rows = pd.DataFrame(
    CHOICES.items(), columns=["what differs", "what the code does, what the paper says"]
)
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# How much does each reading matter for the loss? One step, same weights, same noise. The last line is Eq. 4 as printed.
#
# > **Predict.** One of the lines equals the first. Which, and until when?
#
# (At the start all γ are 1 and all β are 0, so it does not
# matter which row of the table a map gets. The first step of the optimizer ends that.)

# %%
readings = {
    "released code, as here": {},
    "A of the input task": {"pair_of": "input"},
    "one vector, not one per position": {"distance": "vector"},
    "BatchNorm image by image": {"statistics": "image"},
    "division by |T|, |U|": {"per_image_mean": True},
}
printed = {"weight": 1.0, "regularizer": 1.0, "per_image_mean": True, "two_views": False}
readings["Eq. 4"] = printed | {"pair_of": "input", "distance": "vector"}

# %%
losses = {}
for name, args in readings.items():
    torch.manual_seed(0)
    method = build_method("xtc", tasks, *made_of[:2], args, made_of[3])
    torch.manual_seed(1)
    views = [batch] * method.views
    terms = method.to(session.device).training_step(*views, progress=0.0)
    losses[name] = {term: terms[term].item() for term in ("cross_task", "regularizer")}

# %% tags=["nbval-ignore-output"]
show_table(pd.DataFrame(losses).T.style.format("{:.2f}"))
summed, halved = (losses[name] for name in ("released code, as here", "division by |T|, |U|"))
assert abs(2 * halved["cross_task"] / summed["cross_task"] - 1) < 0.01  # two sources per image

# %% [markdown]
# ## 10 The alternatives
#
# Each alternative takes one training step first. Then each has a cell with its loss and with what it needs beside the
# network. (In the paper both losses of maps are written as $L_{ct}$ in the space of task *t*; here they are that task's loss
# and an absolute difference.) $m^{s\to t}$ is a whole SegNet for each ordered pair
# that predicts task *t*; $m$ is XTC's mapping network.

# %%
alternatives, terms = {}, {}
for name in ("direct_map", "perceptual_map", "x_task", "contrastive", "discriminator"):
    torch.manual_seed(session.seed)
    method = build_method(name, tasks, *made_of).to(session.device)
    first_terms = method.training_step(*[batch] * method.views, progress=0.5)
    terms[name] = {term: round(value.item(), 2) for term, value in first_terms.items()}
    alternatives[name] = method

# %% [markdown]
# **Direct-Map**: $L^t\bigl(m^{s\to t}(\hat y^s),\, y^t\bigr)$. The prediction of *s*, mapped to *t*, is compared with the label.
#
# > **Predict.** Classes of a room to its depth: what is the best such a map can do?

# %% tags=["nbval-ignore-output"]
direct = alternatives["direct_map"]
assert len(direct.maps) == K * (K - 1) and terms["direct_map"]["direct_map"] > 0
print(f"{len(direct.maps)} mapping networks; terms {terms['direct_map']}")

# %% [markdown]
# As for the guess: depth varies inside a class, so no map from classes alone can tell it: the best one answers with what is typical of a class at
# its place, and a right prediction of classes keeps a loss above zero.
#
# **Perceptual-Map**: $|m^{s\to t}(\hat y^s) - m^{s\to t}(y^s)|$. Now *s* has the label: prediction and label of one task are compared
# through the eyes of another. A right prediction costs nothing, whatever the map:

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.xtc.loss import Link
from mtpsl.papers.xtc.pair_maps import perceptual_loss

perceptual = alternatives["perceptual_map"]
link = Link(
    tasks["depth"], tasks["normals"], tuple(batch.labeled["depth"].nonzero().flatten().tolist())
)
right = {"depth": torch.where(batch.mask("depth"), batch.targets["depth"], 0.0)}
wrong = {"depth": output.predictions["depth"]}
costs = [perceptual_loss(perceptual.maps, [link], Inputs(m, batch), batch) for m in (right, wrong)]
assert costs[0] == 0 < costs[1]
print(f"right depth: {costs[0]:.3f}, wrong depth: {costs[1]:.3f}")
print(f"{len(perceptual.maps)} mapping networks; terms {terms['perceptual_map']}")

# %% [markdown]
# **X-Task** (Zamir et al. 2020): the same loss, but the maps learn from label to label.
#
# > **Predict.** With one label per image, what is there to learn from?

# %% tags=["nbval-ignore-output"]
clean = rooms.load(range(4)).to(session.device)
x_task, few = alternatives["x_task"], terms["x_task"]
many = x_task.training_step(*[clean] * x_task.views, progress=0.5)
many = {term: round(value.item(), 2) for term, value in many.items()}
assert few["perceptual"] == few["maps"] == 0 and many["maps"] > 0
print(f"{len(x_task.maps)} mapping networks; one label: {few}; all labels: {many}")

# %% [markdown]
# **Contrastive**: $\max(0,\; 0.2 + d(m(\hat y^s_i), m(y^t_i)) - d(m(\hat y^s_j), m(y^t_i)))$. A label is nearer to its own image's prediction than to
# those of others. By hand, for a constant mapping, and for one that tells images apart:

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.xtc.joint_losses import triplet_loss

apart = torch.eye(2).view(2, 2, 1, 1)
constant = torch.ones(2, 2, 1, 1)
torch.testing.assert_close(triplet_loss(constant, constant, 0.2), torch.full((2,), 0.2))
assert not triplet_loss(apart, apart, 0.2).any()  # 0.2 + 0 - 1 < 0
assert terms["contrastive"]["contrastive"] > 0
print("1 mapping network; terms", terms["contrastive"])

# %% [markdown]
# **Discriminator**: a small network tells from two embeddings whether they are of one image; both sides learn in turns.
#
# > **Predict.** If all embeddings are equal, what is the best cross-entropy?

# %% tags=["nbval-ignore-output"]
from mtpsl.papers.xtc.joint_losses import judged

judge = lambda pairs: torch.zeros(len(pairs))  # noqa: E731  it cannot tell
torch.testing.assert_close(judged(judge, constant, constant), torch.full((2,), 2.0).log())
discriminator = alternatives["discriminator"]
print(f"1 mapping network and a judge of {count(discriminator.judge):,} weights here;", end=" ")
print(f"{discriminator.turns} turns per batch; first {terms['discriminator']}")

# %% [markdown]
# A judge that cannot tell pays $\ln 2 = 0.69$, and it can do no better where all embeddings are equal.
#
# **SSL** is Eq. 2 and has no mapping network at all. The table counts what passes through a mapping network for each pair,
# and how many such networks there are:

# %%
a_step = {"SSL": 0, "Direct-Map": 1, "Perceptual-Map": 3}  # its loss, and how its maps learn
a_step |= dict.fromkeys(("Contrastive", "Discriminator", "XTC"), 2)
squared = lambda k: k * (k - 1)  # noqa: E731
networks = {"SSL": lambda k: 0, "Direct-Map": squared, "Perceptual-Map": squared}
cost = {name: {"maps per pair and image": per_pair} for name, per_pair in a_step.items()}
for name in cost:
    how_many = networks.get(name, lambda k: 1)
    cost[name] |= {f"networks for {k} tasks": how_many(k) for k in TASKS}
show_table(pd.DataFrame(cost).T)
assert len(direct.maps) == cost["Direct-Map"]["networks for 3 tasks"]

# %% [markdown]
# That is why the paper leaves Direct-Map and Perceptual-Map out on PASCAL-Context: 20 SegNets for five tasks.
#
# ## 11 Where each equation is
#
# Read from the source: the statement that computes equation *n* is marked `# Eq. (n)` there, or a function that is the
# whole equation says so in its docstring. A test fails if one is missing.

# %%
from mtpsl.report.equations import find_equations

places = find_equations("xtc")
assert {place.equation for place in places} == {1, 2, 3, 4}
rows = [(f"Eq. {p.equation}", f"{p.file}:{p.line}", p.function, p.code) for p in places]
rows = pd.DataFrame(rows, columns=["equation", "file:line", "function", "statement"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# ## Take away
#
# 1. XTC compares a *prediction* of one task with the *label* of another one, in a space that holds what both share.
# 2. One mapping network serves all pairs; a pair costs a scale and a shift per channel, where Direct-Map pays a whole SegNet.
# 3. A consistency of zero can mean that everything was learned, or that the mapping is constant. The regularizer tells the
#    two apart only as far as the image's own features do.
#
# ## Exercises
#
# 1. Five tasks, and an image with two labels. In how many pairs does it take part, and how many maps go through $m$? What about all five labels?
# 2. In the toy of Section 6, make both codes equal (`torch.cat([far * 0 + 1] * 2, dim=1)`). Where do the curves end, and why?
# 3. A depth prediction is right up to a factor of 2. What do L1 and $L_{ct}$ say about it? Which line of `prediction_input` decides that?
# 4. Embeddings end in a ReLU and a max-pooling. What is the largest $L_{ct}$ that two of them can have? Which value would two random ones have without either, with the first, and with both?
# 5. Why would a softmax in place of the Gumbel sample make it easy for $m$ to tell predictions from labels, and why is that bad?
# 6. Perceptual-Map needs the label of *s*, Direct-Map the label of *t*. On which images does each of them teach a task that has no label there?
#
# <details><summary>Solutions</summary>
#
# 1. Three sources times two targets: 6 pairs, 12 maps, of which 3 + 2 = 5 are different in front of the first FiLM. With all labels the code takes all 20 ordered pairs: 40 maps, 10 different ones.
#
# 2. A constant is now near every feature, so $R$ no longer forbids it: "to the feature" goes to 0 and "other images" too. The regularizer can only keep apart what the features keep apart.
#
# 3. L1 is as large as the error. $L_{ct}$ is unchanged, because `by_its_peak` divides each map by its largest value: consistency teaches the shape of depth, and the labels of other images teach its scale.
#
# 4. Without negative numbers no cosine is below 0, so $L_{ct} \le 1$. Without ReLU random vectors of many channels are nearly at right angles, with a distance near 1. Behind a ReLU they are alike already: rectified normal numbers have a cosine of $1/\pi$, a distance of 0.68. And behind the pooling that follows it here, which keeps the largest of four, 0.29 is left.
#
# 5. A pixel with 0.7, 0.2, 0.1 is not one-hot, and every label is. A mapping that can tell them apart could treat them differently, and agree in the joint space for reasons that have nothing to do with the scene.
#
# 6. Direct-Map: on every image, the unlabeled *s* learns from the label of *t*. Perceptual-Map teaches only the labeled *s* once more, through another task's eyes; what it gives to tasks without label comes through the shared backbone.
#
# </details>
#
# ## References
#
# Li, Liu, Bilen, [CVPR 2022](https://arxiv.org/abs/2111.14893), the paper; Zamir et al., [*Robust Learning Through Cross-Task Consistency*](https://arxiv.org/abs/2006.04096), CVPR 2020, X-Task; Perez et al., [*FiLM*](https://arxiv.org/abs/1709.07871), AAAI 2018, scale and shift; Jang, Gu, Poole, [*Gumbel-Softmax*](https://arxiv.org/abs/1611.01144), ICLR 2017.
