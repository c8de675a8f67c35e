"""The network of an experiment: built, loaded with what a run learned, and counted."""

import functools
import statistics

import torch

from mtpsl import files
from mtpsl.engine import seeded
from mtpsl.methods import Method
from mtpsl.models.cost import Cost, cost
from mtpsl.papers import build_method
from mtpsl.runs.data import bind_data, tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.session import Session

COSTLY = (
    "dataset", "data_args", "height", "width", "tasks",
    "backbone", "width_factor", "backbone_args", "method", "method_args",
)  # fmt: skip
"""Fields of an experiment that decide what its network costs."""


def build(experiment: Experiment) -> Method:
    """The method on fresh weights, which depend on the experiment's seed alone."""
    with seeded(torch.device("cpu"), experiment.seed, "weights"):
        return build_method(
            experiment.method,
            tasks_of(experiment),
            experiment.backbone,
            experiment.width_factor,
            experiment.method_args,
            experiment.backbone_args,
        )


def without_pretrained(experiment: Experiment) -> Experiment:
    """The same network on random weights: nothing is read or downloaded to build it."""
    args = experiment.backbone_args
    return experiment.replace(
        backbone_args={k: v for k, v in args.items() if not k.startswith("weights")}
    )


def load_method(experiment: Experiment, session: Session) -> Method:
    """The trained network of a finished run, in evaluation mode on the session's device.

    Raises:
        FileNotFoundError: If the run is not in the store, or damaged there.
    """
    experiment, store = bind_data(experiment, session.data_root), session.store
    if store.load(experiment.key) is None:
        raise FileNotFoundError(
            f"run {experiment.key}: expected a finished run in {store.root}, found none; "
            "run it first"
        )
    method = build(without_pretrained(experiment))
    files.load_weights(method, store.weights(experiment.key))
    return method.to(session.torch_device).eval()


def network_cost(experiment: Experiment) -> Cost:
    """What the network costs at its own size; counted once for all experiments that share it."""
    fresh = without_pretrained(experiment)
    return _counted(Experiment(**{name: getattr(fresh, name) for name in COSTLY}))


@functools.cache
def _counted(network: Experiment) -> Cost:
    return cost(build(network), network.height, network.width)


@functools.cache
def full_size_cost(experiment: Experiment) -> Cost:
    """What a table of costs counts, at the experiment's own size, without training anything.

    The mean over what its method says is counted (``Method.counted``).
    """
    modules = build(without_pretrained(experiment)).counted()
    if len(modules) == 1:
        return network_cost(experiment)
    counted = [cost(module, experiment.height, experiment.width) for module in modules]
    return Cost(
        params=counted[0].params,
        macs=round(statistics.fmean(c.macs for c in counted)),
        thop_flops=round(statistics.fmean(c.thop_flops for c in counted)),
    )
