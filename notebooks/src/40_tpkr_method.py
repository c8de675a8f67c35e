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
# # TPKR, equation by equation
#
# **You will be able to** compute every equation of TPKR by hand and find it in the code, say why the affinity of tasks with their own prototypes cannot exceed 0.69 with three tasks, show what the printed sign of Eq. 5 teaches, and tell which of the paper's parameters can be derived and which cannot. **Takes** about 45 minutes to read. **Read before:** [`01_label_settings`](01_label_settings.ipynb), and [`10_hitts_method`](10_hitts_method.ipynb), whose task tokens are the relatives of TPKR's prototypes. **Previous:** [`33_rdc_beyond`](33_rdc_beyond.ipynb). **Next:** [`41_tpkr_tables`](41_tpkr_tables.ipynb). **Paper:** Oh, Kim, Kim, [*Task Prototype-Based Knowledge Retrieval*](https://arxiv.org/abs/2601.07474), AAAI 2026, section "Proposed Method".
#
# **The problem in three sentences.** Where a task has no label, XTC, HiTTs and RDC all work with what the network predicts for it, as a target or as one side of a comparison, and such predictions may be wrong. TPKR keeps one learned vector per task instead, its *prototype*, and asks of every position how much it resembles each of them. A transformer then reads the prototypes through these affinities, for labeled and unlabeled tasks alike.
#
# This page walks through Eq. 1 to 10 on two pixels and three tasks beside the package's own functions, with an `assert` wherever the two meet. There is no public code, so nobody can say how the authors filled the gaps; Section 11 lists what is done here. Errata of the paper are cells of seconds, placed where they matter, and listed in Section 10.
#
# *In a reading group: stop at every* **Predict** *box and let people commit themselves before the next cell runs.*

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
# Figure 2 of the paper, with the shapes and counts that hooks read off a trained network. It has five tasks (people21, the stand-in for PASCAL-Context); the rest of this page has three.

# %%
overview = session.figure("tpkr/fig2")["computed now"]
show(overview.figure, alt=overview.alt, caption=overview.caption)

# %% [markdown]
# ## Symbols
#
# `B` images of `H x W` pixels, `T` tasks; a map of features has `h x w = n` positions and `c` channels; `K` codes; a prototype has `d` numbers. The paper calls the prototypes *slots*; the matrix `V` of all of them it calls the *task prototype*.

# %%
from mtpsl.papers import PAPERS

show_terms([term.row for term in PAPERS["tpkr"].terms])

# %% [markdown]
# ## 1 One batch, and what becomes of it
#
# Six rooms with one label each, and a network at the profile's width. `trace` returns every quantity of the paper.

# %%
import torch
import torch.nn.functional as F

from mtpsl.data.labels import PartialLabels, assign
from mtpsl.papers.tpkr.tables import TABLES
from mtpsl.runs.data import bind_data, open_split, tasks_of
from mtpsl.runs.network import build, without_pretrained
from mtpsl.runs.profiles import get_profile

(paper,) = TABLES["table2"].row("one-label/TPKR").experiments
experiment = without_pretrained(get_profile(session.profile)(paper)).replace(seed=session.seed)
experiment = bind_data(experiment, session.data_root)

# %%
rooms, tasks = open_split(experiment, "train", session), tasks_of(experiment)
partial = PartialLabels(rooms, assign("one_label", len(rooms), tasks.names, seed=0))
batch = partial.load(range(6)).to(session.device)
tpkr = build(experiment).to(session.device)
with torch.no_grad():
    trace = tpkr.trace(batch.images)
T, own_task = len(tasks), tasks.names[0]
shapes = {"f^e": trace.encoded, "f^i": trace.latent, "f^t": trace.decoded[own_task]}
shapes |= {"S, A": trace.affinity[own_task], "f^tr": trace.retrieved[own_task]}
print("labels:", {t: int(batch.labeled[t].sum()) for t in tasks.names})
print({name: tuple(x.shape) for name, x in shapes.items()})

# %% [markdown]
# ## 2 Eq. 1: the nearest code
#
# $$f^q_{ij} = \operatorname*{arg\,min}_{z_k\in Z}\,\lVert f^e_{ij}-z_k\rVert, \qquad f^i = f^e + f^q$$
#
# A codebook holds K = 4,096 vectors. Every position of the backbone's map looks up the one nearest to it, and the two are added.
#
# > **Predict.** Two pixels, (1.8, 0.5) and (0.4, 2.0), and three codes, (0, 0), (2, 0) and (0, 3). Which code does each take? What would the decoders after it lose if all codes were zero?

# %%
from mtpsl.papers.tpkr.codebook import Codebook, nearest_code

pixels = torch.tensor([[1.8, 0.5], [0.4, 2.0]])
f_e = pixels.T.view(1, 2, 1, 2)  # (B, c, h, w)
book = Codebook(2, 3)
book.codes.data = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
f_q, _, number = book(f_e)  # Eq. 1
distances = (pixels[:, None] - book.codes).square().sum(dim=2)  # (2 pixels, 3 codes)
assert number.flatten().tolist() == distances.argmin(dim=1).tolist() == [1, 2]
torch.testing.assert_close(f_q[0, :, 0].T, book.codes[[1, 2]])
for pixel, row in zip("12", distances.tolist(), strict=True):
    print(f"pixel {pixel}, squared distances:", [round(x, 2) for x in row])

# %% [markdown]
# Each pixel takes the code at the smallest distance: the first (2, 0), the second (0, 3). If all codes were zero the decoders would lose nothing: they would read $f^e$. Keep that in mind.
#
# **Memory.** $\lVert x-z\rVert^2$ and $\lVert z\rVert^2/2 - x\cdot z$ have the same argmin, so distances are one matrix product. For six images of 512x512 pixels it would still be a matrix of 24,576 x 4,096 numbers; the package walks through it in pieces.

# %%
from mtpsl.papers.tpkr.codebook import CHUNK, CODES

