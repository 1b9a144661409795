"""Checkpoints of the research release as garments. What fixes the network is read off the weights' names and shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.geometry.body import Body
from scale_backend.model.garment import Garment, save_garment
from scale_backend.model.network import NetworkSettings, ScaleNetwork
from scale_backend.model.torch_file import load_torch
from scale_backend.released.layout import read_layout


@dataclass(frozen=True)
class PatchCoordinates:
    """What the weights do not tell."""

    points_per_patch: int = 16
    """Points of a patch, a square number (npoints over the number of patches in the release's configuration)."""
    pq_include_end: bool = True
    """Whether the patch grid reaches the end of its range."""
    pq_min: float = 0.0
    """Start of the patch grid."""
    pq_max: float = 1.0
    """End of the patch grid."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's file, its weights under the names they have there."""

    name: str
    settings: NetworkSettings
    weights: dict[str, Tensor]
    epoch: int | None


def import_checkpoint(
    model: Path,
    latent: Path,
    body: Body,  # with UVs
    out: Path,
    valid_pixels: Path | None = None,
    face_ids: Path | None = None,
    coordinates: PatchCoordinates | None = None,
    latent_index: int = 0,
    licence: str = "",
) -> Garment:
    """Write a garment whose weights are the checkpoint's, unrounded. Raises ForeignFileError, OSError."""
    if out.suffix != ".safetensors":
        raise ForeignFileError(f"A garment is written as .safetensors; name the file {out.stem}.safetensors.")
    checkpoint = read_checkpoint(model, coordinates or PatchCoordinates())
    network = ScaleNetwork(checkpoint.settings)
    weights = _own_names(network, checkpoint)
    weights["latent"] = read_latent(latent, checkpoint.settings.latent, latent_index)
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    garment = Garment(
        name=out.stem, network=network, mode="patch", body_name=body.name, body_vertices=len(body.template),
        body_digest=body.digest, title=out.stem, description=f"Imported from the checkpoint {model.name}.",
        layout=read_layout(body, checkpoint.settings.map_size, valid_pixels, face_ids), licence=licence,
        training={"checkpoint": model.name} | ({} if checkpoint.epoch is None else {"epoch": checkpoint.epoch}),
    )  # fmt: skip
    save_garment(out, garment, exact=True)
    return garment


def read_checkpoint(path: Path, coordinates: PatchCoordinates) -> Checkpoint:
    """Raises ForeignFileError, OSError."""
    content = _load(path)
    state = content.get("model_state", content)
    if not isinstance(state, dict):
        state = {}
    # trained on several GPUs every name has a prefix
    weights = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    epoch = content.get("epoch")
    settings = read_settings(weights, path.name, coordinates)
    return Checkpoint(path.name, settings, weights, epoch if isinstance(epoch, int) else None)


def _load(path: Path) -> dict:
    """The dictionary of a torch file. Raises ForeignFileError, OSError."""
    content = load_torch(path)
    if not isinstance(content, dict):
        raise ForeignFileError(f"{path.name} holds no checkpoint but a {type(content).__name__}; choose another file.")
    return content


def read_settings(weights: dict[str, Tensor], name: str, coordinates: PatchCoordinates) -> NetworkSettings:
    """The network that the weights belong to. Raises ForeignFileError."""
    downs = (re.fullmatch(r"unet\.conv(\d{1,2})\.conv\.weight", key) for key in weights)
    steps = max((int(down[1]) for down in downs if down), default=0)
    up = next(
        (k for k in weights if re.fullmatch(rf"unet\.upconvC?{steps}\.up\.(1\.)?bias", k)), "the last upconv's bias"
    )
    needed = ["unet.conv1.conv.weight", "unet.upconv1.bn.conv_gamma.weight", "map2Dto3D.conv1.weight", up]
    lacking = [key for key in needed if key not in weights]
    if lacking:
        raise ForeignFileError(
            f"{name} is no SCALE checkpoint: it lacks {', '.join(lacking)}; choose the model's file."
        )
    features = len(weights[up])
    try:
        hidden, inputs = weights["map2Dto3D.conv1.weight"].shape[:2]
        uv = inputs - features - 2
        # 2 raw coordinates, or 4 for each frequency with or without them
        encoded = uv > 2
        return NetworkSettings(
            map_size=2**steps,
            features=features,
            unet_width=len(weights["unet.conv1.conv.weight"]),
            hidden=hidden,
            latent=weights["unet.upconv1.bn.conv_gamma.weight"].shape[1],
            up_mode="upsample" if ".up.1." in up else "upconv",
            uv_frequencies=uv // 4 if encoded else 0,
            uv_include_input=not encoded or uv % 4 == 2,
            activation="softplus",
            **coordinates.__dict__,
        )
    except (ValueError, IndexError) as error:
        raise ForeignFileError(f"{name} is a checkpoint of another network: {error}") from error


def released_name(name: str) -> str:
    """A parameter of `ScaleNetwork` as released checkpoints call it."""
    part, rest = name.split(".", 1)
    if part == "unet":
        side, number, rest = rest.split(".", 2)
        if side == "downs":
            return f"unet.conv{int(number) + 1}.{rest}"
        return f"unet.upconv{'C' if int(number) > 2 else ''}{int(number) + 1}.{rest}"
    branch, rest = rest.split(".", 1)
    place = 5
    if branch != "skip":
        index, rest = rest.split(".", 1)
        place = int(index) + (1 if branch == "trunk" else 6)
    layer, tensor = rest.split(".", 1)
    return f"map2Dto3D.{layer}{place}{'N' if branch == 'normal' else ''}.{tensor}"


def _own_names(network: ScaleNetwork, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights under our names, all of them and no others. Raises ForeignFileError."""
    weights = checkpoint.weights
    # the step at which upconv becomes upconvC differs between map sizes
    given = {key.replace("upconvC", "upconv"): key for key in weights}
    found, missing, wrong = {}, [], []
    for own, expected in network.state_dict().items():
        if own == "latent":
            continue
        released = released_name(own)
        key = given.pop(released.replace("upconvC", "upconv"), None)
        if key is None:
            if own.endswith("num_batches_tracked"):  # counts batches, decodes nothing; older files have none
                found[own] = expected
            else:
                missing.append(released)
        elif weights[key].shape != expected.shape:
            wrong.append(f"{key} {list(weights[key].shape)} instead of {list(expected.shape)}")
        elif not weights[key].isfinite().all():
            wrong.append(f"{key} with numbers that are not finite")
        else:
            found[own] = weights[key].to(expected.dtype)
    faults = {"lacks": missing, "has": wrong, "also has": list(given.values())}
    if any(faults.values()):
        told = "; ".join(f"{verb} {_listed(keys)}" for verb, keys in faults.items() if keys)
        raise ForeignFileError(f"{checkpoint.name} is a checkpoint of another network: it {told}.")
    return found


def _listed(names: list[str], shown: int = 6) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def read_latent(path: Path, length: int, index: int) -> Tensor:  # [1, L]
    """One latent code of a release's file. Raises ForeignFileError, OSError."""
    codes = _load(path).get("latent_codes")
    if isinstance(codes, dict):
        codes = codes.get("weight")
    if not isinstance(codes, Tensor) or codes.dim() < 2 or codes.shape[-1] != length or not codes.isfinite().all():
        raise ForeignFileError(f"{path.name} holds no latent codes of {length} numbers; choose the file that was "
                               "saved beside the model.")  # fmt: skip
    codes = codes.reshape(-1, length).float()
    if not 0 <= index < len(codes):
        raise ForeignFileError(f"{path.name} holds the latent codes 0 to {len(codes) - 1}, not {index}.")
    return codes[index : index + 1].clone()
