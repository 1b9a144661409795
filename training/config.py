"""A training's recipe: YAML on disk, a frozen dataclass in memory.

The keys of the research release's configs are read too, where they apply (release_config.py).
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import ForeignFileError, check_size, quoted
from scale_backend.formats.window import Window
from scale_backend.model.network import NetworkSettings
from training import release_config
from training.release_config import RELEASE_DEFAULTS, RELEASE_KEYS

LARGEST_FILE = 1 << 20  # bytes
NAME = re.compile(r"[^/\\\x00-\x1f]{1,120}")  # of a folder and of files in it
NEAR = 0.75  # likeness of two names
SEE_KEYS = "; scale-train recipe NAME shows those that there are"


class ConfigError(UserError):
    """A recipe that cannot be used; the sentence says what to do."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms in training/learning/losses.py. A zero leaves its term out."""

    distance: float = 20.0
    """Correspondence: mean distance of corresponding points, metres."""
    squared: float = 1e3
    """Correspondence: mean squared distance of corresponding points."""
    face_normal: float = 0.3
    """Correspondence: mean absolute difference of face normals; keeps folds."""
    length: float = 0.0
    """Correspondence: mean absolute difference of edges' lengths, as a share of the true ones."""
    normal: float = 0.1
    """Mean absolute difference of decoded and true normals."""
    model_to_scan: float = 1e4
    """Chamfer: squared distance of a point to the plane of its nearest scan point."""
    scan_to_model: float = 1e4
    """Chamfer: squared distance of a scan point to the nearest point."""
    color: float = 30.0
    """Chamfer: mean absolute difference of a point's colour and its nearest scan point's; for scans with colours. At 1
    the trunk that all branches share listens to the distances alone."""
    residual: float = 10.0
    """Mean squared residual. The paper has 2e3, which pulls a loose skirt inwards."""
    latent: float = 0.01
    """Norm of the latent code."""


