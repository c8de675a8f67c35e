"""From an experiment to its record: data, teachers, sharing, damage, tables, recorded results."""

import dataclasses
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from properties import backbone_for

from mtpsl import files, papers
from mtpsl.data.dataset import EvalLoader
from mtpsl.engine import evaluate
from mtpsl.models import build_backbone
from mtpsl.models.cost import cost
from mtpsl.report import records as recording
from mtpsl.report.records import RowRun, fill_records, row_entry, run_table, train_missing
from mtpsl.report.tables import CEILING, Row, Table
from mtpsl.runs import data
from mtpsl.runs import run as running
from mtpsl.runs import run as side_by_side
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.network import build, load_method, noise_batch
from mtpsl.runs.run import missing_runs, run, train_all
from mtpsl.runs.store import RunStore, Session, resolve_device

TINY = Experiment(
    height=32,
    width=32,
    width_factor=0.125,
    train_images=6,
    test_images=2,
    epochs=1,
    batch_size=3,
    lr=1e-3,
)
PLAIN = TINY.replace(method="hitts")
STUDENT = PLAIN.replace(method_args={"pseudo_labels": True, "pseudo_features": True}, teacher=PLAIN)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Scenes are rendered once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTPSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MTPSL_PROGRESS", "0")
        yield


@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(tmp_path / "runs")


