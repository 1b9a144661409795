"""Recipes: our keys, the release's keys, and what is said of wrong ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from training.config import ConfigError, read_recipe, recipe_from_dict

RELEASE = """
name: demo
mode: train
data_root: packed/demo
data_spacing: 1
npoints: 16
hsize: 256
nf: 32
up_mode: upconv
pix_feat_dim: 64
pos_encoding: 0
num_emb_freqs: 6
posemb_incl_input: 0
pq_include_end: 1
pqmin: 0.0
pqmax: 1.0
img_size: 32
scan_npoints: 40000
w_rgl: 2e3
w_normal: 1.0
w_m2s: 1e4
w_s2m: 1e4
epochs: 500
decay_start: 250
rise_start: 250
decay_every: 400
rise_every: 400
val_every: 20
batch_size: 16
lr: 3e-4
save_all_results: 0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_shipped_recipes_are_read():
    paths = (Path(__file__).parents[2] / "training" / "configs").glob("*.yaml")
    recipes = {path.stem: read_recipe(path) for path in paths}
    assert recipes.keys() == {"dress", "dress-body", "dress-in-motion", "tee-trousers"}
    assert all(recipe.name == stem for stem, recipe in recipes.items())


def test_a_preset_gives_way_to_what_the_recipe_says():
    recipe = recipe_from_dict({"name": "a", "data": "b", "preset": "fast", "network": {"hidden": 64}})
    assert (recipe.network.hidden, recipe.network.unet_width, recipe.network.activation) == (64, 16, "silu")
    assert recipe_from_dict({"name": "a", "data": "b"}).network.hidden == 256
    with pytest.raises(ConfigError, match="preset must be one of paper, fast"):
        recipe_from_dict({"name": "a", "data": "b", "preset": "quick"})


def test_the_releases_keys(tmp_path):
    recipe = read_recipe(write(tmp_path, RELEASE))
    assert (recipe.carrier, recipe.mode, recipe.supervision_kind) == ("body", "patch", "chamfer")
    assert recipe.network.uv_frequencies == 0 and recipe.network.map_size == 32 and recipe.network.hidden == 256
    assert recipe.loss.residual == 2000 and recipe.loss.latent == 1.0
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.schedule) == (500, 16, 3e-4, "constant")
    assert (recipe.validate_epochs, recipe.data_spacing, recipe.save_all_results) == (20, 1, False)
    assert (recipe.task, recipe.precision, recipe.rise_start, recipe.mirror) == ("train", "float32", 250, False)


def test_every_key_of_the_release_is_known():
    content = yaml.safe_load(RELEASE)
    for key, value in content.items():
        required = {"name": "a", "data_root": "b", "batch_size": 2}
        assert recipe_from_dict(required | {key: value}).carrier == "body"


def test_what_a_config_of_the_release_leaves_unsaid_is_as_in_the_release(tmp_path):
    recipe = read_recipe(write(tmp_path, "name: a\ndata_root: b\n"))
    said = read_recipe(write(tmp_path, RELEASE))
    assert recipe == replace(said, name="a", data="b", network=recipe.network)


