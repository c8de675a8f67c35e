# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
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
# **You will be able to** say how many sentences of the papers were tested, which way they came out, and where any number of this repository comes from. **Takes** about 15 minutes to look through. **Read before:** [`11_hitts_tables`](11_hitts_tables.ipynb), Section 1; previous is [`43_tpkr_beyond`](43_tpkr_beyond.ipynb). **Next:** [`99_your_own_data`](99_your_own_data.ipynb). **Papers:** [XTC](https://arxiv.org/abs/2111.14893), [HiTTs](https://arxiv.org/abs/2411.18823), [RDC](https://arxiv.org/abs/2403.10252), [TPKR](https://arxiv.org/abs/2601.07474).
#
# Every table of the register is on this page: paper, recorded, computed now; before them the scoreboard over all sentences, after them the provenance of each number. What a table asks and how its rows compare is said in each paper's own notebook. A table that is added to the register appears here by itself.

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
# ## The scoreboard
#
# A line for each sentence of the papers. The left square says whether the paper's own cells agree with it, the right one what the recorded runs say: a sentence *holds* or is *contradicted* where all its metrics together are beyond chance, is *inconclusive* where they are not, *not tested* with fewer than two seeds, and *below floor* where a row is no better than a guess that never looks at the image. Records that no longer answer today's tables are left out.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.render import RECORDED


def show_recorded(name):
    """A figure of the recorded results, drawn from them now."""
    *_, made = session.figure(name).values()
    show_figures({RECORDED: made})


show_recorded("companion/scoreboard")

# %% [markdown]
# How far there is to go on each stand-in: from two guesses (closed eyes; what the labelled training maps usually have at a position) to a network with every label. Where a method stands between the two ends is the first thing to ask of a number; the second is whether its seeds (the dots) lie apart from another method's.

# %% tags=["nbval-ignore-output"]
show_recorded("companion/rulers")

# %% [markdown]
# ## The register
#
# What exists, and how much of it runs. *A row that does not run says why.*

# %%
from mtpsl import papers

for table in papers.tables().values():
    runs = [row for row in table.rows if row.experiments]
    print(f"{table.source}: {len(table.rows)} rows, {len(runs)} run, {len(table.claims)} sentences")
    for reason in dict.fromkeys(row.why_not_run for row in table.rows if not row.experiments):
        print("   printed only:", reason)

# %% [markdown]
# ## The tables
#
# This page trains nothing that belongs to a paper: *computed now* is what the papers' notebooks have left in the folder of runs, and a row that none of them has trained has no such line. (Runs are looked up by their key, so it does not matter who trained them.) Only the check of the data's power, which no notebook has, is run here. At `smoke` those notebooks may train a network once for several rows that differ in labels or in a number alone. At `smoke` the tables leave *computed now* out, because numbers after four steps mean nothing.

# %%
from mtpsl.report.render import count_verdicts

measured = {}
for key, table in papers.tables().items():
    own = key == "companion/separation"
    measured[key] = (table, *session.results(table, train=own))
    if own:
        session.write(*measured[key])

# %% tags=["nbval-ignore-output"]
for table, recorded, computed in measured.values():
    show_results(table, recorded, None if profile == "smoke" else computed)

# %% [markdown]
# ## The ledger
#
# How many sentences of each table are in which state. "Not tested" also means that one of the two rows is printed only, or that a number is missing; the folded ledger of the table says which.

# %% tags=["nbval-ignore-output"]
import pandas

counts = {
    (table.source, source): counter
    for table, recorded, computed in measured.values()
    for source, counter in count_verdicts(table, recorded, computed).items()
}
show_table(pandas.DataFrame(counts).T.fillna(0).astype(int), caption="Sentences by source.")

# %% [markdown]
# What the recorded results *contradict* is the most interesting list of this page. If it is empty, nothing recorded contradicts the paper, which is weaker than confirming it: look at how many sentences are inconclusive or not tested.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.ledger import judge, verdict_text

for table, recorded, _ in measured.values():
    for claim, verdict in zip(table.claims, judge(table, recorded), strict=True):
        if verdict.state == "contradicted":
            print(f"{table.source} {table.in_words(claim.text)}: {verdict_text(claim, verdict)}")
current = [t.source for t, recorded, _ in measured.values() if recorded and recorded.current()]
print("recorded results for:", current or "none")

# %% [markdown]
# ## Do the printed numbers agree with each other?
#
# *Exactly the known errata remain*; the full report is in [`11_hitts_tables`](11_hitts_tables.ipynb) and in `python -m mtpsl audit`.

# %%
from mtpsl.report.audit import audit

report = audit()
print(*report.to_text().splitlines()[:4], sep="\n")
print("errata:", len(report.errata), "| problems:", list(report.problems))

# %% [markdown]
# ## Provenance
#
# A number is never alone. One line for each distinct origin: profile, data (generated or real), commit, version of torch, hardware, date, how many rows and seeds come from there, and why they are stale if they are.

# %% tags=["nbval-ignore-output"]
from mtpsl.report.provenance import origins

lines = [line for each in measured.values() for line in origins(*each)]
show_table(pandas.DataFrame(lines).set_index(["table", "source"]), caption="Origins of numbers.")

# %% [markdown]
# Each run keeps more than its numbers: the experiment, the loss terms of every epoch, the weights, and a hash of which image kept which label. Its folder is named by the hash of the experiment, so *equal experiments are one run*, whatever table asks for them:

# %% tags=["nbval-ignore-output"]
trained = [computed for table, _, computed in measured.values() if table.trains]
keys = [key for computed in trained for e in computed.entries for key in e.keys]
print(f"{len(keys)} runs asked for by {len(trained)} tables, {len(set(keys))} different ones")

# %%
stored = [session.store.load(key) for key in set(keys)]
print("all stored and intact:", all(record is not None for record in stored))

# %% tags=["nbval-ignore-output"]
settings = {(r.experiment["label_setting"], r.labels["hash"]) for r in stored}
print("assignments of labels:", sorted(setting for setting, _ in settings))

# %% [markdown]
# To fill in recorded results: `make records` (resumable: seed 0 of every row first).
#
# ## Take away
#
# 1. Count all states, not only the ones you like: *inconclusive* and *not tested* are the honest words for most small differences.
# 2. A sentence about a row below the floor cannot be decided, however many seeds there are.
# 3. A number without its profile, data, seeds and commit is a rumor.
#
# **Next:** [`99_your_own_data`](99_your_own_data.ipynb), the same with your own images.
