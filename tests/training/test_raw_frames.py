"""Raw frames: what is written comes back, small, and damage is told in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from training.frames.raw_frames import (
    RawFrames,
    RawFramesError,
    RawGarment,
    chunk_path,
    read_garment,
    read_split,
    write_chunk,
    write_garment,
)


def frames(count: int, vertices: int, seed: int = 0) -> RawFrames:
    random = np.random.default_rng(seed)
    return RawFrames(
        random.normal(0, 0.3, (count, 24, 3)).astype(np.float32),
        random.uniform(-0.8, 0.8, (count, vertices, 3)).astype(np.float32),
        tuple(f"{seed}-{number}" for number in range(count)),
        random.uniform(0, 0.01, count).astype(np.float32),
        random.uniform(0, 2, count).astype(np.float32),
    )


def garment() -> RawGarment:
    return RawGarment(
        "dress",
        np.zeros((4, 3), np.float32),
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        np.array([0, 1], np.uint8),
        ("front", "back"),
        np.array([0, 0, 1, 1], np.uint8),
        ("bodice", "skirt"),
        np.ones(4, np.float32),
        np.full((4, 24), 1 / 24, np.float32),
        "neutral",
        "abc",
        '{"quality": 3}',
    )


def test_frames_come_back_to_a_fortieth_of_a_millimetre_in_order(tmp_path):
    first, second = frames(3, 50, seed=1), frames(2, 50, seed=2)
    write_chunk(chunk_path(tmp_path, "train", 1), second)
    write_chunk(chunk_path(tmp_path, "train", 0), first)
    write_chunk(chunk_path(tmp_path, "val", 0), frames(1, 50, seed=3))
    back = read_split(tmp_path, "train")
    assert back.names == first.names + second.names
    assert np.abs(back.vertices - np.concatenate([first.vertices, second.vertices])).max() < 2.5e-5
    np.testing.assert_array_equal(back.pose, np.concatenate([first.pose, second.pose]))
    np.testing.assert_array_equal(back.speed, np.concatenate([first.speed, second.speed]))
    assert len(read_split(tmp_path, "train", limit=4)) == 4


def test_five_hundred_frames_take_less_than_twenty_megabytes(tmp_path):
    for number in range(25):  # noise cannot be compressed: real cloth takes less
        write_chunk(chunk_path(tmp_path, "train", number), frames(20, 3637, seed=number))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20e6


def test_garment_comes_back(tmp_path):
    write_garment(tmp_path, garment())
    back = read_garment(tmp_path)
    assert (back.name, back.panel_names, back.region_names) == ("dress", ("front", "back"), ("bodice", "skirt"))
    np.testing.assert_array_equal(back.blend_weights, garment().blend_weights)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(RawFramesError, match="no frames of the split 'val'"):
        read_split(tmp_path, "val")
    with pytest.raises(RawFramesError, match=r"garment\.npz is missing"):
        read_garment(tmp_path)
    path = chunk_path(tmp_path, "train", 0)
    write_chunk(path, frames(2, 10))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RawFramesError, match=r"train-0000\.npz cannot be read"):
        read_split(tmp_path, "train")


def test_exploded_frames_are_refused_and_leave_nothing_behind(tmp_path):
    exploded = frames(2, 10)
    exploded.vertices[1, 3] = 100.0
    with pytest.raises(RawFramesError, match="exploded"):
        write_chunk(chunk_path(tmp_path, "train", 0), exploded)
    assert list(tmp_path.iterdir()) == []


DAMAGE = {
    "vertices of another shape or kind": {"vertices": np.zeros((2, 10, 3), np.float32)},
    "pose of another shape or kind": {"pose": np.zeros((2, 24), np.float32)},
    "names of another shape or kind": {"names": np.array(["a"])},
    "step with numbers that are not finite": {"step": np.float64("nan")},
    "lacks the array low": {"low": None},
}


@pytest.mark.parametrize("sentence", DAMAGE)
def test_damaged_chunks_are_named(tmp_path, sentence):
    path = chunk_path(tmp_path, "train", 0)
    write_chunk(path, frames(2, 10))
    with np.load(path) as file:
        arrays = dict(file) | DAMAGE[sentence]
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(RawFramesError, match=rf"train-0000\.npz.*{sentence}"):
        read_split(tmp_path, "train")


def test_a_damaged_garment_is_named(tmp_path):
    for sentence, change in {
        "triangles that point outside": {"triangles": np.array([[0, 1, 4]])},
        "panel that point outside": {"panel": np.array([0, 2], np.uint8)},
        "pin of another shape": {"pin": np.zeros(3)},
        "vertices with numbers that are not finite": {"vertices": np.full((4, 3), np.inf)},
    }.items():
        write_garment(tmp_path, garment())
        with np.load(tmp_path / "garment.npz") as file:
            arrays = dict(file) | change
        if sentence.startswith("triangles"):
            arrays["panel"] = arrays["panel"][:1]
        np.savez(tmp_path / "garment.npz", **arrays)
        with pytest.raises(RawFramesError, match=sentence):
            read_garment(tmp_path)


def test_chunks_of_two_garments_are_told(tmp_path):
    write_chunk(chunk_path(tmp_path, "train", 0), frames(2, 10))
    write_chunk(chunk_path(tmp_path, "train", 1), frames(2, 11))
    with pytest.raises(RawFramesError, match=r"train-0001\.npz has frames of another garment"):
        read_split(tmp_path, "train")
