"""MATLAB files as SciPy writes them, read back with every length checked."""

import struct
import zlib

import numpy as np
import pytest
import scipy.io

from mtpsl.data.formats import DEEPEST, HEADER, elements, read_variables

NUMBERS = np.random.default_rng(0)


def saved(tmp_path, content, **how):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content, **how)
    return path.read_bytes()


@pytest.mark.parametrize("compressed", [True, False])
def test_numbers_are_read_as_scipy_reads_them(tmp_path, compressed):
    content = {
        "a": NUMBERS.normal(size=(5, 7)),
        "b": NUMBERS.integers(0, 255, (3, 1, 2)).astype(np.uint8),
        "whole": np.arange(300.0)[None],
        "tiny": np.array([[3]], dtype=np.uint16),
        "empty": np.zeros((0, 3)),
        "half": NUMBERS.normal(size=(2, 2)).astype(np.float32),
        "yes": np.array([[True, False]]),
    }
    others = {"cell": np.array([1, "x"], dtype=object), "z": np.array([1j])}
    read = read_variables(saved(tmp_path, content | others, do_compression=compressed))
    theirs = scipy.io.loadmat(tmp_path / "a.mat")
    for name in content:
        assert read[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(read[name], theirs[name])
    assert all(read[name] is None for name in others)


def test_texts(tmp_path):
    read = read_variables(saved(tmp_path, {"word": "hair", "none": "", "über": "größer"}))
    assert [read["word"], read["none"]] == ["hair", ""]
    assert "größer" in read.values()
    rows = read_variables(saved(tmp_path, {"rows": np.array(["ab", "cd"])}))
    assert rows["rows"] is None  # a matrix of letters


def test_structs_inside_structs(tmp_path):
    inner = np.empty((1, 2), dtype=[("name", object), ("mask", object)])
    inner[0, 0], inner[0, 1] = ("head", np.eye(2)), ("nose", np.ones((2, 2)))
    outer = np.empty((2, 2), dtype=[("number", object), ("parts", object)])
    for column in range(2):
        for row in range(2):
            outer[row, column] = (10 * column + row, inner if row else np.zeros((0, 0)))
    read = read_variables(saved(tmp_path, {"s": outer}))["s"]
    assert [int(one["number"][0, 0]) for one in read] == [0, 1, 10, 11]  # column by column
    assert [part["name"] for part in read[1]["parts"]] == ["head", "nose"]
    np.testing.assert_array_equal(read[3]["parts"][0]["mask"], np.eye(2))
    assert read[0]["parts"].size == 0


def nested(depth):
    value = np.ones((1, 1))
    for _ in range(depth):
        outer = np.empty((1, 1), dtype=[("f", object)])
        outer[0, 0] = (value,)
        value = outer
    return value


def test_structs_end_somewhere(tmp_path):
    assert read_variables(saved(tmp_path, {"s": nested(DEEPEST)}))
    with pytest.raises(ValueError, match="more than 16 structs inside one another"):
        read_variables(saved(tmp_path, {"s": nested(DEEPEST + 1)}))


def test_a_huge_number_of_structs_is_no_loop(tmp_path):
    blob = bytearray(saved(tmp_path, {"s": nested(1)}))
    assert blob.count(struct.pack("<ii", 1, 1)) == 2  # the shapes of struct and number
    at = blob.index(struct.pack("<ii", 1, 1))
    blob[at : at + 8] = struct.pack("<ii", 2**30, 2**30)
    with pytest.raises(ValueError, match="end too early"):
        read_variables(bytes(blob))


@pytest.mark.parametrize("compressed", [True, False])
def test_damage_is_an_error_and_never_a_crash(tmp_path, compressed):
    inner = np.empty((1, 1), dtype=[("name", object), ("mask", object)])
    inner[0, 0] = ("head", NUMBERS.integers(0, 2, (9, 7)).astype(np.uint8))
    blob = saved(tmp_path, {"a": inner, "b": np.arange(30.0)}, do_compression=compressed)
    rng, damaged = np.random.default_rng(1), 0
    for _ in range(400):
        changed = bytearray(blob)
        if rng.random() < 0.3:
            changed = changed[: rng.integers(len(changed))]
        else:
            for _ in range(rng.integers(1, 6)):
                changed[rng.integers(len(changed))] = rng.integers(256)
        try:
            read_variables(bytes(changed))
        except ValueError:
            damaged += 1
    assert damaged > 100


def test_a_bomb_is_not_unpacked():
    body = zlib.compress(bytes(1 << 20))
    blob = bytes(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(body) - 9) + body[:-9]
    assert len(blob) > HEADER
    with pytest.raises(ValueError, match="ends too early"):
        read_variables(blob)
    with pytest.raises(ValueError, match="no header"):
        read_variables(blob[:100])
    with pytest.raises(ValueError, match="ends too early"):
        list(elements(struct.pack("<II", 14, 80), "<"))