@dataclass(frozen=True)
class Recipe:
    """Everything a training is told. Times in steps unless the name says otherwise."""

    name: str
    data: str
    """Raw folder of `scale-train simulate`, or a folder of packed frames."""
    title: str = ""
    description: str = ""
    licence: str = "CC0-1.0"
    author: str = "The SCALE clothing project"
    body: str = "neutral"
    """Name or path of the body."""
    carrier: str = "garment"
    """garment (the garment's own rest surface) or body (as in the paper)."""
    queries: str = ""
    """continuous or patch; empty: continuous on a garment carrier, patch on the body."""
    supervision: str = ""
    """corresponding or chamfer; empty: corresponding on a garment carrier, chamfer on the body."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    fabrics: tuple[str, ...] = ()
    """Fabrics of cloth in motion, a latent code each: then `data` is a folder of sequences (garment.npz, train,
    held-out). Empty: frames of cloth at rest."""
    lags: tuple[float, ...] = ()
    """Cloth in motion: seconds before the present of the moments that the network sees too."""
    gravity: bool = False
    """Cloth in motion: the network sees where down is."""
    coarse: float = 0.0
    """Cloth in motion: length of edges, metres, of a coarse mesh that falls through the moments of `lags`, and that the
    network sees in place of them; 0: none."""
    coarse_steps: int = 3000
    """Steps in which the coarse mesh learns what it lacks in the mean, before the training begins; 0: none."""
    body_shape: bool = False
    """Cloth in motion: the network sees the wearer's body shape, not the mean one's."""
    mirror: bool = False
    """Train on each frame's mirror image too; for garments that are left/right symmetric."""
    frames: int | None = None
    """Train on at most this many frames, spread evenly over those there are."""
    steps: int = 4000
    epochs: int | None = None
    """In place of `steps`: passes over the training frames."""
    minutes: float | None = None
    """Stop after this much training time, with the learning rate's schedule fitted to it."""
    batch: int = 16
    """Frames a step."""
    points: int = 1500
    """Correspondence: surface points a frame and step, in small neighbourhoods."""
    subdivisions: int = 2
    """Correspondence: points are taken at the mesh's vertices and at those of finer ones, up to so many subdivisions,
    on a smooth surface through the simulated vertices. 2 is mesh-x16; 0: the vertices alone."""
    grid_points: int = 16
    """Chamfer: of each patch's points, how many a step."""
    scan_points: int = 40_000
    """Chamfer: scan points a frame and step."""
    normal_every: int = 1
    """Correspondence: train the normal branch in every Nth step only; a mesh has its own normals."""
    learning_rate: float = 1e-3
    warm_up: int = 100
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.998
    """Decay of the moving average of the weights, which is what is kept; 0: none."""
    precision: str = "bfloat16"
    """bfloat16 (mixed) or float32."""
    seed: int = 12345
    schedule: str = "cosine"
    """The learning rate: cosine (to a hundredth at the end) or constant, as in the release."""
    validate_every: int = 500
    validate_epochs: float | None = None
    """In place of `validate_every`: passes over the training frames."""
    validation_frames: int = 24
    samples: bool = True
    """Write .ply files and a picture of held-out frames at each validation."""
    patience: int | None = None
    """Stop after so many validations without progress, and keep the best garment."""
    checkpoint_every: int = 250
    checkpoint_epochs: float | None = None
    """In place of `checkpoint_every`: passes over the training frames."""
    decay_start: int = 250
    """Epoch from which the residual weight shrinks by 0.85 every `decay_every` epochs (chamfer)."""
    decay_every: int = 400
    rise_start: int = 0
    """Epoch before which the normal term is all but off; then it grows by 1.05 every `rise_every` (chamfer)."""
    rise_every: int = 400
    data_spacing: int = 1
    """Take every Nth packed frame."""
    save_all_results: bool = False
    """`scale-train test` writes every frame; otherwise every tenth."""
    task: str = "train"
    """train, resume (as --resume) or test: the release's `mode`."""
    preset: str = "paper"
    """The network: paper, or fast, a smaller one; see PRESETS."""

    def __post_init__(self) -> None:
        choices = {
            "carrier": ("garment", "body"),
            "queries": ("", "continuous", "patch"),
            "supervision": ("", "corresponding", "chamfer"),
            "precision": ("bfloat16", "float32"),
            "schedule": ("cosine", "constant"),
            "task": ("train", "resume", "test"),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                names = ", ".join(a for a in allowed if a)
                raise ConfigError(f"{key} must be one of {names}, not '{getattr(self, key)}'.")
        if (self.coarse and not 0.01 <= self.coarse <= 0.3) or self.coarse_steps < 0:
            raise ConfigError(f"coarse is an edge of 0.01 to 0.3 m, or 0, and coarse_steps are 0 or more, "
                              f"not {self.coarse} and {self.coarse_steps}.")  # fmt: skip
        if not 0 <= self.subdivisions <= 2:
            raise ConfigError(f"subdivisions must be 0, 1 or 2, not {self.subdivisions}.")
        for key in ("steps", "batch", "points", "grid_points", "scan_points", "normal_every", "learning_rate",
                    "validate_every", "checkpoint_every", "data_spacing"):  # fmt: skip
            if not getattr(self, key) > 0:
                raise ConfigError(f"{key} must be positive, not {getattr(self, key)}.")
        if not NAME.fullmatch(self.name) or self.name.strip(".") == "":
            raise ConfigError(f"name must do for a file, without / and \\, not '{quoted(self.name, 40)}'.")
        if self.fabrics and (self.supervision_kind == "chamfer" or self.frames):
            raise ConfigError("fabrics: cloth in motion needs carrier: garment, its own frames and their own vertices; "
                              "leave supervision and frames away.")  # fmt: skip
        if self.window != Window() and not self.fabrics:
            raise ConfigError("lags, gravity and body_shape need cloth in motion; name its fabrics.")
        if self.mode == "patch" and self.supervision_kind == "corresponding":
            raise ConfigError("supervision: corresponding needs queries: continuous on a garment carrier.")
        if self.network.colors and self.supervision_kind == "corresponding":
            raise ConfigError("network.colors needs scans with colours: supervision: chamfer and packed frames.")

    @property
    def window(self) -> Window:
        return Window(self.lags, self.gravity, self.body_shape, self.coarse > 0)

    @property
    def mode(self) -> str:
        return self.queries or ("continuous" if self.carrier == "garment" else "patch")

    @property
    def supervision_kind(self) -> str:
        return self.supervision or ("corresponding" if self.carrier == "garment" else "chamfer")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# what `preset` stands for; a key that is in the recipe itself wins
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "fast": {
        "network.hidden": 128, "network.unet_width": 16, "network.activation": "silu", "network.uv_frequencies": 4,
    },
}  # fmt: skip


def read_recipe(path: str | Path, **overrides: Any) -> Recipe:
    """The recipe of a YAML file. A relative `data` folder is taken from the file's own folder when it exists there, for
    a config of the release also from the folder `data/packed` beside `configs`; its body is then the release's UV
    template. What is left aside is said on stderr. Raises ConfigError.
    """
    import yaml

    path = Path(path)
    try:
        check_size(path, LARGEST_FILE)
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"The recipe {path} cannot be read ({error.strerror}); name another.") from error
    except ForeignFileError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} is no text in UTF-8; save it as that, or name another recipe.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name} is no valid YAML: {quoted(' '.join(str(error).split()), 160)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} must hold 'key: value' lines.")
    recipe, notes = _recipe(content | overrides, path.name)
    for note in notes:
        print(f"{path.name}: {note}.", file=sys.stderr)
    released = release_config.is_release(map(str, content))
    if released and "body" not in content:
        template = release_config.find_template(path)
        recipe = recipe if template is None else replace(recipe, body=str(template))
    if Path(recipe.data).is_absolute():
        return recipe
    beside = path.parent / recipe.data
    found = beside if beside.is_dir() else release_config.find_data(path, recipe.data) if released else None
    return recipe if found is None else replace(recipe, data=str(found))


