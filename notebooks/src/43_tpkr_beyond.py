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
# # Beyond the paper: what the prototypes are good for
#
# **You will be able to** say which part of TPKR a gain would come from, show why its affinity can never exceed 0.69 with three tasks and what a temperature does to that, test whether prototypes know which tasks help each other, and tell diffusion from refinement. **Takes** about 30 minutes to read. **Read before:** [`40_tpkr_method`](40_tpkr_method.ipynb); of [`41_tpkr_tables`](41_tpkr_tables.ipynb), Section 4. **Previous:** [`42_tpkr_figures`](42_tpkr_figures.ipynb). **Next:** [`90_all_tables`](90_all_tables.ipynb). **Paper:** [TPKR](https://arxiv.org/abs/2601.07474), sections "Task Prototype", "Ablation Studies" and "Discussions".
#
# The paper's ablation adds the losses of the prototypes and the transformer in one step. So six questions are open that a reader would take for answered:
#
# 1. *Where does the gain come from:* the transformer, its size, or what is retrieved?
# 2. *How much can an affinity say* if its softmax has no temperature?
# 3. *Do prototypes know how tasks are related?* The text calls it "task affinity".
# 4. *What is in the codebook,* and does anything read it?
# 5. *Is it diffusion* that makes the strongest rival strong?
# 6. *What does it cost,* compared with a baseline of the same size?
#
# Questions 1, 2, 3 and 5 have a table each, which anybody can train (`python -m mtpsl run companion/retrieval`, ...), question 4 has a figure, and beside each stands a calculation that needs no training.

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
# ## 1. Where the gain comes from
#
# `companion/retrieval` takes one part out of TPKR at a time. Three rows isolate: an MTL baseline that is widened to TPKR's size; the *transformer alone*, which has nothing to retrieve; and *constant keys*, where every position of every task retrieves the same learned vector.
#
# > **Predict.** Count before you train: which share of TPKR's own parameters is in the prototypes, which in the codebook, and which in the rest?

# %%
from mtpsl.papers.companion.prototypes import DIFFUSION, RETRIEVAL, TEMPERATURE, TRANSFER
from mtpsl.runs.network import full_size_cost

cost = {row.name: full_size_cost(row.experiments[0]) for row in RETRIEVAL.rows}
millions = {name: found.params / 1e6 for name, found in cost.items()}
base = millions["MTL baseline"]
for name, count in millions.items():
    print(f"{name:<26} {count:6.2f} M, {count - base:+6.2f} over MTL")
assert abs(millions["MTL baseline, 608 channels"] / millions["TPKR"] - 1) < 0.01

# %%
own = 1e6 * (millions["TPKR"] - base)
for part, count in {"prototypes": 3 * 1024, "codebook": 4096 * 512}.items():
    print(f"{part}: {count:,} of {own:,.0f} parameters, {100 * count / own:.2f} %")
assert 3 * 1024 / own < 0.001

# %% [markdown]
# The prototypes are 0.02 % of TPKR's own parameters, the codebook 16 %, the rest 84 %. That proves nothing, since a small part can be the one that matters. But it says what a fair control looks like: everything else has to stay. *Constant keys* keeps all of it; the transformer alone also drops the projections of features and slots, 4.7 M, so a smaller network may be its only fault. The wider baseline controls for size.

# %% tags=["nbval-ignore-output"]

retrieval, now_retrieval = session.results(RETRIEVAL, once=True)
show_results(RETRIEVAL, retrieval, now_retrieval)

# %%
session.write(RETRIEVAL, retrieval, now_retrieval)

# %% [markdown]
# *How to read it.* Go down the ledger. If "More than size helps" does not hold, parameters alone may explain the gain. If "The transformer helps without prototypes" holds and "Prototypes add to the transformer" does not, the ablation of the paper has measured a transformer. If both hold, look at the next three: constant, even and one-hot affinities retrieve without looking, so TPKR's lead over them is what *looking* is worth. "Prototypes must be learned" asks whether three random vectors would have done.
#
# ## 2. How much can an affinity say?
#
# Affinity is a softmax over cosines, without a temperature. Cosines lie between −1 and 1, so the softmax is never sharp.
#
# > **Predict.** Three tasks, everything learned perfectly. Each task's features point exactly at their own slot, and the slots are as far apart as three vectors can be. What is the affinity of a task with its own slot: 1, 0.9, 0.7 or 0.5?

