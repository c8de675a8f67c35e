"""From a folder of photographs to predictions, by the commands that the documents show."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
TOML = '[semseg]\nclasses = ["road", "house", "sky", "never seen"]\n\n[edges]\n'
MOST = 4  # commands


def documented() -> list[str]:
    """The commands of the first fence with ``mtpsl new own`` in the README, or else in the docs."""
    for path in (ROOT / "README.md", ROOT / "docs" / "own-data.md"):
        for block in re.findall(r"^```console\n(.*?)^```", path.read_text(), re.M | re.S):
            if "mtpsl new own" in block:
                return [line.removeprefix("$ ") for line in block.splitlines()]
    raise AssertionError("no document shows the way")


def write_camvid(root: Path) -> None:
    """20 photographs of 72x96 pixels; every third lacks semseg, every fourth edges."""
    root.mkdir()
    (root / "mtpsl.toml").write_text(TOML)
    for number in range(20):
        random = np.random.default_rng(number)
        ids = np.full((72, 96), 2, np.uint8)
        ids[random.integers(40, 50) :] = 0
        left = random.integers(0, 50)
        ids[20:50, left : left + 30] = 1
        ids[0] = 255
        edges = np.zeros_like(ids)
        edges[:, 1:][ids[:, 1:] != ids[:, :-1]] = 255
        colors = np.array([[90, 90, 90], [160, 80, 60], [120, 170, 230]])[ids % 253 % 3]
        photo = (colors + random.integers(-20, 20, (72, 96, 3))).clip(0, 255).astype(np.uint8)
        folder = root / ("train" if number < 14 else "test")
        for name, pixels in (("image", photo), ("semseg", ids), ("edges", edges)):
            missing = {"semseg": number % 3 == 0, "edges": number % 4 == 0}
            if not missing.get(name):
                (folder / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / name / f"{number:04d}.png")


def test_four_documented_commands_lead_to_predictions(tmp_path, monkeypatch) -> None:
    images, here = tmp_path / "my-images", tmp_path / "here"
    write_camvid(images)
    here.mkdir()
    for name in ("CACHE", "RUNS"):
        monkeypatch.setenv(f"MTPSL_{name}", str(here / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    commands, key, said = documented(), "", []
    assert len(commands) <= MOST
    for command in commands:
        words = shlex.split(command.partition(" > ")[0])
        assert words[:3] == ["python", "-m", "mtpsl"], command
        words = shlex.split(re.sub(r" --sheet \S+", "", shlex.join(words[3:])))
        words = [str(images) if word.endswith("my-images") else word for word in words]
        if words[0] == "new":
            words += ["--profile", "smoke"]  # the documents' own takes minutes
        if words[0] == "predict":
            words[1:] = [str(here / "runs" / key), str(images / "test/image"), str(here / "out")]
        done = subprocess.run(
            [sys.executable, "-m", "mtpsl", *words], cwd=here, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said.append(done)
        if target := command.partition(" > ")[2]:
            (here / target).write_text(done.stdout)
        if words[0] == "run":
            key = json.loads(done.stdout.splitlines()[-1])["key"]
    check, new, run, _ = said
    assert "problems: none" in check.stdout and "semseg 9" in check.stdout
    assert json.loads(new.stdout)["tasks"] == ["semseg", "edges"]
    for plan in ("semseg 8 of 8", "edges 9 of 9", "11 to train on, 6 to test on", "steps", "about"):
        assert plan in run.stderr, run.stderr
    summary = json.loads((here / "out" / "predictions.json").read_text())
    assert len(summary["pictures"]) == 6 and not summary["problems"]
    with Image.open(here / "out" / "0014" / "semseg.png") as picture:
        assert picture.size == (96, 72)
    classes = summary["by_class"]["semseg"]
    assert list(classes) == ["road", "house", "sky", "never seen"]
    assert sum(values["predicted"] for values in classes.values()) == pytest.approx(1, abs=1e-4)
    assert classes["never seen"]["test_pixels"] == 0 and classes["road"]["test_pixels"] > 0
    assert set(json.loads(run.stdout.splitlines()[-1])["by_class"]) == {"semseg"}