def go(experiment: Experiment, store: RunStore):
    return run(experiment, Session(store, "cpu"))


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Keys in the order in which they were really trained."""
    keys = []
    real = running.train

    def spy(experiment, *args, **options):
        keys.append(experiment.key)
        return real(experiment, *args, **options)

    monkeypatch.setattr(running, "train", spy)
    return keys


# --- data --------------------------------------------------------------------------------------


def test_binding_fills_in_data_for_the_teacher_too() -> None:
    bound = bind_data(STUDENT)
    assert bound.data_version == bound.teacher.data_version != ""
    assert bound.dataset == "rooms13"
    assert bind_data(bound) == bound


def test_data_on_disk_replace_their_stand_in(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(data, "require_recognized", lambda root: "nyud")
    monkeypatch.setattr(data, "data_version", lambda *a: seen.append(a) or "fingerprint")
    bound = bind_data(STUDENT, "somewhere")
    assert (bound.dataset, bound.data_version) == ("nyud", "fingerprint")
    assert (bound.teacher.dataset, bound.teacher.data_version) == ("nyud", "fingerprint")
    assert seen[0] == ("nyud", "somewhere")
    assert bound.key != bind_data(STUDENT.replace(data_version="fingerprint")).key


def test_another_version_is_refused(store) -> None:
    with pytest.raises(ValueError, match="data_version: expected '.*', .*got 'other'"):
        go(TINY.replace(data_version="other"), store)
    with pytest.raises(ValueError, match="numerics: .*got -1"):
        go(TINY.replace(numerics=-1), store)


def test_single_task_networks_see_the_labels_of_the_shared_assignment() -> None:
    images = open_split(bind_data(TINY), "train")
    shared, assignment = label(TINY, images)
    assert assignment.counts == {"semseg": 2, "depth": 2, "normals": 2}
    assert len(shared) == 6
    for task in TINY.tasks:
        alone = TINY.replace(tasks=(task,))
        single, same = label(alone, images)
        assert same.hash == assignment.hash
        assert len(single) == 2  # images without the label teach a supervised network nothing
        column = assignment.labeled[:, assignment.tasks.index(task)]
        assert single.positions.tolist() == column.nonzero().flatten().tolist()
        assert len(label(alone.replace(teacher=alone), images)[0]) == 6


FROM_LABELS_ALONE = [n for n, m in papers.methods().items() if not m.learns_from_unlabeled]


@pytest.mark.parametrize("name", FROM_LABELS_ALONE)
def test_what_says_so_learns_nothing_from_images_without_a_label(name) -> None:
    method = build(TINY.replace(method=name, backbone=backbone_for(name)))
    batch = noise_batch(method.tasks, 64, 96, 1)  # with a label of the first task
    first, *others = (method.training_step(batch, progress=0.0)[n] for n in TINY.tasks)
    assert first > 0 and all(term == 0 for term in others)


def test_where_a_protocol_counts_steps_single_tasks_take_as_many() -> None:
    shape = {"dataset": "people21", "data_version": "1", "height": 64, "width": 64}
    both = TINY.replace(tasks=("semseg", "saliency"), backbone="resnet18", **shape)
    images = open_split(both, "train")
    for task in both.tasks:
        single, assignment = label(both.replace(tasks=(task,)), images)
        assert len(single) == len(images) == len(label(both, images)[0])
        assert 0 < assignment.counts[task] < len(images)  # not because all of them have it


# --- runs --------------------------------------------------------------------------------------


def test_a_record_says_what_the_trained_network_costs(store) -> None:
    """Also one whose method was prepared, after another run of the same shape, or of another."""
    for experiment in (PLAIN, PLAIN.replace(seed=1), PLAIN.replace(width_factor=0.25), TINY):
        record = go(experiment, store)
        method = load_method(experiment, Session(store, "cpu"))
        counted = cost(method, experiment.height, experiment.width)
        assert (record.params, record.macs, record.thop_flops) == dataclasses.astuple(counted)


def test_a_run_is_recorded_and_not_trained_twice(store, trained) -> None:
    record = go(TINY.replace(eval_every=1), store)
    again = go(TINY.replace(eval_every=1), store)
    assert trained == [record.key]
    assert again == record
    assert record.experiment == bind_data(TINY.replace(eval_every=1)).to_dict()
    assert set(record.history[0]["metrics"]) == {"train", "test"}
    assert record.history[0]["metrics"]["test"] == record.metrics["test"]
    assert record.labels["images"] == 6 and record.labels["counts"]["depth"] == 2
    assert record.data["stand_in"] is True
    assert record.images_per_s > 0 and record.params > 0 and record.macs > 0
    folder = store.folder(record.key)
    assert sorted(p.name for p in folder.iterdir()) == [
        "experiment.json", "lock", "log.jsonl", "record.json", "weights.safetensors",
    ]  # fmt: skip
    assert Experiment.from_dict(json.loads((folder / "experiment.json").read_text())).key in trained


def test_a_task_without_a_training_label_is_said(store, capsys) -> None:
    few = TINY.replace(train_images=2)  # with one label each, of three tasks
    record = go(few, store)
    (untaught,) = [task for task, count in record.labels["counts"].items() if not count]
    said = f"run {record.key}: no training image keeps a label of {untaught};"
    assert said in capsys.readouterr().err
    go(TINY, store)
    assert "no training image" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": ("semseg", "depth")}, "expected all tasks of the student, got none of"),
        ({"width_factor": 0.25}, "expected width_factor 0.125 as the student's, got 0.25"),
        ({"height": 64}, "expected height 32 as the student's, got 64"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(store, trained, change, words) -> None:
    with pytest.raises(ValueError, match=words):
        go(STUDENT.replace(teacher=PLAIN.replace(**change)), store)
    assert not trained


def test_an_experiment_chooses_how_terms_are_weighted(store) -> None:
    weighted = TINY.replace(weighting="uncertainty", weighting_args={"initial": 0.0})
    record, plain = go(weighted, store), go(TINY, store)
    assert record.key != plain.key and record.weights_sha256 != plain.weights_sha256
    assert record.history[0]["weights"] == pytest.approx(dict.fromkeys(TINY.tasks, 0.5), abs=0.01)
    assert "weights" not in plain.history[0]
    with pytest.raises(ValueError, match="did you mean 'mgda'"):
        go(TINY.replace(weighting="mdga"), store)


def test_a_trained_network_can_be_loaded(store) -> None:
    record = go(TINY, store)
    method = load_method(TINY, Session(store, "cpu"))
    assert not method.training
    test = EvalLoader(open_split(bind_data(TINY), "test"), 2)
    assert evaluate(method, test) == record.metrics["test"]
    with pytest.raises(FileNotFoundError, match="expected a finished run"):
        load_method(TINY.replace(seed=9), Session(store, "cpu"))


@pytest.mark.parametrize("backbone", ["resnet18", "vit_base"])
def test_a_record_says_which_weights_a_network_began_with(backbone, store, tmp_path) -> None:
    net = build_backbone(backbone, TINY.width_factor)
    path = tmp_path / "weights.safetensors"
    digest = files.save_weights(getattr(net, "net", net), path)
    began = TINY.replace(backbone=backbone, backbone_args={"weights": str(path)})
    record = go(began, store)
    assert record.data["pretrained"] == {"weights": "weights.safetensors", "sha256": digest}
    path.unlink()  # a trained network does not need them any more
    assert store.load(record.key).data == record.data
    test = EvalLoader(open_split(bind_data(began), "test"), 2)
    assert evaluate(load_method(began, Session(store, "cpu")), test) == record.metrics["test"]


def test_seeds_differ_in_weights_but_not_in_labels(store) -> None:
    first, second = go(TINY, store), go(TINY.with_seed(1), store)
    assert first.labels == second.labels
    assert first.weights_sha256 != second.weights_sha256


def test_a_damaged_run_is_named_and_done_again_with_the_same_bits(store, trained, capsys) -> None:
    record = go(TINY, store)
    path = store.weights(record.key)
    path.write_bytes(path.read_bytes()[:-10])
    again = go(TINY, store)
    assert trained == [record.key] * 2
    assert str(path) in capsys.readouterr().err
    assert again.weights_sha256 == record.weights_sha256


def test_two_who_ask_for_the_same_run_share_it(store, trained) -> None:
    records = []
    threads = [threading.Thread(target=lambda: records.append(go(TINY, store))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 1
    assert records[0] == records[1]


def test_the_teacher_comes_first_and_its_discoveries_are_shared(store, trained, capsys) -> None:
    student = go(STUDENT, store)
    teacher = bind_data(PLAIN)
    assert trained == [teacher.key, student.key]
    assert {"depth", "depth_pseudo", "depth_feature"} <= set(student.history[0]["terms"])
    (found,) = (store.folder(teacher.key) / "supervision").iterdir()
    written = (found / "manifest.json").stat().st_mtime_ns

    go(STUDENT.replace(method_args={"pseudo_labels": True}), store)
    assert (found / "manifest.json").stat().st_mtime_ns == written
    assert len(list(found.parent.iterdir())) == 1

    some = next(found.glob("*.labels.npy"))
    some.write_bytes(some.read_bytes()[:-1])
    go(STUDENT.replace(seed=0, method_args={"pseudo_features": True}), store)
    assert some.name in capsys.readouterr().err
    assert (found / "manifest.json").stat().st_mtime_ns > written

    go(STUDENT.replace(thresholds={"depth": 0.9}), store)
    assert len(list(found.parent.iterdir())) == 2
    assert len(trained) == 5  # one teacher, four students


def test_an_online_teacher_stores_nothing_and_leaves_no_weights(store, trained) -> None:
    soft = PLAIN.replace(method_args={"pseudo": "soft"})
    args = STUDENT.method_args | {"pseudo": "soft", "teacher": "online"}
    student = soft.replace(method_args=args, teacher=soft, thresholds={"depth": "50%"})
    record, teacher = go(student, store), store.load(bind_data(soft).key)
    assert not (store.folder(teacher.key) / "supervision").exists()
    assert record.params == teacher.params
    assert record.history[0]["terms"]["depth_pseudo"] > 0


def test_what_a_teacher_found_is_not_taken_for_another_s(store) -> None:
    go(STUDENT, store)
    teacher, other = store.load(bind_data(PLAIN).key), go(PLAIN.with_seed(1), store)
    supervision = store.folder(teacher.key) / "supervision"
    (first,) = supervision.iterdir()

    shutil.copy(store.weights(other.key), store.weights(teacher.key))  # trained again, elsewhere
    store.save(dataclasses.replace(teacher, weights_sha256=other.weights_sha256))
    go(STUDENT.replace(lr=2e-3), store)
    assert len(list(supervision.iterdir())) == 2 and first.is_dir()


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(store, tmp_path) -> None:
    experiment = bind_data(STUDENT.replace(epochs=8, average_last=0.4, schedule="cosine"))
    expected = go(experiment, RunStore(tmp_path / "whole")).weights_sha256
    folder = store.folder(experiment.key)
    write_experiment(experiment, tmp_path / "e.json")
    code = "import sys; from mtpsl import files; from mtpsl.__main__ import main; "
    code += "files.SAVING_SHARE = 1e6; sys.exit(main())"  # a checkpoint after every epoch
    command = [sys.executable, "-c", code, "run", "--experiment", str(tmp_path / "e.json")]
    environment = os.environ | {"MTPSL_RUNS": str(store.root)}
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    for kills in itertools.count():
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        if kills < 3:
            time.sleep(chance.uniform(0, 8))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
    assert files.sha256(folder / "weights.safetensors") == expected, f"chance seed {seed}"


# --- tables ------------------------------------------------------------------------------------

SINGLES = tuple(TINY.replace(tasks=(task,)) for task in TINY.tasks)
COLUMNS = ("semseg/miou", "depth/abs_err", "normals/mean_err")
TABLE = Table(
    name="table1",
    paper="tiny",
    title="A table",
    source="[Tiny, Table 1]",
    columns=(*COLUMNS, "delta_mtl"),
    rows=(
        Row(name="STL", label="STL", experiments=SINGLES),
        Row(name="MTL", label="MTL", experiments=(TINY,)),
        Row(name="Theirs", label="Theirs", why_not_run="not part of this package yet"),
        Row(name="Ours", label="Ours", experiments=(STUDENT,)),
    ),
    reference={"": "STL"},
)


@pytest.fixture(scope="module")
def full_store(tmp_path_factory, cache) -> RunStore:
    """Seed 0 of every row of the table."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    assert train_missing([TABLE], Session(store, "cpu"), profile="full") == 0
    return store


