"""Weights that somebody else trained: by torchvision's name, or from a file.

Reading them never executes code: safetensors, or a state dict through ``weights_only=True``.
"""

import pickle
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from urllib.error import URLError

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mtpsl import files

UNREADABLE = (
    *(safetensors.SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile),
    *(EOFError, RuntimeError),  # torch: cut off; no archive, or not the digest in its name
)


def load_pretrained(
    module: nn.Module,
    weights: str,
    published: type[Enum],
    *,
    sha256: str = "",
    skip: tuple[str, ...] = (),
) -> None:
    """Replaces every parameter and buffer of ``module``.

    Args:
        module: Of the shape of the weights.
        weights: A name in ``published``, or the path of a ``.safetensors`` file or of a state
            dict that ``torch.save`` wrote.
        published: torchvision's weights of this network; a name is downloaded once, into
            ``torch.hub``'s folder, where it must have the digest in its file's name.
        sha256: Hex digest that the local file must have; empty to skip the check.
        skip: Prefixes of names that the module has no use for (a classifier).

    Raises:
        ValueError: If there are no such weights, they are unreadable, or they do not fit.
        Damaged: If the file has another digest.
        ConnectionError: If a name cannot be downloaded.
    """
    if weights in published.__members__:
        if sha256:
            raise ValueError(
                f"weights_sha256: expected none beside {weights!r}, whose digest is known, "
                f"got {sha256:.12}; leave it out"
            )
        state = _download(published[weights], weights)
    elif Path(weights).is_file():
        if sha256:
            files.check_sha256(Path(weights), sha256)
        state = _read(Path(weights))
    else:
        raise ValueError(
            f"weights: expected None, one of {list(published.__members__)} or a file that exists, "
            f"got {weights!r}"
        )
    state = {name: value for name, value in state.items() if not name.startswith(skip)}
    _require_fit(module, state, weights)
    module.load_state_dict(state, strict=False)  # names were checked, but for some counters


def _download(entry: Enum, name: str) -> Mapping[str, Tensor]:
    try:
        return entry.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (URLError, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f"weights: expected a network connection to download {name!r}, got {error}; "
            f"fetch {entry.url} elsewhere and give the file's path"
        ) from error
    except UNREADABLE as error:
        raise ValueError(
            f"weights: expected {name!r} as published, got {_first_line(error)}; "
            f"delete it from {torch.hub.get_dir()}"
        ) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(
            f"weights: expected {path} to be safetensors or a state dict of tensors, "
            f"got {_first_line(error)}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"weights: expected {path} to map names to tensors, got {type(state).__name__}; "
            "save the network's state_dict()"
        )
    return state


def _require_fit(module: nn.Module, state: Mapping[str, Tensor], weights: str) -> None:
    """Same names and shapes. BatchNorm's step counters may be absent, as in old files."""
    own = module.state_dict()
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unknown = [n for n in state if n not in own]
    other = [n for n in state if n in own and state[n].shape != own[n].shape]
    problems = [
        f"{len(names)} {what} such as {names[0]!r}"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape"))
        if names
    ]
    if problems:
        raise ValueError(
            f"weights: expected the names and shapes of this network, got {weights!r} with "
            f"{', '.join(problems)}; use the weights of the same depth and width_factor"
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