# %%
import math

from mtpsl.papers.tpkr.printed import at_optimum

bound = lambda T: math.e / (math.e + (T - 1) * math.exp(-1 / (T - 1)))  # noqa: E731

for tasks in (2, 3, 5, 10):
    print(
        f"{tasks:>2} tasks: at most {bound(tasks):.3f}, L_tke at least {-math.log(bound(tasks)):.3f}"
    )
for tasks in (3, 5):  # by the package's own slots, similarity, softmax and loss
    assert abs(at_optimum(tasks)[0] - bound(tasks)) < 1e-5

# %% [markdown]
# **Why.** T unit vectors with a mean of zero have cosines that average −1/(T−1), and no T vectors can all be further apart: they form a *simplex*, for three tasks a triangle with angles of 120°. There the own cosine is 1, each other one −1/(T−1), and the softmax of these is the bound. With two tasks it is 0.88; with more it falls, although the features are perfect.
#
# The other slots share the rest. How?

# %%
import torch

for tasks in (3, 5):
    simplex = torch.eye(tasks) - 1 / tasks
    cosines = torch.nn.functional.cosine_similarity(simplex[0], simplex, dim=1)
    affinity = cosines.softmax(0)
    cells = [", ".join(f"{x:.3f}" for x in row.tolist()) for row in (cosines, affinity)]
    print(f"{tasks} tasks: cosines {cells[0]}; affinity {cells[1]}")
    assert affinity[1:].std() < 1e-6

# %% [markdown]
# They share it evenly. So *where its losses are least, the prototype says nothing about which tasks are related*: it says "mine" to one slot and the same to all others. Whatever a trained network says beyond that, it says because L_tke has not been minimized.
#
# A temperature lifts the ceiling:
#
# > **Predict.** At which temperature does five tasks' affinity reach 0.94?

# %%
import pandas

from mtpsl.papers.companion.prototypes import TEMPERATURES

ceilings = {
    f"{tasks} tasks": {t: at_optimum(tasks, temperature=t)[0] for t in TEMPERATURES}
    for tasks in (3, 5)
}
ceilings = pandas.DataFrame(ceilings).rename_axis("temperature")
show_table(ceilings.style.format("{:.3f}").format_index("{:g}"))
assert ceilings["5 tasks"].is_monotonic_decreasing and ceilings.loc[1.0, "5 tasks"] < 0.47

# %% [markdown]
# But mind what the temperature changes. At a high temperature the affinity is even, at a low one it is one-hot, and both ends are rows of Section 1: retrieval without looking. Only in between can it say something, and only if the losses leave it room. `companion/temperature` trains with all four:

# %% tags=["nbval-ignore-output"]
temperature, now_temperature = session.results(TEMPERATURE, once=True)
show_results(TEMPERATURE, temperature, now_temperature)

# %%
session.write(TEMPERATURE, temperature, now_temperature)

# %% [markdown]
# *How to read it.* If the three sentences stay open with several seeds, there is no sign that the affinity matters to the tasks, whatever it says.
#
# ## 3. Do prototypes know how tasks are related?
#
# There is a measure of relatedness that no method is needed for: train task *t* alone, train it together with task τ, and compare. `companion/transfer` does so for all ten pairs of the five tasks of people21. (Three tasks would make six ordered pairs, too few for a rank correlation; five make twenty.) If prototypes capture "task associations", a task should gain more from those whose slot its features are near to.
#
# > **Predict.** Twenty pairs are not many. If prototypes knew nothing of the gains, how large a rank correlation would still be no surprise?

# %% tags=["nbval-ignore-output"]
transfer, now_transfer = session.results(TRANSFER, once=True)
show_results(TRANSFER, transfer, now_transfer)
if not transfer:
    print("No pair is recorded yet.")

# %%
session.write(TRANSFER, transfer, now_transfer)

# %% tags=["nbval-ignore-output"]
from mtpsl.report.render import RECORDED


def show_recorded(figures, otherwise):
    """The recorded figure, or one sentence in its place."""
    print(otherwise) if RECORDED not in figures else show_figures(figures, first=True)


related = session.figure("companion/relatedness")
show_recorded(related, "No trained network is recorded yet whose prototypes could be compared.")

