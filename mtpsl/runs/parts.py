"""Metrics of finished runs on images that their tables name: test, or a part of training.

What a run records is the test split. Tables on the training set [HiTTs, Table 6] measure the same
weights again, each task on the images that show its label, or on those that hide it.
"""

import dataclasses
import math
import sys

import torch

from mtpsl import files
from mtpsl.data.labels import PartialLabels
from mtpsl.data.loader import EvalLoader
from mtpsl.engine import evaluate
from mtpsl.report.tables import Part
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunRecord
from mtpsl.runs.train import EVAL_BATCH, label, load_method, open_split


def metrics_on(part: Part, record: RunRecord, session: Session) -> dict[str, float]:
    """``"semseg/miou"`` and the like of a finished run.

    Args:
        part: "test", or "labeled" and "unlabeled" of the clean training images.
        record: Of the run; the file with what was measured before lies in its folder.
        session: Where the run and its images are.

    Raises:
        FileNotFoundError: If the run's weights are not in the store any more.
    """
    if part == "test":
        return dict(record.metrics["test"])
    path = session.store.folder(record.key) / f"{part}.json"
    if path.exists():
        try:
            known = files.read_json(path)
            if known["weights"] == record.weights_sha256:
                values = known["metrics"].items()
                return {name: math.nan if value is None else value for name, value in values}
        except files.Damaged as error:
            print(f"metrics are damaged and measured again: {error}", file=sys.stderr)
    experiment = Experiment.from_dict(record.experiment)
    images = open_split(experiment, "train", session)
    _, assignment = label(experiment, images, session)
    if part == "unlabeled":
        assignment = dataclasses.replace(assignment, labeled=~assignment.labeled)
    shown = PartialLabels(images, assignment.select(experiment.tasks))
    device = torch.device(record.device if torch.cuda.is_available() else "cpu")
    method = load_method(experiment, dataclasses.replace(session, device=device))
    metrics = evaluate(method, EvalLoader(shown, EVAL_BATCH, device))
    files.write_json(path, {"weights": record.weights_sha256, "metrics": metrics})
    return metrics
