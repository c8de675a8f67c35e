"""A few digits that change with any change to any file of a data set.

Contents are hashed once and kept beside the cache, in ``digests/``; a file is hashed again where
its size or one of its times has moved. One that had been changed less than ``SETTLED`` before it
was hashed is not kept: clocks of file systems are coarse, so that another change right after the
hash could leave its times as they are.
"""

import hashlib
import logging
import os
import shutil
import stat
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from mtpsl import files
from mtpsl.data.cache import cache_root
from mtpsl.data.formats import refusal

log = logging.getLogger(__name__)

FOLDER = "digests"
SETTLED = 3_000_000_000  # ns; the coarsest clock in use, of FAT, ticks every 2 s


def fingerprint(kind: str, root: Path, paths: Iterable[Path]) -> str:
    """Names and contents of files: the same for the same data anywhere.

    Args:
        kind: Stands before the 12 hex digits.
        root: Folder of the files, whose own place does not count.
        paths: In a fixed order.

    Raises:
        ValueError: If one of them is no file, naming it.
    """
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    manifest = cache_root() / FOLDER / f"{kind}-{place}.json"
    known, kept = _read(manifest), {}
    digest, start = hashlib.sha256(), len(str(root / "x")) - 1
    for path in paths:
        now, looks = time.time_ns(), _looks(path)
        name = unicodedata.normalize("NFC", str(path)[start:].replace(os.sep, "/"))
        entry = known.get(name)
        if entry is None or entry[:3] != looks:
            entry = [*looks, files.sha256(path)]
        if now - max(looks[1:]) > SETTLED:
            kept[name] = entry
        digest.update(f"{name} {entry[3]}\n".encode())
    if kept != known:
        try:
            files.write_json(manifest, {"files": kept})
        except OSError as error:
            log.warning("%s cannot be kept, so every start reads all files: %s", manifest, error)
    return f"{kind}-{digest.hexdigest()[:12]}"


def looks_of(root: Path) -> str | None:
    """What tells a folder from itself at another time; None where that has changed just now."""
    now, newest, digest = time.time_ns(), 0, hashlib.sha256()
    for folder, _, names in os.walk(root):
        for name in names:
            facts = os.stat(os.path.join(folder, name), follow_symlinks=True)
            newest = max(newest, facts.st_mtime_ns, facts.st_ctime_ns)
            looks = (folder, name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            digest.update(repr(looks).encode())
    return digest.hexdigest() if now - newest > SETTLED else None


def _looks(path: Path) -> list[int]:
    """Size and times in ns."""
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        raise refusal(path, "a file", "no such file, or a link to none") from None
    if not stat.S_ISREG(facts.st_mode):
        raise refusal(path, "a file", "a folder" if path.is_dir() else "no file")
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _read(manifest: Path) -> dict[str, list]:
    """Name -> what is known of a file; nothing where that is damaged, after saying so."""
    try:
        return files.read_json(manifest)["files"]
    except files.Damaged as damage:
        log.warning("%s; reading all files again", damage)
    except FileNotFoundError:
        pass  # the first start
    return {}


def forget_fingerprints() -> None:
    """Makes the next start read every file of every data set again."""
    shutil.rmtree(cache_root() / FOLDER, ignore_errors=True)