def test_positional_encoding_of_the_release_is_on_with_its_default(tmp_path):
    recipe = read_recipe(write(tmp_path, "name: a\ndata_root: b\npos_encoding: 1\nposemb_incl_input: 0\n"))
    assert recipe.network.uv_frequencies == 6 and not recipe.network.uv_include_input


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ndata: b\nbatchsize: 3", "nearest known key is 'batch_size'"),
        ("name: a\ndata: b\nnetwork: {hiden: 3}", "nearest known key is 'network.hidden'"),
        ("name: a\ndata: b\nsteps: many", "steps must be of the kind int"),
        ("name: a\ndata: b\ncarrier: cape", "carrier must be one of garment, body"),
        ("name: a\ndata: b\nnetwork: {map_size: 33}", "map_size must be"),
        ("name: a\ndata: b\nbatch: 0", "batch must be positive"),
        ("name: a", "lacks data"),
        ("- 1", "must hold 'key: value'"),
        ("a: [", "no valid YAML"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        read_recipe(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_a_recipe_survives_its_dictionary():
    recipe = recipe_from_dict({"name": "a", "data": "b", "network": {"hidden": 64}, "learning_rate": "1e-4"})
    assert recipe_from_dict(recipe.as_dict()) == recipe


DEMO = """name: SCALE_demo
dataroot: 00000_skirt
data_spacing: 1
npoints: 16
save_all_results: 1
mode: test
"""
TRAIN_DEMO = """name: SCALE_train_demo
data_root: 00000_skirt
val_every: 10
npoints: 18 # not a square
pos_encoding: 0
use_dropout: 0
latent_size: 128
scan_npoints: -1
mode: train
tb_folder: logs
epoch: 3
"""


def test_the_releases_configs_in_the_releases_folders(tmp_path, capsys, monkeypatch):
    """As they are: data under data/packed, the UV template as the body, keys that mean nothing here left aside."""
    for folder in ("configs", "data/packed/00000_skirt/train", "assets"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "assets" / "template_mesh_uv.obj").write_text("")
    (tmp_path / "configs" / "demo.yaml").write_text(DEMO)
    (tmp_path / "configs" / "train.yaml").write_text(TRAIN_DEMO)
    demo = read_recipe(tmp_path / "configs" / "demo.yaml")
    assert Path(demo.data).resolve() == tmp_path / "data" / "packed" / "00000_skirt"
    assert (demo.task, demo.save_all_results, demo.carrier) == ("test", True, "body")
    assert Path(demo.body).resolve() == tmp_path / "assets" / "template_mesh_uv.obj"
    assert capsys.readouterr().err == ""
    monkeypatch.chdir(tmp_path)
    train = read_recipe("configs/train.yaml")
    assert (train.network.points_per_patch, train.network.latent, train.scan_points) == (16, 128, 40_000)
    assert (train.validate_epochs, train.network.uv_frequencies) == (10, 0)
    told = capsys.readouterr().err
    assert "npoints: 16 is taken, the next smaller square number to 18" in told
    assert "'tb_folder', 'epoch' (did you mean 'epochs'?) mean nothing here and are left aside" in told
    assert "dropout" not in told and told.count("tb_folder") == 1


ALIASES = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(("text", "said"), [
    ("steps: .inf", "steps must be a finite number"),
    ("learning_rate: .nan", "learning_rate must be a finite number"),
    ("network: {hidden: -5}", "hidden must be from 1 to 8192, not -5"),
    ("network: {points_per_patch: 0}", "points_per_patch must be from 1 to 4096, not 0"),
    ("network: {uv_frequencies: 1000}", "uv_frequencies must be from 0 to 32"),
    ("name: ../a", "name must do for a file"),
    ('name: "a\\0b"', "name must do for a file"),
    ("name: ..", "name must do for a file"),
    ("steps: " + "9" * 999, "steps must be"),
    ("[1, 2]: 3", "no valid YAML|a key that is no word"),
    ("2: 3", "a key that is no word"),
    ("preset: [1]", "preset must be one of"),
    ("wholly_unheard_of_zz: 3", "scale-train recipe NAME shows"),
    (f"{ALIASES}steps: *a59", "steps must be of the kind int, not 'list'|unknown key"),
])  # fmt: skip
def test_values_that_would_do_harm_are_refused(tmp_path, text, said):
    lines = text if text.startswith("name") else f"name: a\n{text}"
    with pytest.raises(ConfigError, match=said) as caught:
        read_recipe(write(tmp_path, f"{lines}\ndata: b\n"))
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_a_recipe_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: K\xf6ln\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml is no text in UTF-8"):
        read_recipe(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match=r"latin\.yaml has 2 MiB"):
        read_recipe(path)