# %% [markdown]
# Cosines are symmetric and gains are not, so a cosine cannot tell who helps whom; the mean affinity of a task's features with another slot can. Both are compared by rank, with Spearman's correlation:

# %%
import numpy

from mtpsl.papers.companion.prototypes import rank_correlation

order = numpy.arange(25.0).reshape(5, 5)
for name, other in {"same order": order**3, "reversed": -order}.items():
    print(f"{name}: {rank_correlation(order, other):+.2f}")
shuffled = numpy.random.default_rng(0)
chance = [rank_correlation(order, shuffled.random((5, 5))) for _ in range(2000)]
print(f"of 20 pairs by chance, 95 % lie within {numpy.quantile(numpy.abs(chance), 0.95):.2f}")

# %% tags=["nbval-ignore-output"]
for source, made in related.items():
    gain = made.arrays["gain"].mean(axis=2)
    if source == RECORDED and numpy.isfinite(gain).any():
        for key in ("cosine", "affinity"):
            print(f"recorded {key}: {rank_correlation(made.arrays[key], gain):+.2f}")

# %% [markdown]
# *How to read it.* Chance alone reaches the bound above in one case of twenty. Section 2 predicts no correlation: at the optimum all cosines are equal, so their order is noise. A correlation beyond what chance gives (the 20 pairs are not independent, so the true bound is higher) would mean that the network keeps something of the tasks that its losses do not ask for.
#
# ## 4. What is in the codebook?
#
# Decoders read f^e + f^q, the features *and* their nearest codes. So they can do without codes, and nothing in the losses punishes that.
#
# > **Predict.** Of 4,096 codes, how many will a small network choose at least once on 300 test images?

# %% tags=["nbval-ignore-output"]
codes = session.figure("tpkr/codes")
show_recorded(codes, "No trained codebook is recorded yet.")
for source, made in codes.items():
    a = made.arrays
    if source == RECORDED or profile != "smoke":
        rise = a["rebuilt_other"][-1] / a["rebuilt"][-1] - 1
        print(f"{source}: {(a['counts'] > 0).sum()} codes, perplexity {a['perplexity']:.1f}")
        print(f"    L_tae with other codes in the place of the chosen ones: {100 * rise:+.1f} %")

# %% [markdown]
# *How to read it.* If L_tae stays the same with other codes, the decoder does not read them, which fits the 0.1 mIoU of Table 3. A perplexity of *p* means that codes are chosen as unevenly as if there were *p* of them, evenly used. A mean patch that is a flat color says that its code stands for brightness, one with an edge for a place in the picture.
#
# How codes learn decides whether they can be used at all: `codes="straight_through"` and `"ema"` are the rules of other papers, and [`40_tpkr_method`](40_tpkr_method.ipynb) shows what each sends a gradient to.

# %% [markdown]
# ## 5. Is it diffusion that helps?
#
# DiffusionMTL is TPKR's strongest rival. Its released schedule has two steps. How much noise is that?
#
# > **Predict.** A feature with a standard deviation of 1: what is left of it, and how much noise is added, before the first denoising?

# %%
from mtpsl.papers.tpkr.diffusion import Schedule

for steps in (1, 2, 4):
    schedule = Schedule(steps, (1e-3, 1e-2))
    signal, noise = schedule.signal[-1], schedule.noise[-1]
    print(
        f"steps {steps}: features times {signal:.4f}, noise {noise:.3f}, ratio {signal / noise:.0f}"
    )
    assert signal > 0.98 and noise < 0.2

# %% [markdown]
# With the released two steps, the noise is a tenth of the features. A denoiser that gets features which are nearly clean, and the preliminary maps of all tasks beside them, may be a *refinement network* that happens to see some noise. `companion/diffusion` asks: without noise there is one pass of the same denoiser over the features as they are.

# %% tags=["nbval-ignore-output"]
diffusion, now_diffusion = session.results(DIFFUSION, once=True)
show_results(DIFFUSION, diffusion, now_diffusion)

# %%
session.write(DIFFUSION, diffusion, now_diffusion)