def test_a_table_is_computed(full_store) -> None:
    results = run_table(TABLE, Session(full_store, "cpu"), profile="full")
    assert [entry.row for entry in results.current()] == ["STL", "MTL", "Ours"]
    (single,) = results.of("STL")
    assert set(COLUMNS) <= set(single.metrics)  # of three networks together
    assert len(single.keys) == 3
    assert results.values(TABLE, "MTL", "delta_mtl").keys() == {0}
    assert single.data == {"name": "rooms13", "version": single.data["version"], "stand_in": True}


def test_missing_runs_put_teachers_first(store, full_store) -> None:
    jobs = missing_runs([(STUDENT, "a"), (TINY, "b"), (PLAIN, "c"), (TINY, "d")], store)
    assert [job.label for job in jobs.values()] == ["a: teacher", "a", "b"]
    assert missing_runs([(bind_data(STUDENT), "a")], full_store) == {}


def test_force_trains_again(full_store, trained, tmp_path, capsys) -> None:
    table = Table(**(vars(TABLE) | {"rows": TABLE.rows[1:2]}))
    train_missing([table], Session(full_store, "cpu"), profile="full")
    assert trained == []
    train_missing([table], Session(full_store, "cpu"), force=True, profile="full")
    assert trained == [bind_data(TINY).key]
    assert "[1/1] table1 MTL seed 0" in capsys.readouterr().err