def recipe_from_dict(content: dict[str, Any], source: str = "the recipe") -> Recipe:
    """Raises ConfigError for unknown keys, naming a known one that is near, and for values of the wrong kind. A config
    of the release may have keys that mean nothing here."""
    return _recipe(content, source)[0]


def _recipe(content: dict[str, Any], source: str) -> tuple[Recipe, list[str]]:
    flat = _flatten(content, source)
    released = release_config.is_release(flat)
    given, notes = release_config.our_values(flat)
    preset = flat.get("preset", "paper")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"{source}: preset must be one of {', '.join(PRESETS)}, not '{quoted(preset)}'.")
    values = (RELEASE_DEFAULTS if released else {}) | PRESETS[preset] | given
    unknown = [key for key in values if key not in _known_keys()]
    if released and unknown:
        verb = "means nothing here and is" if len(unknown) == 1 else "mean nothing here and are"
        told = ", ".join(f"'{quoted(key, 40)}'" + _near(key, " (did you mean '{}'?)") for key in unknown)
        notes.append(f"{told} {verb} left aside")
        values = {key: value for key, value in values.items() if key not in unknown}
    nested: dict[str, dict[str, Any]] = {"network": {}, "loss": {}}
    plain: dict[str, Any] = {}
    known = _known_keys()
    for key, value in values.items():
        if key not in known:
            near = _near(key, "; the nearest known key is '{}'")
            raise ConfigError(f"{source} has the unknown key '{quoted(key, 40)}'{near or SEE_KEYS}.")
        group, _, name = key.rpartition(".")
        (nested[group] if group else plain)[name] = _typed(key, value, known[key], source)
    missing = [key for key in ("name", "data") if key not in plain]
    if missing:
        raise ConfigError(f"{source} lacks {' and '.join(missing)}.")
    try:
        if plain.get("fabrics"):
            parts = plain.get("lags", ()), plain.get("gravity", False), plain.get("body_shape", False)
            window = Window(*parts, plain.get("coarse", 0.0) > 0)
            nested["network"] |= {"inputs": window.channels, "codes": len(plain["fabrics"])}
        network, loss = NetworkSettings(**nested["network"]), LossWeights(**nested["loss"])
        return Recipe(**plain, network=network, loss=loss), notes
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def _flatten(content: dict[str, Any], source: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise ConfigError(f"{source} has a key that is no word ({quoted(key, 40)}).")
        if key in ("network", "loss") and isinstance(value, dict):
            flat |= {f"{key}.{quoted(name)}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat


def _known_keys() -> dict[str, Any]:
    known = {k: v for k, v in get_type_hints(Recipe).items() if k not in ("network", "loss")}
    for group, kind in (("network", NetworkSettings), ("loss", LossWeights)):
        hints = get_type_hints(kind)
        known |= {f"{group}.{f.name}": hints[f.name] for f in fields(kind)}
    return known


def _near(key: str, told: str) -> str:
    """A known key that is near, in words; nothing where none is."""
    names = [*_known_keys(), *RELEASE_KEYS]
    # a nested key is also found by its last part
    near = difflib.get_close_matches(key[:80], names, 1, NEAR) or [
        n for n in names if difflib.SequenceMatcher(None, key[:80], n.rpartition(".")[2]).ratio() >= NEAR
    ]
    return told.format(near[0]) if near else ""


def _typed(key: str, value: Any, kind: Any, source: str) -> Any:
    wanted = str(kind)
    if value is None:
        if "None" in wanted:
            return None
    elif kind is bool or kind is str:
        if kind is bool and value in (0, 1):
            return bool(value)
        if isinstance(value, kind):
            return value
    elif wanted.startswith("tuple"):
        item = float if "float" in wanted else str
        if isinstance(value, list | tuple):
            return tuple(_typed(key, one, item, source) for one in value)
    elif "int" in wanted or "float" in wanted:
        try:  # YAML 1.1 reads 1e-3 as a string
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is not None and not math.isfinite(number):
            raise ConfigError(f"{source}: {key} must be a finite number, not {number}.")
        if number is not None and not isinstance(value, bool):
            if "float" in wanted:
                return number
            if number == int(number):
                return int(number)
    name = getattr(kind, "__name__", wanted)
    raise ConfigError(f"{source}: {key} must be of the kind {name}, not '{quoted(value)}'.")
