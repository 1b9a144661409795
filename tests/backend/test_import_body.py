"""Official body files, imitated: what is read, and what is refused without running it."""

import os
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import torch
from scipy import sparse

from scale_backend.cli import main
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.pickled_values import as_array
from scale_backend.formats.restricted_pickle import read_pickle
from scale_backend.geometry.body import body_from_arrays, load_body, pose_vertices
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.released.import_body import import_body
from tests.backend.test_body import random_arrays


def write_template(path, triangles, vertex_count):
    """Each face an island of its own in the square: every vertex lies on a seam."""
    side = int(np.ceil(np.sqrt(len(triangles))))
    lines = [f"v {i} 0 0" for i in range(vertex_count)]
    for t in range(len(triangles)):
        u, v = (t % side) / side, (t // side) / side
        lines += [f"vt {u + du / side:.6f} {v + dv / side:.6f}" for du, dv in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9))]
    for t, corners in enumerate(triangles):
        lines.append("f " + " ".join(f"{vertex + 1}/{3 * t + k + 1}" for k, vertex in enumerate(corners)))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def chumpy(monkeypatch):
    """Something that pickles as chumpy's objects do, and is gone when the pickle is read."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}

    def kind(module, name):
        made = type(name, (), {"__init__": lambda self, **state: self.__dict__.update(state), "__module__": module})
        setattr(modules[module], name, made)
        return made

    kinds = types.SimpleNamespace(Ch=kind("chumpy.ch", "Ch"), Select=kind("chumpy.reordering", "Select"))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def dump(path, content, protocol):
        path.write_bytes(pickle.dumps(content, protocol))
        for name in modules:
            monkeypatch.delitem(sys.modules, name)
        return path

    kinds.dump = dump
    return kinds


def imitated(arrays, chumpy):
    """The arrays as official files hold them."""
    wide = np.concatenate([arrays["shapedirs"], arrays["shapedirs"][..., :3]], -1)
    chosen = np.arange(wide.size).reshape(wide.shape)[..., :10]
    return arrays | {
        "v_template": chumpy.Ch(x=arrays["v_template"], _depth=0),
        "shapedirs": chumpy.Select(a=chumpy.Ch(x=wide), idxs=chosen.ravel(), preferred_shape=chosen.shape),
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "posedirs": np.asfortranarray(arrays["posedirs"]),
        "f": arrays["f"].astype(np.uint32),
        "bs_type": "lrotmin",
    }


@pytest.mark.parametrize(("joints", "protocol"), [(24, 2), (52, 0), (55, 5)])
def test_an_official_pickle_becomes_a_body_that_skins_like_smplx(tmp_path, chumpy, joints, protocol):
    arrays = random_arrays(joints)
    content = imitated(arrays, chumpy)
    source = chumpy.dump(tmp_path / "SMPL.pkl", content, protocol)
    template = write_template(tmp_path / "uv.obj", arrays["f"], 200)
    arguments = ["import-body", source, "--template", template, "--out", tmp_path / "made" / "mine.npz"]
    assert main([str(a) for a in arguments]) == 0
    body = load_body(tmp_path / "made" / "mine.npz")
    assert body.joint_count == joints and body.uv.shape == (150, 2)
    assert torch.equal(body.uv_triangles, torch.arange(150).view(50, 3))
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["mine.npz"]

    from smplx.lbs import lbs

    torch.manual_seed(0)
    pose, shape = torch.randn(2, joints, 3) * 0.5, torch.randn(2, 10)
    double = {k: torch.from_numpy(np.asarray(arrays[k], np.float64)) for k in arrays if k not in ("f", "kintree_table")}
    theirs, _ = lbs(
        shape.double(), pose.double().flatten(1), double["v_template"], double["shapedirs"],
        double["posedirs"].flatten(0, 1).T, double["J_regressor"], torch.tensor(body.parents), double["weights"],
    )  # fmt: skip
    ours = pose_vertices(body, matrix_from_axis_angle(pose), None, shape)
    assert (ours - theirs).abs().max() < 3e-6  # coordinates here reach several metres in float32
    assert body.digest == body_from_arrays(arrays, "same").digest


def test_an_official_npz(tmp_path):
    arrays = random_arrays(55)
    # with the object array that SMPL-X's own file has
    np.savez(tmp_path / "X.npz", **arrays, part2num=np.array({"head": 15}, dtype=object))
    template = write_template(tmp_path / "uv.obj", arrays["f"], 200)
    assert import_body(tmp_path / "X.npz", template, tmp_path / "x.npz").startswith("55 joints, 200 vertices")
    body = load_body(tmp_path / "x.npz")
    assert np.array_equal(body.shape_components.numpy(), arrays["shapedirs"].astype(np.float32))


def test_strings_of_python_2(tmp_path):
    """An array pickled by Python 2: its bytes are a str, here written out by hand."""
    numbers = np.array([[1.5, -2.0]], ">f8")
    data = numbers.tobytes()
    stream = (
        b"\x80\x02}U\x01ncnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(data)]) + data + b"tbs."
    )
    (tmp_path / "old.pkl").write_bytes(stream)
    assert np.array_equal(as_array(read_pickle(tmp_path / "old.pkl")["n"]), numbers)


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol, capsys):
    marker = tmp_path / "ran"
    template = write_template(tmp_path / "uv.obj", np.array([[0, 1, 2]]), 3)
    for function, arguments in (
        (os.system, (f"touch {marker}",)), (eval, (f"open({str(marker)!r}, 'w')",)), (np.load, ("x",)),
        (getattr, ("x", "load")), (sparse.save_npz, ("x", 1)),
    ):  # fmt: skip
        source = tmp_path / "evil.pkl"
        source.write_bytes(pickle.dumps({"v_template": Attack(function, *arguments)}, protocol))
        assert main(["import-body", str(source), "--template", str(template), "--out", str(tmp_path / "b.npz")]) == 2
        told = capsys.readouterr().err
        assert "evil.pkl was not opened: it names" in told and told.count("\n") == 1
    assert not marker.exists() and not (tmp_path / "b.npz").exists()


def test_damaged_pickles_are_refused(tmp_path, chumpy):
    arrays = random_arrays(24)
    template = write_template(tmp_path / "uv.obj", arrays["f"], 200)
    source = chumpy.dump(tmp_path / "SMPL.pkl", arrays | {"f": chumpy.Ch(data=1), "weights": {"no": 1}}, 2)
    with pytest.raises(ForeignFileError, match=r"'f' in SMPL.pkl is a chumpy object of the kind 'Ch'"):
        import_body(source, template, tmp_path / "b.npz")
    whole = pickle.dumps(arrays)
    huge = whole.replace(struct.pack("<Q", 8 * 200 * 3), struct.pack("<Q", 1 << 50))
    for content in (whole[: len(whole) // 2], b"", b"no pickle", huge if huge != whole else b""):
        source.write_bytes(content)
        with pytest.raises(ForeignFileError, match=r"SMPL\.pkl"):
            import_body(source, template, tmp_path / "b.npz")
    source.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ForeignFileError, match="holds no dictionary"):
        import_body(source, template, tmp_path / "b.npz")


def wrong_arrays():
    arrays = random_arrays(24)
    yield "lacks weights", {k: v for k, v in arrays.items() if k != "weights"}
    yield "not finite", arrays | {"v_template": np.full((200, 3), np.nan)}
    yield "'posedirs' .* is 200 x 3 x 9, not 200 x 3 x 207", arrays | {"posedirs": np.zeros((200, 3, 9))}
    yield "no tree", arrays | {"kintree_table": np.full((2, 24), 23)}
    yield "vertices that it does not have", arrays | {"f": arrays["f"] + 200}
    yield "have 24, 52 or 55", random_arrays(24) | {"weights": np.ones((200, 16))}


@pytest.mark.parametrize(("sentence", "arrays"), list(wrong_arrays()))
def test_arrays_that_are_no_body(tmp_path, sentence, arrays):
    np.savez(tmp_path / "b.npz", **arrays)
    template = write_template(tmp_path / "uv.obj", random_arrays(24)["f"], 200)
    with pytest.raises(ForeignFileError, match=sentence):
        import_body(tmp_path / "b.npz", template, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_templates_that_do_not_fit(tmp_path):
    arrays = random_arrays(24)
    np.savez(tmp_path / "b.npz", **arrays)
    other = arrays["f"].copy()
    other[7] = other[7, ::-1]
    quad = "v 0 0 0\n" * 4 + "vt 0 0\n" * 4 + "f 1/1 2/2 3/3 4/4\n"
    for sentence, template in {
        "first: 7": write_template(tmp_path / "turned.obj", other, 200),
        "200 vertices and 49 faces": write_template(tmp_path / "fewer.obj", arrays["f"][:-1], 200),
        "201 vertices": write_template(tmp_path / "more.obj", arrays["f"], 201),
        "a face of 4 corners, line 9": quad,
        "is a mesh without UVs; choose the body's UV template": "v 0 0 0\nf 1 1 1\n",
        "wrong.obj is a mesh without UVs": "v 0 0 0\nvt 0 0\nf 1//1 1//1 1//1\n",
        "could not convert string": "v 0 0 up\n",
        "outside the unit square": "v 0 0 0\nvt 0 2\nf 1/1 1/1 1/1\n",
        "not in the file": "v 0 0 0\nvt 0 0\nf 1/1 1/2 1/1\n",
    }.items():
        if isinstance(template, str):
            (tmp_path / "wrong.obj").write_text(template)
            template = tmp_path / "wrong.obj"
        with pytest.raises(ForeignFileError, match=sentence):
            import_body(tmp_path / "b.npz", template, tmp_path / "out.npz")