def test_costs_are_those_of_the_paper_s_network(full_store) -> None:
    paper = TINY.replace(width_factor=0.25, height=64)
    row = Row(name="MTL", label="MTL", experiments=(paper,))
    table = Table(
        **(vars(TABLE) | {"columns": ("cost/params", "cost/flops", "cost/memory"), "rows": (row,)})
    )
    record = go(TINY, full_store)  # at some profile
    entry = row_entry(RowRun(table, row, 0, (TINY,)), [record], Session(full_store))
    expected = build(paper)
    assert entry.metrics["cost/params"] == sum(p.numel() for p in expected.parameters())
    assert entry.metrics["cost/params"] > 2 * record.params
    assert entry.metrics["cost/flops"] > record.thop_flops
    assert math.isnan(entry.metrics["cost/memory"])  # takes minutes, so only where it is recorded


# --- workers -------------------------------------------------------------------------------------


@pytest.fixture
def workers(monkeypatch):
    """Processes that only wait and exit; what happened, and how those of some labels end."""
    events, exits = [], {}

    def start(job, session, *_):
        events.append(job.label)
        job.started = time.monotonic()
        code = f"import time; time.sleep(0.05); raise SystemExit({exits.get(job.label, 0)})"
        session.store.folder(job.experiment.key).mkdir(parents=True, exist_ok=True)
        (session.store.folder(job.experiment.key) / "output.txt").write_text("mtpsl: the reason\n")
        job.process = subprocess.Popen([sys.executable, "-c", code])

    monkeypatch.setattr(side_by_side, "_start", start)
    return events, exits


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_a_student_waits_for_its_teacher(store, workers, jobs, capsys) -> None:
    events, _ = workers
    todo = missing_runs([(STUDENT, "ours"), (TINY, "mtl")], store)
    done = [job.label for job in train_all(todo.values(), Session(store), jobs)]
    assert set(done) == {"ours: teacher", "ours", "mtl"}
    assert done.index("ours: teacher") < done.index("ours")
    assert events[-1] == "ours" if jobs > 1 else events[1] == "ours"
    assert capsys.readouterr().out.splitlines()[-1].startswith("[3/3] ")


