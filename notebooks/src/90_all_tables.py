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
# # All tables, all sentences, and where the numbers come from
#
# **You will be able to** say how many sentences of the papers were tested, which way they came out, and where any number of this repository comes from. **Takes** about 10 minutes. **Read before:** [`11_hitts_tables`](11_hitts_tables.ipynb), Section 1. **Previous:** [`43_tpkr_beyond`](43_tpkr_beyond.ipynb). **Next:** [`99_your_own_data`](99_your_own_data.ipynb). **Papers:** [XTC](https://arxiv.org/abs/2111.14893), [HiTTs](https://arxiv.org/abs/2411.18823), [RDC](https://arxiv.org/abs/2403.10252), [TPKR](https://arxiv.org/abs/2601.07474).
#
# Each table is shown in full, with what it asks and how its rows compare, in its paper's own notebooks. This page adds them up.

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
# ## At a glance
#
# A line for each table and a square for each of its sentences, by what the recorded runs say. A sentence *holds* or is *contradicted* where all its metrics together are beyond chance, is *inconclusive* where they are not, *not tested* with fewer than two seeds, and *below floor* where a row is no better than a guess that never looks at the image.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.render import RECORDED


def show_recorded(name):
    """A figure of the recorded results, drawn from them now."""
    *_, made = session.figure(name).values()
    show_figures({RECORDED: made})


show_recorded("companion/glance")

# %% [markdown]
# ## What was decided
#
# What the recorded results *contradict* is the most interesting part of this list. If it has no such line, nothing recorded contradicts the papers, which is weaker than confirming them: most sentences may be inconclusive or not tested.

# %%
from mtpsl import papers

measured = {}
for key, table in papers.tables().items():
    own = key == "companion/separation"  # the check of the data's power, which no other page has
    measured[key] = (table, *session.results(table, train=own))
    if own:
        session.write(*measured[key])

# %% tags=["nbval-ignore-output"]
import pandas

from mtpsl.report.ledger import judge, printed_text, verdict_text

decided = [
    (table.source, table.in_words(claim.text), printed_text(claim, table), verdict_text(claim, v))
    for table, recorded, _ in measured.values()
    for claim, v in zip(table.claims, judge(table, recorded), strict=True)
    if v.state in ("holds", "contradicted")
]
frame = pandas.DataFrame(decided, columns=["table", "sentence", "printed", "recorded"])
show_table(frame.set_index("table"), caption=f"{len(frame)} sentences are decided.")

# %% [markdown]
# ## How far there is to go
#
# For each stand-in and backbone, from two guesses (closed eyes; what the labelled training maps usually have at a position) to a network with every label. Where a method stands between the two ends is the first thing to ask of a number; the second is whether its seeds (the dots) lie apart from another method's.

# %% tags=["nbval-ignore-output"]
show_recorded("companion/rulers")

# %% [markdown]
# One table is of this page alone. It asks whether the data can tell networks apart at all: supervised MTL with every label must be far ahead of the same network with one label per image.

# %% tags=["nbval-ignore-output"]
table, recorded, computed = measured["companion/separation"]
show_results(table, recorded, None if profile == "smoke" else computed)

# %% [markdown]
# ## The register
#
# Every table, how many of its rows are recorded with how many seeds, and in which state its sentences are. The recorded numbers of a table lie in `figures/<paper>/<table>.md`, and `python -m mtpsl show hitts/table1` prints one. A table that is added to the register appears here by itself.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import count_states


def counts(table, recorded):
    rows = [row for row in table.recorded_rows if row.experiments]
    seeds = [len(recorded.of(row.name)) if recorded else 0 for row in rows]
    found = {"rows": len(rows), "recorded": sum(map(bool, seeds)), "seeds": max(seeds, default=0)}
    return found | dict(count_states(table, recorded))


lines = {t.source: counts(t, recorded) for t, recorded, _ in measured.values()}
show_table(pandas.DataFrame(lines).T.fillna(0).astype(int), caption="Tables and their sentences.")

# %% [markdown]
# *A row that does not run says why:*

# %%
for table, *_ in measured.values():
    for reason in dict.fromkeys(row.why_not_run for row in table.rows if not row.experiments):
        print(f"{table.source}, printed only: {reason}")

# %% [markdown]
# ## Every sentence
#
# A line for each sentence of the papers. The left square says whether the paper's own cells agree with it, the right one what the recorded runs say. Records that no longer answer today's tables are left out.

# %% tags=["nbval-ignore-output"]
show_recorded("companion/scoreboard")

# %% [markdown]
# ## Do the printed numbers agree with each other?
#
# *Exactly the known errata remain*; the full report is in [`11_hitts_tables`](11_hitts_tables.ipynb) and in `python -m mtpsl audit`.

# %%
from mtpsl.report.audit import audit

report = audit()
print(*report.to_text().splitlines()[:4], sep="\n")
print(f"{len(report.errata)} errata; problems: {', '.join(map(str, report.problems)) or 'none'}")

# %% [markdown]
# ## Provenance
#
# A number is never alone. The table has one line for each distinct origin: profile, data (generated or real), commit, hardware, date, why its results are stale if they are, and how many results come from there.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.provenance import origins

lines = [
    line for table, recorded, _ in measured.values() for line in origins(table, recorded, None)
]
frame = pandas.DataFrame(lines).set_index("table").drop(columns=["source", "torch"])
show_table(frame, caption="Origins of recorded numbers.")

# %% [markdown]
# Each run keeps more than its numbers: the experiment, the loss terms of every epoch, the weights, and a hash of which image kept which label. Its folder is named by the hash of the experiment, so *equal experiments are one run*, whatever table asks for them:

# %% tags=["nbval-ignore-output"]
trained = [computed for table, _, computed in measured.values() if table.trains]
keys = [key for computed in trained for e in computed.entries for key in e.keys]
print(f"{len(trained)} tables ask for {len(keys)} runs, of which {len(set(keys))} are different")

# %%
stored = [session.store.load(key) for key in set(keys)]
assert all(record is not None for record in stored)
print("every run is stored and intact")

# %% tags=["nbval-ignore-output"]
settings = {(r.experiment["label_setting"], r.labels["hash"]) for r in stored}
print("assignments of labels:", ", ".join(sorted(setting for setting, _ in settings)))

# %% [markdown]
# `make records` trains the rows that are not recorded yet, seed 0 of every row first; it can be stopped and resumed.
#
# ## Take away
#
# 1. Count all states, not only the ones you like: *inconclusive* and *not tested* are the honest words for most small differences.
# 2. A sentence about a row below the floor cannot be decided, however many seeds there are.
# 3. A number without its profile, data, seeds and commit is a rumor.
#
# **Next:** [`99_your_own_data`](99_your_own_data.ipynb), the same with your own images.