positions = 6 * (512 // 8) ** 2
at_once, in_pieces = (4 * rows * CODES / 1e6 for rows in (positions, CHUNK))
print(f"{positions:,} positions: {at_once:.0f} MB at once, {in_pieces:.0f} MB in pieces")
torch.manual_seed(0)
many, codes = torch.randn(300, 16), torch.randn(50, 16)
assert torch.equal(nearest_code(many, codes), torch.cdist(many.double(), codes.double()).argmin(1))

# %% [markdown]
# **How do codes learn?** An argmin has no gradient, and the paper does not say what it puts in its place. Three rules are common:

# %%
import pandas as pd

from mtpsl.papers.tpkr.codebook import UPDATES

rows = pd.DataFrame(UPDATES.items(), columns=["codes=", "what it does"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# > **Predict.** Under which rule does a loss on $f^i$ reach the codes? And under which does $f^e$ get *twice* the gradient of $f^i$?

# %%
lines = {}
for update in UPDATES:
    book = Codebook(2, 3, update=update)
    book.codes.data = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    f_e.requires_grad_()
    f_i = f_e + book(f_e)[0]  # Eq. 1
    asked = [f_e, book.codes] if book.codes.requires_grad else [f_e]
    slopes = torch.autograd.grad(f_i.sum(), asked, allow_unused=True)
    reached = len(slopes) == 2 and slopes[1] is not None
    lines[update] = {"gradient of f^e": slopes[0].unique().item(), "codes reached": reached}

# %%
show_table(pd.DataFrame(lines).T.style.format({"gradient of f^e": "{:.0f}"}))
assert [line["gradient of f^e"] for line in lines.values()] == [1, 2, 2]
assert [line["codes reached"] for line in lines.values()] == [True, False, False]

# %% [markdown]
# With `straight_through` the codes therefore need a loss of their own, or they would never move; with `ema` they are averages of what chose them. The default is `gather`, because the paper says that $L_{tae}$ enhances the codebook and names no further loss.
#
# ## 3 Eq. 2: rebuild the image
#
# $$L_{tae} = \begin{cases} \tfrac12 |I^r-I|^2 & |I^r-I|<1\\ |I^r-I|-\tfrac12 & \text{otherwise}\end{cases}$$
#
# Three small convolutions rebuild the image from $f^i$; no label is needed. By hand on differences of 0.5 and of 2, and through the package on the batch:

# %%
for difference, by_hand in ((0.5, 0.125), (2.0, 1.5)):
    assert F.smooth_l1_loss(torch.tensor(difference), torch.tensor(0.0)) == by_hand  # Eq. 2
print("0.5 -> 0.125, 2 -> 1.5")

# %% tags=["nbval-ignore-output"]
from mtpsl.models.backbone import to_size

with torch.no_grad():
    rebuilt = to_size(tpkr.reconstruction.decoder(trace.latent), batch.images)
    error = rebuilt - batch.images
    by_hand = torch.where(error.abs() < 1, error.square() / 2, error.abs() - 0.5).mean()  # Eq. 2
    L_tae = tpkr.reconstruction(trace.latent, batch.images)
torch.testing.assert_close(L_tae, by_hand)
print(f"share of numbers on the linear branch: {(error.abs() >= 1).float().mean():.0%}")

# %% [markdown]
# Images in [0, 1] leave the linear branch to networks that are far off, so $L_{tae}$ is very nearly half a mean squared error.
#
# **Is the codebook used?** Four readings answer, and every training logs them: the share of codes in use, their perplexity ($e^{\text{entropy}}$, the number of codes that would be as varied if all were used equally often), the length of $f^q$ over that of $f^e$, and $L_{tae}$ with *other codes*, each code in the place of another. A network that needs its codes must rebuild the image worse from other ones.
#
# Here the row "+ $L_{tae}$" of Table 3, which has a codebook and no transformer, is trained with each rule:
#
# > **Predict.** How many of 4,096 codes does a trained network use? Under which rule does it matter *which*?

# %%
from mtpsl.runs.run import run

short = {"epochs": 10} if session.profile == "smoke" else {}  # long enough to see something
ends = {}
for update in UPDATES:
    row = experiment.replace(method_args={"blocks": 0, "codes": update}, **short)
    ends[update] = run(row, session).history[-1]["terms"]
change = {u: end["tae_other_codes"] / end["tae"] - 1 for u, end in ends.items()}

# %% tags=["nbval-ignore-output"]
names = {"codes_used": "{:.1%}", "code_perplexity": "{:.1f}", "code_length": "{:.2f}"}
lines = {u: {n: end[n] for n in names} | {"other codes": change[u]} for u, end in ends.items()}
show_table(pd.DataFrame(lines).T.style.format(names | {"other codes": "{:+.1%}"}))

# %%
for end in ends.values():
    assert 1 <= end["code_perplexity"] <= CODES * end["codes_used"] + 1e-3
if session.profile == "smoke":
    assert max(end["codes_used"] for end in ends.values()) < 0.05
    assert abs(change["gather"]) < 0.05 and abs(change["straight_through"]) < 0.05
    print("fewer than 5 % of the codes in use; other codes change L_tae by less than 5 %")

# %% [markdown]
# Codes that are short beside $f^e$ hardly matter, whichever they are. Moving averages follow the features that choose them, so they grow long, and then exchanging them hurts. But a perplexity near 1 is a codebook with one word: what it adds is a constant, and a constant tells nothing of the image.
#
# **Erratum: the codebook can be ignored.** The decoders read $f^e + f^q$. A network may keep $f^q$ small and constant and do all its work in $f^e$, and as printed nothing stops it. Then a codebook adds 2.1 M parameters and no information, which fits the 0.1 mIoU that Table 3 credits it with. In VQ-VAE the decoder sees $f^q$ *alone*, and there is no way around the codes.
#
# The same question can be put to predictions, those of a trained TPKR on the test images with its codes and with others. (After so short a training the mean IoU is very low, and a change of it says little.)

# %%
from mtpsl.engine import evaluate
from mtpsl.runs.data import test_batches
from mtpsl.runs.network import load_method

longer = {"epochs": 20} if session.profile == "smoke" else {}
trained = experiment.replace(**longer)
history = [epoch["terms"] for epoch in run(trained, session).history]
network = load_method(trained, session)
with_codes = evaluate(network, test_batches(trained, session))
look_up = network.codebook.look_up
network.codebook.look_up = lambda number: look_up((number + CODES // 2) % CODES)
with_others = evaluate(network, test_batches(trained, session))

# %% tags=["nbval-ignore-output"]
headlines = ["semseg/miou", "depth/abs_err", "normals/mean_err"]
lines = {"its own codes": with_codes, "other codes": with_others}
show_table(pd.DataFrame(lines).T[headlines].style.format("{:.3f}"))

# %%
if session.profile == "smoke":  # neither changes by more than a tenth
    assert all(abs(with_others[name] / with_codes[name] - 1) < 0.1 for name in headlines[1:])
    print("depth and normals hardly notice that every code is another one")

# %% [markdown]
# ## 4 Eq. 3, 4 and 7: similarity, affinity, affinity feature
#
# $$S(\hat f^t,V)=\left(\frac{\hat f^t\cdot v_\tau}{\lVert\hat f^t\rVert\,\lVert v_\tau\rVert}\right)_{\tau=1}^T \qquad A = \operatorname{softmax}(S) \qquad L_{tke} = -\sum_t Y_t \log A \qquad f^{ta} = A\,V$$
#
# Features of a task are projected to the length d of a prototype. Their cosines with all T prototypes go through a softmax, and $L_{tke}$ is a cross-entropy whose class is the number of the task itself. Two pixels, three tasks, d = 2:
#
# > **Predict.** The prototypes are (1, 0), (0, 2) and (-3, 0), the pixels (4, 3) and (-6, 8). What are the six cosines? Which pixel belongs to which task, and does the length of a prototype matter to S, to A, to $f^{ta}$?

# %%
from mtpsl import TaskPrototypes
from mtpsl.data import find_class

nyud = find_class("rooms13").tasks  # the three of NYUD-v2
prototypes = TaskPrototypes(nyud, 2)
prototypes.slots.data = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
f_t = torch.tensor([[4.0, 3.0], [-6.0, 8.0]])
S = prototypes.similarity(f_t)  # Eq. 3
lengths = f_t.norm(dim=1, keepdim=True) * prototypes.slots.norm(dim=1)
torch.testing.assert_close(S, f_t @ prototypes.slots.T / lengths)
torch.testing.assert_close(S, torch.tensor([[0.8, 0.6, -0.8], [-0.6, 0.8, 0.6]]))
print("S =", [[round(x, 2) for x in row] for row in S.tolist()])

# %%
with torch.no_grad():
    A = prototypes.affinity(S)  # Eq. 4
    f_ta = prototypes.affinity_features(A)  # Eq. 7
torch.testing.assert_close(A, S.exp() / S.exp().sum(dim=1, keepdim=True))
torch.testing.assert_close(A.sum(dim=1), torch.ones(2))
by_hand = [[a * 1 + c * -3, b * 2] for a, b, c in A.tolist()]  # A V, a sum of slots
torch.testing.assert_close(f_ta, torch.tensor(by_hand))

# %%
from mtpsl.report.sketches import draw_matrices

show(
    draw_matrices({"S": S.detach(), "A": A}, {"S": (-1, 1), "A": (0, 1)}),
    alt="Two matrices of two pixels by three tasks: cosines from -0.8 to 0.8, and affinities from "
    "0.10 to 0.49.",
    caption="Rows are pixels, columns are tasks. Left the cosines, right their softmax.",
)

# %% [markdown]
# The first pixel is nearest to the first prototype, the second pixel to the second. Cosines forget length, so S and A do; $f^{ta}$ mixes the prototypes as they are. Look at how *flat* A is: cosines of 0.8 and -0.8 become affinities of 0.49 and 0.10. More about that in Section 5.
#
# $L_{tke}$ by hand, if each of the three tasks had these two pixels: the mean of $-\log$ of what each gives its own slot.

# %%
similarity = S.expand(3, 1, 2, 3)  # (T, B, n, T): three tasks, one image, two pixels
everything = torch.ones(3, 1, dtype=torch.bool)
L_tke = prototypes.embedding_loss(similarity, everything)  # Eq. 4
own = [-A[:, task].log().mean() for task in range(3)]
torch.testing.assert_close(L_tke, sum(own) / 3)
only_first = torch.tensor([[True], [False], [False]])  # the image has a label of task 1 alone
torch.testing.assert_close(prototypes.embedding_loss(similarity, only_first), own[0])
print(f"L_tke {L_tke:.3f}; an even affinity would cost log 3 = {torch.tensor(3).log():.3f}")

# %% [markdown]
# **The class is the task's number, so no label is read.** The paper stores what it knows "using labeled predictions", and by default only images with a label of the task count. But what the label says is irrelevant, and `tke_on="all"`, which counts every image, needs no further label. The next cell overwrites all labels:

# %%
from dataclasses import replace

nonsense = {name: torch.zeros_like(target) for name, target in batch.targets.items()}
with torch.no_grad():
    terms = tpkr.prototypes(trace.projected, batch)
    same = tpkr.prototypes(trace.projected, replace(batch, targets=nonsense))
assert all(torch.equal(terms[name], same[name]) for name in ("tke", "tc"))
print("L_tke and L_tc do not change when every label is overwritten")

# %% [markdown]
# **A shortcut.** $L_{tke}$ asks that the features of task t point towards $v_t$. Each task has its own decoder and projection, so a *bias* can do that: the same direction everywhere, whatever the image. Then $L_{tke}$ is as low as it gets, A is the same at every position, and the cross-attention has T equal answers to all questions.
#
# > **Predict.** If A is constant over positions, what does the cross-attention of Eq. 9 return for two different queries?

# %%
from mtpsl.papers.tpkr.retrieval import SlotAttention

simplex = lambda tasks: torch.eye(tasks) - 1 / tasks  # noqa: E731  as far apart as T vectors can be
short_cut = TaskPrototypes(nyud, 3)
short_cut.slots.data = simplex(3)
blind = simplex(3).view(3, 1, 1, 3).expand(3, 2, 6, 3)  # f^^t = v_t at 6 positions of 2 images
with torch.no_grad():
    A_blind = short_cut.affinity(short_cut.similarity(blind))
    ask = SlotAttention(channels=8, dimension=3, width=8, heads=2)
    answers = ask(torch.randn(2, 6, 8), A_blind[0], short_cut.slots)
assert A_blind.std(dim=2).max() < 1e-6 and answers.std(dim=1).max() < 1e-5
print("six different queries, one answer: retrieval has become a bias")

# %% [markdown]
# Every training logs `affinity_spread`, the standard deviation of the own affinity over the positions of an image. Here it is for the network that Section 3 trained, in its first epoch and in its last:

# %% tags=["nbval-ignore-output"]
first, last = history[0], history[-1]
for name in ("tke", "own_affinity", "affinity_spread", "tc"):
    print(f"{name:<16} {first[name]:.4f} -> {last[name]:.4f}")

# %%
assert last["tke"] < first["tke"] and last["own_affinity"] > first["own_affinity"]
if session.profile == "smoke":
    assert last["affinity_spread"] < first["affinity_spread"]
    print("L_tke falls, and affinity varies less over the image than in the first epoch")

# %% [markdown]
# ## 5 Erratum: a ceiling over the affinity
#
# Eq. 4 is a softmax over *cosines*, without a temperature. Cosines lie in [-1, 1], so no affinity can reach 1. The exact bound: let $x_t$ be the (unit) feature of task t and $v_\tau$ the (unit) prototypes. Jensen's inequality gives
#
# $$L_{tke} = \tfrac1T\sum_t\log\Bigl(1+\sum_{\tau\ne t}e^{x_t\cdot v_\tau-x_t\cdot v_t}\Bigr) \;\ge\; \log\bigl(1+(T-1)\,e^{-g}\bigr), \qquad g = \tfrac1T\sum_t x_t\cdot v_t-\tfrac1{T(T-1)}\sum_{t\ne\tau}x_t\cdot v_\tau .$$
#
# With the vectors as rows of $X$ and $V$ and $P = I-\tfrac1T\mathbf 1\mathbf 1'$, $\;g=\tfrac1{T-1}\operatorname{Tr}(X'PV)\le\tfrac1{T-1}\lVert X\rVert\,\lVert V\rVert=\tfrac{T}{T-1}$. Equality holds where $X = V$ is a **simplex**: all cosines between different tasks are $-\tfrac1{T-1}$, and every task is equally far from every other.
#
# > **Predict.** How high is the affinity of a task with its own prototype, at best, with two tasks? With five? And what is left to say about *which* tasks are related?

# %%
from mtpsl.papers.tpkr.printed import at_optimum

counts = torch.arange(2, 11)


def share(own, other):
    """Softmax of one cosine among T - 1 others, for all T."""
    return 1 / (1 + (counts - 1) * torch.exp(torch.as_tensor(other - own)))


ceiling = share(1, -1 / (counts - 1))
charts = {"simplex": ceiling, "orthogonal": share(1, 0 * counts), "even": 1 / counts}
charts["simplex, temperature 0.1"] = share(10, -10 / (counts - 1))

# %%
for tasks_, index in ((3, 1), (5, 3)):  # the package's own functions, on real prototypes
    affinity, _ = at_optimum(tasks_)
    torch.testing.assert_close(ceiling[index].item(), affinity)
    print(
        f"T = {tasks_}: affinity at most {affinity:.3f}, L_tke at least {-ceiling[index].log():.3f}"
    )

# %%
from mtpsl.report.sketches import draw_lines

numbers = {name: (counts.numpy(), values.numpy()) for name, values in charts.items()}
show(
    draw_lines({"affinity with the own prototype": numbers}, "tasks T"),
    alt="Curves over 2 to 10 tasks: the affinity with the own prototype falls from 0.88 to 0.25 "
    "where prototypes form a simplex, a little above orthogonal ones; at temperature 0.1 it is 1.",
    caption="The highest affinity that L_tke can teach. Only a temperature lifts the ceiling.",
)

# %% [markdown]
# With two tasks the ceiling is 0.88, with five 0.47. At the optimum every other task gets the same, $\tfrac{1-a}{T-1}$. So a perfectly trained affinity says *nothing* about how tasks are related, which is what it is introduced for: whatever relation Figure 6 shows, $L_{tke}$ is working to even it out. The argument `temperature` divides the cosines and lifts the ceiling; [`43_tpkr_beyond`](43_tpkr_beyond.ipynb) trains with it.
#
# The bound holds for the mean of $\log A$ over tasks, so for the geometric mean of the own affinities. *One* task may have more at the expense of the others: opposite to two equal ones, a task reaches $e/(e+2e^{-1}) = 0.79$, and those two are left with less than a half. For the mean, no set of vectors does better than the simplex; a thousand random ones do not come close:

# %%
lonely = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
alone = (lonely @ lonely.T).softmax(dim=1).diagonal()
assert alone[0] > 0.78 and alone[1:].max() < 0.5 and alone.log().mean() < ceiling[1].log()
torch.manual_seed(0)
random = F.normalize(torch.randn(1000, 2, 5, 32), dim=3)
cosines = random[:, 0] @ random[:, 1].mT  # (1000, 5, 5)
losses = -cosines.log_softmax(dim=2).diagonal(dim1=1, dim2=2).mean(dim=1)
assert losses.min() > -ceiling[3].log()
print(f"L_tke with five tasks: floor {-ceiling[3].log():.2f}, best random {losses.min():.2f}")

# %% [markdown]
# ## 6 Eq. 5 and 6: consistency, and the sign of it
#
# $$L_{tc}=\sum_t\sum_i\sum_{\tau\ne t}\max\bigl(\,\underbrace{S(\tilde x^t,\hat x^t_i)-S(\tilde x^t,\hat x^\tau_i)}_{\text{as printed}}+\alpha,\;0\bigr),\qquad L_{akg}=L_{tke}+L_{tc}$$
#
# $\tilde x^t$ is an aggregate of a task's features over the images of a batch; here it is their mean over the images with a label of the task. The text wants features "consistent across all scenarios" and "clearly separated from those of other tasks".
#
# > **Predict.** A loss is minimized. What does the printed difference do to the similarity with the own mean, and to that of other tasks?
#
# The next cell computes both by hand, for three tasks, two images and two pixels. By default (`tc_sign="text"`) the package exchanges the two similarities, as the text demands; `tc_sign="printed"` leaves them as they are in Eq. 5.

# %%
torch.manual_seed(0)
x = torch.randn(3, 2, 2, 4)  # (T, B, n, d)
counted = torch.tensor([[1, 0], [1, 1], [0, 0]]).bool()  # image i has a label of task t
anchor = [x[0, 0], x[1].mean(dim=0)]  # task 3 has no labeled image, and no anchor
near = lambda a, b: F.cosine_similarity(a, b, dim=-1).mean()  # noqa: E731  over positions
pairs = [(t, s, i) for t in (0, 1) for s in range(3) if s != t for i in (0, 1)]
gaps = [near(anchor[t], x[s, i]) - near(anchor[t], x[t, i]) for t, s, i in pairs]
for sign, factor in (("text", 1), ("printed", -1)):
    by_hand = sum((factor * gap + 0.5).clamp(min=0) for gap in gaps) / len(pairs)  # Eq. 5
    found = TaskPrototypes(nyud, 4, tc_sign=sign, alpha=0.5).consistency_loss(x, counted)
    torch.testing.assert_close(found, by_hand)
print(f"{len(pairs)} triples of anchor, other task and image; both signs agree by hand")

# %% [markdown]
# Eq. 6 is the sum of the two terms:

# %%
with torch.no_grad():
    terms = tpkr.prototypes(trace.projected, batch)  # Eq. 6
    maps = torch.stack([trace.projected[name] for name in tasks.names])
    labeled = torch.stack([batch.labeled[name] for name in tasks.names])
    L_tke = tpkr.prototypes.embedding_loss(tpkr.prototypes.similarity(maps), labeled)
    L_tc = tpkr.prototypes.consistency_loss(maps, labeled)
torch.testing.assert_close(sum(terms.values()), L_tke + L_tc)
print("L_akg =", " + ".join(terms))

# %% [markdown]
# **Erratum: the printed sign teaches the opposite.** Take networks out of the question: features of four images that may be anything, and prototypes that may be anything, trained by $L_{akg}$ alone.
#
# > **Predict.** With the sign of the text, and with the printed one: where do the cosines with the own mean and with those of other tasks end up?

# %%
from mtpsl.papers.tpkr.free import free_features

free, lines = {}, {}
for tasks_ in (3, 5):
    for sign in ("text", "printed"):
        free[tasks_, sign] = end = free_features(sign, tasks_, steps=200)
        cosines = {"own mean": end.same, "other means": end.cross}
        rest = {"affinity": end.own_affinity, "own slot largest": end.right}
        lines[f"{tasks_} tasks", sign] = cosines | rest

# %% tags=["nbval-ignore-output"]
show_table(pd.DataFrame(lines).T.style.format("{:.2f}"))

# %%
for tasks_, index in ((3, 1), (5, 3)):
    text, wrong = free[tasks_, "text"], free[tasks_, "printed"]
    assert abs(text.own_affinity - ceiling[index]) < 0.005  # where L_tke alone ends, Section 5
    assert text.same > 0.99 and abs(text.cross + 1 / (tasks_ - 1)) < 0.02
    assert wrong.own_affinity < 0.7 * text.own_affinity and wrong.same - wrong.cross < 0.2
print("text: the simplex, at the ceiling; printed: other tasks' means are almost as near")

# %%
panels = {f"{n} tasks, {sign}": end.cosines for (n, sign), end in free.items()}
show(
    draw_matrices(panels, dict.fromkeys(panels, (-0.5, 1))),
    alt="Four matrices of cosines. By the text 1 on the diagonal and -0.5 or -0.25 beside it; as "
    "printed all numbers are close to one another.",
    caption="Mean cosine of a task's mean (row) with the features of each task (column).",
)


# %% [markdown]
# With the sign of the text, everything ends where $L_{tke}$ alone would take it: in a simplex, at the ceiling. With the printed one, features are hardly nearer to the mean of their own task than to those of others, and the affinity loses much of what $L_{tke}$ gains. So the sign is a misprint, or the paper trained something that works against itself.
#
# **Erratum: $L_{tc}$ has nothing left to do.** Where $L_{tke}$ is at its floor, own and other cosines differ by $1+\tfrac1{T-1}$, and any $\alpha$ up to that leaves $L_{tc}$ at exactly 0:

# %%
for tasks_ in (3, 5):
    (_, text), (_, printed) = (at_optimum(tasks_, sign) for sign in ("text", "printed"))
    assert text == 0 and abs(printed - (1 + 1 / (tasks_ - 1) + 0.5)) < 1e-4
    print(
        f"T = {tasks_}: at the optimum of L_tke, L_tc is {text:.0f} by the text, {printed:.2f} printed"
    )

# %% [markdown]
# The next charts show both losses over the training of Section 3, beside the floor and the ceiling of Section 5:

# %%
epochs = list(range(1, len(history) + 1))
over = lambda name: (epochs, [terms[name] for terms in history])  # noqa: E731
level = lambda value: (epochs, [float(value)] * len(epochs))  # noqa: E731
losses = {"$L_{tke}$": over("tke"), "$L_{tc}$": over("tc"), "floor": level(-ceiling[T - 2].log())}
affinity = {"own affinity": over("own_affinity"), "ceiling": level(ceiling[T - 2])}
spread = {"over positions": over("affinity_spread")}

# %%
charts = {"losses": losses, "affinity": affinity, "its standard deviation": spread}
show(
    draw_lines(charts, "epoch"),
    alt="Three charts over epochs: L_tke falls towards its floor while L_tc stays at zero; the own "
    "affinity rises towards its ceiling; its spread over positions falls.",
    caption="One training of TPKR at the profile of this page.",
)
assert all(terms["tc"] < 0.1 * terms["tke"] for terms in history)
assert history[-1]["tke"] > -ceiling[T - 2].log()

# %% [markdown]
# $L_{tc}$ is never a tenth of $L_{tke}$. Where then do the 1.6 mIoU come from that Table 3 prints for it? The paper gives no spread over runs, so its numbers cannot tell; [`41_tpkr_tables`](41_tpkr_tables.ipynb) trains both rows.
#
# ## 7 Eq. 8 and 9: the transformer that retrieves
#
# $$f^t_{sa}=\operatorname{SelfAtt}(\hat f^t),\qquad f^t_{ca}=\operatorname{CrossAtt}(f^t_{sa},\,\hat f^{ta},\,\bar f^{ta})$$
#
# **Erratum:** no equation defines $\bar f^{ta}$ (nor $\hat f^{ta}$); keys and values must both be the $f^{ta}$ of Eq. 7, as the text says. Here is self-attention by hand, with a single head:

# %%
from mtpsl.papers.tpkr.retrieval import GridAttention, RetrievalBlock

torch.manual_seed(0)
sequence = torch.randn(1, 2, 4)  # (N, n, channels): two pixels
look = GridAttention(channels=4, width=4, heads=1)
with torch.no_grad():
    q, k, v = look.query(sequence), look.key(sequence), look.value(sequence)
    by_hand = look.out((q @ k.mT / 4**0.5).softmax(dim=2) @ v)  # Eq. 8
    torch.testing.assert_close(look(sequence, (1, 2)), by_hand)
print("two pixels attend to two pixels")

# %% [markdown]
# > **Predict.** $f^{ta} = AV$ has n rows of d numbers. What is its rank, at most? A key is a linear function of such a row; how many numbers does a query need to know about all n keys?
#
# Rows of A sum to 1, so the key of a position is $A_jVW_K + b = A_j(VW_K + b)$, a mixture of T projected prototypes. The rank of $f^{ta}$ is at most T, and a query that knows its T scores with the projected prototypes knows its score with every key. The package therefore projects T rows in place of n. Nothing is approximated; `direct` is the long way:

# %%
ask = SlotAttention(channels=4, dimension=2, width=4, heads=2)
with torch.no_grad():
    assert torch.linalg.matrix_rank(torch.rand(50, 3).softmax(1) @ torch.randn(3, 16)) <= 3
    torch.testing.assert_close(ask.key(f_ta), A @ ask.key(prototypes.slots))  # keys: T rows
    torch.testing.assert_close(ask.value(f_ta), A @ ask.value(prototypes.slots))  # values
    by_hand = ask.direct(sequence, A[None], prototypes.slots)  # Eq. 9
    torch.testing.assert_close(ask(sequence, A[None], prototypes.slots), by_hand)
print("the same through three slots as through every position")

# %% [markdown]
# At the paper's 288x384 there are 1,728 positions, three prototypes and d = 1,024: the projections of keys cost 576 times less. The whole cross-attention gains less, because every position still attends to every other; the second cell below times both ways on this machine.

# %%
n, d, W = (288 // 8) * (384 // 8), 1024, 512
long_way, through_slots = n * d * W, 3 * d * W
assert long_way / through_slots == 576
print(f"{long_way / 1e6:.0f} M multiplications for the keys, or {through_slots / 1e6:.1f} M")

# %% tags=["nbval-ignore-output"]
import time

ask = SlotAttention(channels=W, dimension=d, width=W, heads=8)
queries, many_A, V = torch.randn(1, n, W), torch.rand(1, n, 3).softmax(2), torch.randn(3, d)
seconds = {}
with torch.no_grad():
    for name, way in (("direct", ask.direct), ("through the slots", ask)):
        way(queries, many_A, V)
        began = time.process_time()
        way(queries, many_A, V)
        seconds[name] = time.process_time() - began
print({name: f"{1000 * s:.0f} ms" for name, s in seconds.items()})

# %% [markdown]
# One block is self-attention, cross-attention and a feed-forward network, each behind its norm and beside its residual:

# %%
block = RetrievalBlock(channels=4, dimension=2, width=4, heads=2)
with torch.no_grad():
    x = sequence + block.look(block.look_norm(sequence), (1, 2))  # Eq. 8
    x = x + block.ask.direct(block.ask_norm(x), A[None], prototypes.slots)  # Eq. 9
    x = x + block.think(block.think_norm(x))
    torch.testing.assert_close(block(sequence, (1, 2), A[None], prototypes.slots), x)
print("a block by hand")

# %% [markdown]
# Note what a row of Table 3 compares: $L_{tke}$ comes *together with* this transformer. Self-attention over all positions is new in that row as well, and no row has it without prototypes. [`43_tpkr_beyond`](43_tpkr_beyond.ipynb) has.
#
# ## 8 Eq. 10: everything at once
#
# $$L = L_{MTL}+\lambda_1\sum_i L_{tae}+\lambda_2 L_{akg}$$
#
# As printed, only $L_{tae}$ is summed over the images of a batch, and nothing says whether the other terms are sums or means. Here every term is a mean, and both weights are 1.

# %%
from mtpsl import supervised_terms

torch.manual_seed(0)
terms = tpkr.training_step(batch, progress=0.0)  # Eq. 10
with torch.no_grad():
    again = tpkr.trace(batch.images)
    by_hand = sum(supervised_terms(tasks, again.predictions, batch).values())  # L_MTL
    by_hand = by_hand + tpkr.reconstruction(again.latent, batch.images)  # + L_tae
    by_hand = by_hand + sum(tpkr.prototypes(again.projected, batch).values())  # + L_akg
torch.testing.assert_close(sum(terms.values()), by_hand)
print("L =", " + ".join(terms))

# %% [markdown]
# > **Predict.** None of the six images has a label any more. Which terms still teach something?

# %%
nothing = {name: torch.zeros_like(shown) for name, shown in batch.labeled.items()}
silent = tpkr.training_step(replace(batch, labeled=nothing), progress=0.0)
assert {name for name, value in silent.items() if value != 0} == {"tae"}
print("of six terms only L_tae is left, which reads no label")

# %% [markdown]
# ## 9 Table 4: what parameters say
#
# The paper counts parameters for five sizes of a prototype. (Its caption writes "slot T", where T is otherwise the number of tasks. **Erratum.**) Printed to 0.1 M, they fix the slope per dimension to a narrow band:

# %%
from mtpsl.papers import build_method
from mtpsl.papers.tpkr.sizes import BASELINE, PRINTED, baseline_band, designs, slope_band

low, high = slope_band()
count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
with torch.device("meta"):  # shapes without numbers: nothing is computed
    base = count(build_method("supervised", nyud, "resnet18_fused"))
    sizes = {
        d: count(build_method("tpkr", nyud, "resnet18_fused", 1.0, {"dimension": d}))
        for d in PRINTED
    }

# %%
slope = (sizes[2048] - sizes[1024]) / 1024
assert low < slope == 3590 < high and base == 43_933_265
print(f"band {low:,.0f} to {high:,.0f} parameters per dimension; the network here: {slope:,.0f}")

# %% [markdown]
# Where 3,590 come from: three 1x1 convolutions from 512 channels to d with a bias, two blocks with keys and values of width 512, and three prototypes. The heads here read 1,024 channels where the baseline's read 512; everything else is TPKR's own.

# %%
assert slope == 3 * (512 + 1) + 2 * 2 * 512 + 3
own = {d: total - base - 512 * sum(t.channels for t in nyud) for d, total in sizes.items()}
first, last = baseline_band(own)
lines = {d: {"own parts": n / 1e6, "over 146.47": 146.47 + n / 1e6} for d, n in own.items()}
lines = {d: line | {"printed": PRINTED[d]} for d, line in lines.items()}
digits = dict.fromkeys(["own parts", "over 146.47"], "{:.2f}") | {"printed": "{:.1f}"}
show_table(pd.DataFrame(lines).T.style.format(digits), caption="Millions of parameters, by d.")
assert all(abs(line["over 146.47"] - line["printed"]) < 0.05 for line in lines.values())
print(f"any baseline from {first:.3f} to {last:.3f} M makes all five counts; printed {BASELINE}")

# %% [markdown]
# > **Predict.** Is this then the network of the paper? How many designs of ordinary widths have a slope inside the band?

# %%
found = list(designs())
rows = pd.DataFrame([vars(design) for design in found])
assert {design.slope for design in found} == {3587} and len(found) > 10
kinds = rows.groupby("touching").size().to_frame("designs")
show_table(kinds)
print(f"{len(found)} designs, all with a slope of 3,587 without biases")

# %% [markdown]
# **The slope is reproduced, the offset is reproduced by the choice of one design among many, and the baseline is not reproduced at all.** 146.5 M is more than three times the framework's own multi-task baseline. Every network that the framework offers, with decoders of ordinary widths:

# %%
from mtpsl.papers.tpkr.sizes import FEATURES

plausible = {}
with torch.device("meta"):
    for name in ("resnet18_fused", "resnet50_fused"):
        for c in FEATURES:
            net = build_method("supervised", nyud, name, backbone_args={"channels": c})
            plausible[name, c] = count(net) / 1e6
lines = pd.Series(plausible).unstack()
show_table(lines.style.format("{:.1f}"), caption="Millions of parameters, by channels.")
assert min(abs(total - BASELINE) for total in plausible.values()) > 13

# %% [markdown]
# The nearest is off by 13 M. With 1,024 channels (133.3 M) it would take three more 3x3 convolutions from 960 to 512 channels, one for each task, to arrive near it:

# %%
extra = 3 * (9 * 960 * 512 + 512) / 1e6
nearest = plausible["resnet18_fused", 1024] + extra
print(
    f"{plausible['resnet18_fused', 1024]:.2f} + {extra:.2f} = {nearest:.2f} M, printed {BASELINE}"
)
assert round(nearest, 1) == 146.6

# %% [markdown]
# That prints as 146.6, and nothing in the paper suggests it. So only the slope of Table 4's column of parameters can be checked.
#
# ## 10 What TPKR is compared with, and how
#
# ### DiffusionMTL
#
# The strongest baseline gives every task preliminary maps, adds noise to its features (or to the map itself), and lets a denoiser clean them under the condition of *all* tasks' preliminary maps. Its schedule has two steps, so there is hardly any noise:
#
# > **Predict.** Square roots of $\beta$ run from $\sqrt{0.001}$ to $\sqrt{0.01}$. What is the standard deviation of the noise after two steps, on features of length 1?

# %%
from mtpsl.papers.tpkr.diffusion import ImageNoise, Schedule

schedule = Schedule(2, (1e-3, 1e-2))
signal = ((1 - 0.001) * (1 - 0.010)) ** 0.5
assert abs(schedule.signal[-1] - signal) < 1e-9
assert abs(schedule.noise[-1] - (1 - signal**2) ** 0.5) < 1e-9
print(f"x_1 = {signal:.4f} x + {schedule.noise[-1]:.4f} noise")
print(f"back: {schedule.mean_clean[1]:.4f} clean + {schedule.mean_noisy[1]:.4f} x_1")

# %%
(row,) = TABLES["table2"].row("one-label/DiffusionMTL (Feature)").experiments
diffusion = without_pretrained(get_profile(session.profile)(row)).replace(seed=session.seed)
diffusion = bind_data(diffusion, session.data_root)
with torch.device("meta"):
    released = {
        name: count(build_method("diffusion_mtl", find_class(name).tasks, "resnet18_fused"))
        for name in ("rooms13", "people21")
    }
one_more_logit = 9 * 512 + 2 * 513  # the release has two of saliency, this package one
assert released["rooms13"] == 94_531_170
assert released["people21"] + one_more_logit == 132_913_284
print(f"three tasks {released['rooms13']:,}, five {released['people21'] + one_more_logit:,}")

# %%
run(diffusion, session)
denoiser = load_method(diffusion, session)
test = next(iter(test_batches(diffusion, session))).to(session.device)

# %% [markdown]
# **Erratum: as released it draws fresh noise at evaluation, too**, so its numbers differ from call to call. Here noise is a function of the image's pixels: the same bits twice.

# %%
rows = dict.fromkeys(tasks.names, range(len(test)))
with torch.no_grad():
    once, twice = denoiser.predict(test.images), denoiser.predict(test.images)
    features, preliminary = denoiser.look(test.images)
    fresh = [ImageNoise(range(start, start + len(test))) for start in (0, 1000)]
    as_released = [denoiser.refine(features, preliminary, rows, noise) for noise in fresh]
assert all(torch.equal(once[name], twice[name]) for name in tasks.names)
assert not any(torch.equal(*(maps[name] for maps in as_released)) for name in tasks.names)
print("seeded by image: the same bits; as released: every task differs")

# %% tags=["nbval-ignore-output"]
for name in tasks.names:
    a, b = (maps[name] for maps in as_released)
    print(f"{name:<8} two calls differ by {(a - b).abs().mean() / a.std():.2%} of a deviation")

# %% [markdown]
# **Without noise it is one pass of the denoiser** over the features as they are. Is it diffusion that helps, or another network? A table in [`43_tpkr_beyond`](43_tpkr_beyond.ipynb) compares the two.

# %%
calm = build(diffusion.replace(method_args={**diffusion.method_args, "noise": 0})).eval()
calm = calm.to(session.device)
with torch.no_grad():
    features, maps = calm.look(test.images)
    condition = calm.condition(torch.cat([maps[name] for name in tasks.names], dim=1))
    clean = calm.denoiser(features, torch.cat([condition] * T), 0)
    one_pass = calm.finish({name: calm.final[name](x) for name, x in clean.items()}, test.images)
    found = calm.predict(test.images)
for name in tasks.names:
    torch.testing.assert_close(found[name], one_pass[name])
print("noise=0: one pass")

# %% [markdown]
# ### maxF with two sigmoids
#
# Saliency is measured as the best F-measure over 19 thresholds from 0.05 to 0.95. **Erratum:** the framework's meter takes the sigmoid of what is a probability already.
#
# > **Predict.** The sigmoid of a number in [0, 1] lies in [0.5, 0.731]. How many of the 19 thresholds can tell two maps apart?

# %%
from mtpsl.metrics import Saliency

telling = {}
for double in (False, True):
    meter = Saliency("max_f", double_sigmoid=double)
    logits = torch.linspace(-12, 12, 4096).view(1, 1, 64, 64)  # every probability there is
    meter.update(logits, (logits > 0).float(), torch.ones_like(logits).bool())
    predicted = meter.sums["pixels"][1]  # above each threshold
    telling[double] = meter.thresholds[(predicted > 0) & (predicted < 4096)]
assert [len(t) for t in telling.values()] == [19, 4]
cuts = telling[True].logit().tolist()
print("thresholds that matter:", [round(t, 2) for t in telling[True].tolist()])
print("as probabilities:", [round(p, 2) for p in cuts])

# %% [markdown]
# The ten thresholds up to 0.5 select the whole image, and the five from 0.75 on select nothing. What remains are cuts at four probabilities. The package has the meter without that slip, and `double_sigmoid=True` for parity.
#
# ### Two rows of another measure
#
# **Erratum:** the rows "Semi-Supervised Learning" of Tables 1 and 2 are copied from XTC. In XTC the saliency column is a mean IoU, and NYUD-v2 was measured on SegNet:

# %%
from mtpsl.papers.tpkr import printed
from mtpsl.papers.xtc import printed as xtc

here, there = printed.TABLE1, xtc.TABLE3
copied = {f"{c}": here.cell(f"one-label/{printed.SSL}", c) for c in here.columns}
original = {c: there.cell(f"one/{xtc.SSL}", c) for c in there.columns}
lines = {"[TPKR, Table 1]": copied, "[XTC, Table 3]": original}
show_table(pd.DataFrame(lines).T.style.format("{:.1f}", na_rep="–"))
assert copied["saliency/max_f"] == original["saliency/sal_miou"]

# %% [markdown]
# The column heads above are the papers' own. 61.7 stands among numbers around 77, and means something else; on NYUD-v2, 27.52 mIoU stands below a baseline of 42.77. Both rows are trained again here, on the network and with the measure of the other rows.
#
# ### All errata
#
# What is *recomputed* is checked by `python -m mtpsl audit` at every run; what is *documented* was read in the text.

# %%
report = printed.audit()
lines = [
    (e.where, e.what, e.evidence, "documented" if e.remains is None else "recomputed")
    for e in report.errata
]
rows = pd.DataFrame(lines, columns=["where", "what", "evidence", "how"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))
assert all(erratum.remains is not False for erratum in report.errata)
assert all(check.agrees for check in report.checks)

# %% [markdown]
# ## 11 What the paper leaves open, and what is done here

# %%
from mtpsl.papers.tpkr.method import CHOICES

rows = pd.DataFrame(CHOICES.items(), columns=["what is open", "what is done here, and elsewhere"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# And of DiffusionMTL, whose release answers much and whose prediction variant was never released:

# %%
from mtpsl.papers.tpkr.diffusion import CHOICES as DIFFUSION_CHOICES

rows = pd.DataFrame(DIFFUSION_CHOICES.items(), columns=["what", "what is done here"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# ## 12 In a loop of your own
#
# Prototypes and their losses need neither our engine nor our network: one map of features per task, and a batch that knows which image has which label.

# %%
from mtpsl import Batch

encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 7, 8, 3), torch.nn.ReLU())
branches = torch.nn.ModuleDict({t.name: torch.nn.Conv2d(16, 32, 1) for t in tasks})
mine = TaskPrototypes(tasks, 32, temperature=0.1).to(session.device)
encoder, branches = encoder.to(session.device), branches.to(session.device)

labels = {t.name: [None] * 6 for t in tasks}  # one label each: a map, or None
for name in labels:
    for i in batch.labeled[name].nonzero().flatten().tolist():
        labels[name][i] = batch.targets[name][i]
own_batch = Batch.from_targets(batch.images, labels, tasks)

# %%
features = {t: branch(encoder(own_batch.images)) for t, branch in branches.items()}
features = {t: maps.flatten(2).mT for t, maps in features.items()}  # (B, n, d)
terms = mine(features, own_batch)
gradients = torch.autograd.grad(sum(terms.values()), [mine.slots, *encoder.parameters()])
assert all(g.isfinite().all() and g.any() for g in gradients)
affinities = {t: mine.affinity(mine.similarity(x)) for t, x in features.items()}
print("terms:", ", ".join(terms), "| affinities:", tuple(affinities[own_task].shape))

# %% [markdown]
# ## 13 Where each equation is
#
# Read from the source, and a test fails if one is missing.

# %%
from mtpsl.report.equations import find_equations

places = find_equations("tpkr")
assert {place.equation for place in places} == set(range(1, 11))
rows = [(f"Eq. {p.equation}", f"{p.file}:{p.line}", p.function, p.code) for p in places]
rows = pd.DataFrame(rows, columns=["equation", "file:line", "function", "statement"])
show_table(rows.style.hide(axis="index").set_properties(**{"text-align": "left"}))

# %% [markdown]
# ## Take away
#
# 1. A softmax over cosines without a temperature has a ceiling: 0.69 with three tasks, 0.47 with five. At the ceiling all other tasks get the same share, so a well-trained affinity is silent about which tasks are related.
# 2. Check a loss at the optimum of the others. $L_{tc}$ is 0 there by the text's sign and 1.75 to 2 by the printed one: redundant, or harmful.
# 3. A part that can be bypassed will be: codes that are *added* to what they quantize carry no information unless something asks for it. Shuffle them and see.
#
# ## Exercises
#
# 1. Which temperature lets five tasks reach an affinity of 0.9 with their own prototypes at the simplex? Solve for it, then check with `TaskPrototypes(..., temperature=...)`.
# 2. `codes="straight_through"` leaves the codebook without any gradient from $L_{tae}$. Why does `gather` not have that problem, and what does it do to $f^e$?
# 3. With T = 2, what are the two prototypes at the optimum? What is the rank of $f^{ta}$, and how many different values can the cross-attention return where A is constant?
# 4. The printed Eq. 5 sums over tasks, images and ordered pairs. How much larger is it than the mean with T = 3 and N = 4? With T = 5 and N = 6? What would that do to $\lambda_2$?
# 5. Double sigmoid: at which probability does a threshold of 0.6 cut? Why can a meter with that slip never rank two maps that differ only where the probability is below 0.2?
#
# <details><summary>Solutions</summary>
#
# 1. $a = 1/(1+(T-1)e^{-(1+1/(T-1))/\theta})$. For a = 0.9 and T = 5: $e^{-1.25/\theta} = \tfrac{1}{36}$, so $\theta = 1.25/\log 36 = 0.349$.
#
# 2. `gather` returns the chosen codes themselves, as an embedding does, so the gradient of $f^i$ reaches them. $f^e$ gets its gradient through the sum, once; straight through would add the same once more.
#
# 3. Opposite vectors, $v$ and $-v$. All rows of $f^{ta}$ are multiples of v: rank 1. One value, as with any T, since then all keys are equal and a softmax over equal scores is even.
#
# 4. T(T-1)N = 24 and 120 times. $\lambda_2$ would have to be that much smaller for the same balance; the paper gives neither $\lambda_2$ nor the reduction.
#
# 5. $\operatorname{logit} 0.6 = 0.405$. The lowest threshold that tells anything is 0.55, a probability of 0.20; all pixels below it are "not salient" for the four thresholds, and "salient" for the ten lower ones.
#
# </details>
#
# ## References
#
# Oh, Kim, Kim, [AAAI 2026](https://arxiv.org/abs/2601.07474), the paper; Ye and Xu, [*DiffusionMTL*](https://arxiv.org/abs/2403.15389), CVPR 2024, the framework and the strongest baseline; van den Oord, Vinyals, Kavukcuoglu, [*Neural Discrete Representation Learning*](https://arxiv.org/abs/1711.00937), 2017, codebooks; Papyan, Han, Donoho, [*Prevalence of neural collapse*](https://arxiv.org/abs/2008.08186), 2020, where else a simplex is what a cross-entropy ends in.
#
# **Next:** [`41_tpkr_tables`](41_tpkr_tables.ipynb), what it is worth.