# %% [markdown]
# *How to read it.* If "Noise helps" holds, it is diffusion. If only "A refinement without noise helps" holds, then what helps is a second decoder of 50 M parameters.
#
# ## 6. What it costs, at equal size
#
# Parameters and multiplications for one image of 288x384, at full width; nothing is trained for it. (Seconds and memory depend on the machine: `python -m mtpsl cost` and the benchmarks measure them.)
#
# > **Predict.** TPKR has 29 % more parameters than the MTL baseline. How many more multiplications does it need?

# %%
more = {row.name: full_size_cost(row.experiments[0]) for row in DIFFUSION.rows[-2:-1]}
table = {
    name: {"parameters (M)": found.params / 1e6, "GMAC": found.macs / 1e9}
    for name, found in (cost | more).items()
}
table = pandas.DataFrame(table).T
table["of MTL's GMAC"] = table["GMAC"] / table.loc["MTL baseline", "GMAC"]
show_table(table.style.format("{:.1f}").format("{:.2f}", subset=["of MTL's GMAC"]))

# %%
wide, tpkr = table.loc["MTL baseline, 608 channels"], table.loc["TPKR"]
assert tpkr["GMAC"] > wide["GMAC"] and tpkr["of MTL's GMAC"] > 1.5
print(f"at equal parameters TPKR multiplies {tpkr['GMAC'] / wide['GMAC']:.2f} times as often")
alone = table.loc["transformer alone", "GMAC"]
print(f"retrieval itself: {tpkr['GMAC'] - alone:.1f} GMAC of {tpkr['GMAC']:.0f}")

# %% [markdown]
# Retrieval itself is cheap here, because keys and values are mixtures of three vectors and never computed for each position ([`40_tpkr_method`](40_tpkr_method.ipynb) shows that both ways agree). What costs is the rest of the transformer, which the paper does not ablate: the row "transformer alone" has most of the extra multiplications.
#
# ## Take away
#
# 1. When a module comes with a loss, an ablation needs the module without the loss, and a baseline of the same size.
# 2. Look at the best that a loss can reach before you read meaning into it. Here the optimum is a simplex, in which all other tasks are the same.
# 3. "Diffusion" with a tenth of noise may be refinement. A row without noise costs one run.
#
# ## Exercises
#
# **1.** Show that T unit vectors cannot have all their mutual cosines below −1/(T−1).
#
# <details><summary>Solution</summary>
#
# The squared length of their sum is T plus the sum of all T(T−1) cosines, and it is not negative. So the cosines' mean is at least −1/(T−1).
# </details>
#
# **2.** At which temperature does the ceiling for T tasks reach 0.9? Give the formula.
#
# <details><summary>Solution</summary>
#
# The gap between own and other cosines is 1 + 1/(T−1) = T/(T−1). The affinity is 1 / (1 + (T−1) exp(−gap / temperature)). It is 0.9 where (T−1) exp(−gap / temperature) = 1/9: temperature = gap / log(9 (T−1)), 0.52 for three tasks and 0.35 for five.
# </details>
#
# **3.** L_tke needs the number of the task and no label at all. Why then does the paper compute it for labeled tasks alone, and what would you try?
#
# <details><summary>Solution</summary>
#
# The paper gives no reason. The features of a task exist for every image, and so does the number: `method_args={"tke_on": "all"}` uses both. With one label of T, it learns from T times as many features at no cost. Harm is possible where an unlabeled task's features are poor and get pulled to the slot all the same.
# </details>
#
# **4.** To discuss: `companion/transfer` measures relatedness by pairs. Five tasks together may behave otherwise. Which experiment would you believe, and how many runs would it take?
#
# <details><summary>Solution</summary>
#
# Leave one task out of all five, and measure what the others lose: five runs per seed. It says what a task contributes in company, where pairs say what it does alone; for the claim "task associations" company is the right setting, for a 5 × 5 matrix the pairs are the only cheap one.
# </details>
#
# ## References
#
# Oh, Kim, Kim, [AAAI 2026](https://arxiv.org/abs/2601.07474), the paper; Ye and Xu, [*DiffusionMTL*](https://arxiv.org/abs/2403.15389), CVPR 2024; van den Oord et al., [*Neural Discrete Representation Learning*](https://arxiv.org/abs/1711.00937), 2017, how codes learn; Standley et al., [*Which Tasks Should Be Learned Together?*](https://arxiv.org/abs/1905.07553), ICML 2020, pairs of tasks.
#
# **Next:** [`90_all_tables`](90_all_tables.ipynb), all sentences on one page.
