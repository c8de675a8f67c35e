"""Weights that somebody else trained: by a published name, from Hugging Face, or from a file.

Reading them never executes code: safetensors, or a state dict through ``weights_only=True``. What
was read is shown with its checksum, and the record of a run keeps both.
"""

import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum, EnumType
from pathlib import Path
from urllib.error import URLError

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mtpsl import files
from mtpsl.models._torchvision import import_optional

HUB = "hf-hub:"  # before the name of a repository on Hugging Face, as timm writes it
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # timm's, the safe one first
UNREADABLE = (
    *(safetensors.SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile),
    *(EOFError, RuntimeError),  # torch: cut off; no archive, or not the digest in its name
)
# A digest in a file's name: torchvision's begins one, a blob of Hugging Face's cache is one.
DIGEST = re.compile(r".+-([0-9a-f]{8,64})\.\w+|([0-9a-f]{64})")


@dataclass(frozen=True)
class Pretrained:
    """Which weights a network began with."""

    weights: str  # the file's name, or the repository's on Hugging Face
    sha256: str  # of the file


def load_pretrained(
    module: nn.Module,
    weights: str | None,
    published: type[Enum] | Mapping[str, str],
    *,
    sha256: str = "",
    skip: tuple[str, ...] = (),
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Pretrained | None:
    """Replaces every parameter and buffer of ``module``, and shows on stderr by what.

    Args:
        module: A network of the shape of the weights.
        weights: A name in ``published``, ``"hf-hub:<owner>/<name>[@<revision>]"``, or the path of
            a ``.safetensors`` file or of a state dict that ``torch.save`` wrote. None changes
            nothing and returns None.
        published: torchvision's weights of this network, or names and where such weights are: the
            address of a file, which is kept in ``torch.hub``'s folder, or a repository behind
            ``"hf-hub:"``, whose file is kept in Hugging Face's cache. What is there already is not
            asked for again, so that it works offline; what is not is downloaded.
        sha256: Hex digest that the file must have; empty to skip the check.
        skip: Prefixes of names that the module has no use for (a classifier).
        convert: Turns what was read into this module's names and shapes.

    Raises:
        ValueError: If there are no such weights, they are unreadable, or they do not fit.
        Damaged: If the file has another digest.
        ConnectionError: If they are not on this machine and cannot be downloaded.
        ImportError: If they are on Hugging Face and its package is not installed.
    """
    if weights is None:
        return None
    if isinstance(published, EnumType):
        published = {n: entry.url for n, entry in published.__members__.items()}
    place = published.get(weights, weights)
    if place.startswith(HUB):
        path = from_hugging_face(place.removeprefix(HUB))
    elif weights in published:
        path = from_torch_hub(place)
    elif Path(weights).is_file():
        path = Path(weights)
    else:
        raise ValueError(
            f"weights: expected None, one of {list(published)}, {HUB}<owner>/<name> or a file that "
            f"exists, got {weights!r}"
        )
    name = place.removeprefix(HUB) if place.startswith(HUB) else path.name
    digest = files.sha256(path)
    if sha256 and sha256 != digest:
        raise files.Damaged(f"{path}: expected sha256 {sha256:.12}, got {digest:.12}")
    match = DIGEST.fullmatch(path.resolve().name) if path != Path(weights) else None
    expected = (match[1] or match[2]) if match else ""
    if not digest.startswith(expected):  # a download may have been cut off, a disk full
        raise ValueError(
            f"weights: expected {path.name} as published, with sha256 {expected:.12}, "
            f"got {digest:.12}; delete {path.resolve()}"
        )
    state = convert(dict(_read(path)))
    state = {n: value for n, value in state.items() if not n.startswith(skip)}
    _require_fit(module, state, weights)
    module.load_state_dict(state, strict=False)  # names were checked, but for some counters
    print(f"weights: {name}, sha256 {digest}", file=sys.stderr)
    return Pretrained(name, digest)


def describe_pretrained(module: nn.Module) -> dict[str, dict[str, str]]:
    """Says for a run's record what a backbone, or one inside ``module``, began with.

    Returns:
        ``{"pretrained": {"weights": ..., "sha256": ...}}``; empty if weights began at random.
    """
    began = (getattr(part, "pretrained", None) for part in module.modules())
    return next(({"pretrained": asdict(p)} for p in began if isinstance(p, Pretrained)), {})


def from_torch_hub(url: str) -> Path:
    """A file in ``torch.hub``'s folder, downloaded if it is not there yet.

    Raises:
        ConnectionError: If it cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, TimeoutError, ConnectionError) as error:
            raise _offline(path.name, url, str(error)) from error
    return path


def from_hugging_face(repository: str) -> Path:
    """The weights of a repository in Hugging Face's cache, downloaded if not there yet.

    Args:
        repository: ``<owner>/<name>``, or with ``@<revision>`` a branch, tag or commit of it.

    Raises:
        ValueError: If there is no such public repository, or none with weights of timm.
        ConnectionError: If it cannot be reached, or ``HF_HUB_OFFLINE=1`` forbids to try.
        ImportError: If ``huggingface_hub`` is not installed.
    """
    hub, errors = import_optional("huggingface_hub"), import_optional("huggingface_hub.errors")
    name, _, revision = repository.partition("@")
    revision = revision or "main"
    try:
        for filename in HUB_FILES:
            path = hub.try_to_load_from_cache(name, filename, revision=revision)
            if isinstance(path, str):  # otherwise None, or a token that says there is no such file
                return Path(path)
        for filename in HUB_FILES:
            try:  # asking first: a download goes on trying for half a minute without a network
                hub.get_hf_file_metadata(hub.hf_hub_url(name, filename, revision=revision))
            except errors.EntryNotFoundError:
                continue
            return Path(hub.hf_hub_download(name, filename, revision=revision))
    except (errors.HFValidationError, errors.RepositoryNotFoundError) as error:
        raise ValueError(
            f"weights: expected {HUB}<owner>/<name> of a public repository on Hugging Face, "
            f"got {HUB}{repository}; look for its name there"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(
            f"weights: expected a branch, tag or commit of {name}, got {revision!r}; leave it out "
            "for the newest"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.HTTPError, ConnectionError) as error:
        offline = import_optional("huggingface_hub.constants").HF_HUB_OFFLINE
        reason = "HF_HUB_OFFLINE=1" if offline else _first_line(error.__cause__ or error)
        raise _offline(repository, f"https://huggingface.co/{name}", reason) from error
    raise ValueError(
        f"weights: expected {' or '.join(HUB_FILES)} in {repository}, got neither; take a "
        "repository of timm's weights"
    )


def _offline(name: str, url: str, reason: str) -> ConnectionError:
    return ConnectionError(
        f"weights: expected a network connection to download {name!r}, got {reason}; "
        f"fetch {url} elsewhere and give the file's path"
    )


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
            f"{', '.join(problems)}; use the weights of the same network and width_factor"
        )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