def test_a_student_fails_with_its_teacher_and_the_others_go_on(store, workers, capsys) -> None:
    events, exits = workers
    exits["ours: teacher"] = 1
    todo = missing_runs([(STUDENT, "ours"), (TINY, "mtl")], store)
    errors = {job.label: job.error for job in train_all(todo.values(), Session(store), 1)}
    assert events == ["ours: teacher", "mtl"]
    assert "exit status 1: mtpsl: the reason" in errors["ours: teacher"]
    assert errors["ours"] == "its teacher failed"
    assert errors["mtl"] == ""
    assert "failed: its teacher failed" in capsys.readouterr().out


def test_leaving_stops_the_workers(store, monkeypatch) -> None:
    processes = []

    def start(job, *_):
        seconds = 0 if not processes else 60
        job.process = subprocess.Popen(["sleep", str(seconds)])
        processes.append(job.process)

    monkeypatch.setattr(side_by_side, "_start", start)
    jobs = missing_runs([(TINY, "a"), (PLAIN, "b")], store)
    iterator = train_all(jobs.values(), Session(store), 2)
    next(iterator)
    iterator.close()
    assert [p.poll() for p in processes] == [0, -signal.SIGTERM]


def test_a_worker_trains_in_a_process_of_its_own(store) -> None:
    todo = missing_runs([(bind_data(TINY), "mtl")], store)
    (job,) = train_all(todo.values(), Session(store, "cpu"), 2)
    assert job.error == ""
    record = store.load(job.experiment.key)
    assert "1 thread" in record.environment["hardware"] or os.cpu_count() > 3
    said = (store.folder(record.key) / "output.txt").read_text()
    assert json.loads(said)["key"] == record.key


# --- recorded results ----------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch):
    """Workers run in this process; labels in the order of training."""
    order = []

    def train_here(jobs, session, workers):
        for job in jobs:
            order.append(job.label)
            if job.label == stop_at[0]:
                raise KeyboardInterrupt
            run(job.experiment, session)
            yield job

    stop_at = [""]
    monkeypatch.setattr(recording, "train_all", lambda jobs, *rest: train_here(list(jobs), *rest))
    return order, stop_at


def read(folder: Path) -> dict:
    return files.read_json(folder / "tiny/table1.json")


def test_records_are_filled_seed_by_seed_and_go_on_where_they_stopped(
    full_store, tmp_path, here, capsys
) -> None:
    order, stop_at = here
    options = {"profile": "full", "seeds": range(2)}
    stop_at[0] = "table1 Ours seed 1"
    with pytest.raises(KeyboardInterrupt):
        fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options)
    assert order == [  # seed 0 of the rows is in the store
        "table1 MTL, full labels seed 0",
        "table1 STL (semseg) seed 1",
        "table1 STL (depth) seed 1",
        "table1 STL (normals) seed 1",
        "table1 MTL seed 1",
        "table1 Ours seed 1: teacher",
        "table1 Ours seed 1",
    ]
    found = [(e["row"], e["seed"]) for e in read(tmp_path)["entries"]]
    rows = [("STL", 0), ("STL", 1), ("MTL", 0), ("MTL", 1), ("Ours", 0)]
    assert found == [*rows, (CEILING, 0)]

    order.clear()
    stop_at[0] = ""
    assert fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options) == 0
    assert order == ["table1 Ours seed 1", "table1 MTL, full labels seed 1"]
    found = [(e["row"], e["seed"]) for e in read(tmp_path)["entries"]]
    assert found == [*rows, ("Ours", 1), (CEILING, 0), (CEILING, 1)]
    assert "0 runs" not in capsys.readouterr().out

    order.clear()
    elsewhere = RunStore(tmp_path / "another machine")  # recorded is recorded
    assert fill_records([TABLE], tmp_path, Session(elsewhere, "cpu"), **options) == 0
    assert order == []


def test_recorded_results_are_those_that_tables_read(full_store, tmp_path, here) -> None:
    from mtpsl.report.results import load_recorded

    fill_records([TABLE], tmp_path, Session(full_store, "cpu"), profile="full", seeds=[0])
    results = load_recorded(tmp_path / "tiny/table1.json", TABLE)
    assert [e.row for e in results.current()] == ["STL", "MTL", "Ours", CEILING]
    computed = run_table(TABLE, Session(full_store, "cpu"), profile="full")
    assert results.entries[:-1] == computed.entries
    assert results.entries[-1].experiments[0]["label_setting"] == "full"


def test_what_answers_no_row_any_more_goes(full_store, tmp_path, here) -> None:
    """As soon as the table is written again, whichever row is new."""
    session, options = Session(full_store, "cpu"), {"profile": "full", "seeds": [0]}
    fill_records([TABLE], tmp_path, session, **options)
    other = dataclasses.replace(
        TABLE.row("MTL"), experiments=(TABLE.row("MTL").experiments[0].replace(lr=1),)
    )
    changed = dataclasses.replace(
        TABLE, rows=tuple(other if r.name == "MTL" else r for r in TABLE.rows)
    )
    recording._record(tmp_path, "full", changed, [], session)  # its ceiling is another, too
    assert [e["row"] for e in read(tmp_path)["entries"]] == ["STL", "Ours"]


def test_floors_are_recorded_with_the_rows_and_made_up_for(full_store, tmp_path, here) -> None:
    from mtpsl.report.results import GUESSES, load_recorded

    options = {"profile": "full", "seeds": [0]}
    fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options)
    path = tmp_path / "tiny/table1.json"
    results = load_recorded(path, TABLE)
    for row, guess in itertools.product(TABLE.recorded_rows, GUESSES):
        assert (set(results.floor(row, guess)) >= set(COLUMNS)) == bool(row.experiments), row.name
    one, full = (results.floor(TABLE.row(name), GUESSES[1]) for name in ("MTL", CEILING))
    assert one == results.floor(TABLE.row("Ours"), GUESSES[1]) != full

    values = read(tmp_path)
    made = values.pop("floors")
    files.write_json(path, values)  # as it was recorded before there were floors
    assert load_recorded(path, TABLE).floor(TABLE.row("MTL"), GUESSES[0]) == {}
    fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options)
    assert read(tmp_path) == values | {"floors": made}


def test_runs_that_another_table_has_recorded_are_not_trained_again(
    full_store, tmp_path, here
) -> None:
    options = {"profile": "full", "seeds": [0]}
    fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options)
    plain = dataclasses.replace(TABLE.row("MTL"), name="Supervised")
    apart = dataclasses.replace(plain, name="Hidden", measured_on="unlabeled")
    other = dataclasses.replace(TABLE, name="table2", rows=(plain, apart), reference={}, claims=())
    order, _ = here
    elsewhere = RunStore(tmp_path / "another machine")
    fill_records([other], tmp_path, Session(elsewhere, "cpu"), **options, others=[TABLE])
    assert order == ["table2 Hidden seed 0"]  # the same run, measured on other images
    taken, made, ceiling = files.read_json(tmp_path / "tiny/table2.json")["entries"]
    assert ceiling in read(tmp_path)["entries"]
    (known,) = [e for e in read(tmp_path)["entries"] if e["row"] == "MTL"]
    assert taken == known | {"row": "Supervised"}
    assert made["keys"] == taken["keys"] and made["metrics"] != taken["metrics"]


@pytest.mark.parametrize("what", ["stale", "damaged", "another profile"])
def test_what_no_longer_counts_is_replaced(full_store, tmp_path, here, capsys, what) -> None:
    options = {"profile": "full", "seeds": [0]}
    fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options)
    intact, path = read(tmp_path), tmp_path / "tiny/table1.json"
    values = json.loads(json.dumps(intact))
    if what == "stale":
        values["entries"][1]["keys"] = ["000000000000"]
        files.write_json(path, values)
    elif what == "damaged":
        path.write_text(path.read_text()[:-100])
    else:
        files.write_json(path, values | {"profile": "quick"})
    fill_records([TABLE], tmp_path, Session(full_store, "cpu"), **options)
    assert read(tmp_path) == intact
    assert ("damaged" in capsys.readouterr().err) == (what == "damaged")


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ValueError, match="device: expected"):
            resolve_device(name)
