"""Decode poses into clothes: pose -> posed carrier -> positional map -> features -> points and normals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scale_backend import surfaces
from scale_backend.decoding.frames import Posed, decode_frames, pose_frames, positional_map
from scale_backend.decoding.model import Model
from scale_backend.decoding.prepared import Prepared, ready
from scale_backend.formats.errors import UserError
from scale_backend.formats.garment_header import NORMALS
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import Body, fit_joint_count
from scale_backend.inference.choice import mlp_of
from scale_backend.inference.precision import Precision, candidates, is_equal, trial_poses
from scale_backend.machine.cores import Cores, shared_cores
from scale_backend.machine.cuda_graph import Replay, to_host
from scale_backend.model.garment import Garment
from scale_backend.surfaces import Surface
from scale_backend.surfaces.queries import Queries, patch_queries, vertex_queries

if TYPE_CHECKING:
    from scale_backend.wearer.fit import Fit

TRIAL_POINTS = 4096  # at most, when a precision is tried
UNET_FRAMES = 8  # of a batch that share a reading of the U-Net's weights on a CPU
MAX_REPLAYS = 8  # CUDA graphs a decoder keeps; each holds the memory of its batch


class Decoder:
    """One garment on one body on one device. Keeps what does not depend on the pose."""

    def __init__(
        self,
        garment: Garment,
        body: Body,
        device: str = "cpu",
        precision: str = "float32",  # or "bfloat16", "split", "float16", "auto": see precision.py
        cores: Cores | None = None,  # None: as many as torch has threads
    ):
        at = torch.device(device)
        on_cpu = at.type == "cpu"
        if cores is None or not on_cpu:
            cores = shared_cores(torch.get_num_threads() if on_cpu else 1)
        *fast, exact = candidates(precision, at)
        self.plain = _fastest(Model.of(garment, body, at, cores, exact), fast)  # on the garment's own body
        self.model = self.plain
        self.prepared: dict[tuple[str, str, str], Prepared] = {}
        self.asked: dict[tuple, int] = {}  # how often a kind of request has come; on CUDA alone
        self.replays: dict[tuple, Replay] = {}

    def worn(self, fit: Fit) -> Decoder:
        """The same garment on a wearer with a body of its own. All that the two have in common is shared."""
        worn = copy.copy(self)
        worn.model = self.plain.worn(fit)
        worn.asked, worn.replays = {}, {}
        return worn

    @property
    def precision(self) -> str:
        return self.model.mlp.precision.name

    def prepare(self, surface: str, part: str, normals: str = "faces") -> Prepared:
        """Queries and topology of a surface kind, made on first use. Raises UserError for one that is not offered.

        normals: of its faces, or "decoded"; points have no faces and always the network's.
        """
        if normals not in NORMALS:
            raise UserError(f"The normals must be {' or '.join(NORMALS)}, not {normals!r}.")
        key = (surface, part, normals)
        if key not in self.prepared:
            if normals == "decoded":
                prepared = replace(self.prepare(surface, part), rings=None)
            else:
                model = self.plain
                built = surfaces.build(model.garment, model.host_carrier, surface, part, partial(_decode_rest, model))
                prepared = ready(model, built)
            # oneDNN never tries again what it once had no memory to build; and the first frame should not wait for it
            _decode_rest_pose(self.plain, prepared, push_out=True)
            self.prepared[key] = prepared
        return self.prepared[key]

    def topology(self, surface: str = "mesh", part: str = "clothes") -> dict[str, np.ndarray]:
        """What stays the same from frame to frame.

        triangles [T, 3] int32 (none for points), uv [3 T, 2] float32 a loop, patch [M] int32, region [M] uint8.
        """
        return self.prepare(surface, part).topology

    @torch.inference_mode()
    def decode(
        self, poses: Poses, options: DecodeOptions | None = None
    ) -> tuple[Tensor, Tensor]:  # points [F, M, 3] metres, unit normals [F, M, 3], on the host
        """Clothes in world space (SMPL's axes): the root is taken off first and put back last.

        Raises ForeignFileError for a body that is a surface alone.
        """
        options = options or DecodeOptions()
        device, body = self.model.device, self.model.body
        body.check_posable()
        prepared = self.prepare(options.surface, options.part, options.normals)
        rotations = fit_joint_count(_tensor(poses.rotations), body.joint_count).to(device)
        frames = len(rotations)
        shape = None
        if poses.shape is not None and self.model.fit is None:  # a wearer's body has the shape that it has
            shape = _shapes(_tensor(poses.shape).to(device), frames, body)
        translation = torch.zeros(frames, 3) if poses.translation is None else _tensor(poses.translation)
        inputs = [rotations, translation.to(device), *([] if shape is None else [shape])]
        world = partial(decode_world, self.model, prepared, options.push_out)
        if self.model.tiled:
            with self.model.cores.alone():
                apart = frames > 1
                return (
                    _decode_apart(self.model, prepared, options.push_out, inputs) if apart else to_host(world(*inputs))
                )
        if device.type != "cuda":
            return to_host(world(*inputs))
        return to_host(self._replayed((options, frames, shape is None), world, inputs))

    def _replayed(
        self, key: tuple, world: Callable[..., tuple[Tensor, Tensor]], inputs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """A graph costs some frames to record: only for a number of frames that comes again, as live and in bakes."""
        self.asked[key] = self.asked.get(key, 0) + 1
        if self.asked[key] == 2 and len(self.replays) < MAX_REPLAYS:
            self.replays[key] = Replay(world, tuple(inputs))
        return self.replays.get(key, world)(*inputs)


@torch.inference_mode()
def _fastest(model: Model, fast: list[Precision]) -> Model:
    """The model with its MLP in the fastest of the precisions that changes nothing one could see."""
    if not fast:
        return model
    garment = model.garment
    if model.mode == "patch":
        queries = patch_queries(model.host_carrier, garment.layout, model.network.settings)
    else:
        queries = vertex_queries(model.host_carrier, garment.layout)
    queries = queries[torch.arange(0, len(queries), -(-len(queries) // TRIAL_POINTS))]
    poses = trial_poses(model.body.joint_count).to(model.device)
    translation = -model.body.mean_joints[:1].expand(len(poses), 3)

    def decoded(tried: Model) -> Tensor:
        posed = pose_frames(tried, poses, translation, None)
        return decode_frames(tried, ready(tried, Surface(queries, {})), posed, False)[0]

    expected = decoded(model)
    tried = (replace(model, mlp=mlp_of(model.network, precision)) for precision in fast)
    return next((each for each in tried if is_equal(decoded(each), expected)), model)


def _decode_rest(model: Model, queries: Queries) -> tuple[Tensor, Tensor]:  # points and normals [M, 3]
    """The rest pose, for surfaces that are made from what the garment looks like in it."""
    points, normals = _decode_rest_pose(model, ready(model, Surface(queries, {})), push_out=False)
    return points[0].cpu(), normals[0].cpu()


@torch.inference_mode()
def _decode_rest_pose(model: Model, prepared: Prepared, push_out: bool) -> tuple[Tensor, Tensor]:  # [1, M, 3]
    pose = torch.eye(3, device=model.device).expand(1, model.body.joint_count, 3, 3)
    return decode_frames(model, prepared, pose_frames(model, pose, -model.body.mean_joints[:1], None), push_out)


def decode_world(
    model: Model,
    prepared: Prepared,
    push_out: bool,
    rotations: Tensor,  # [F, J, 3, 3]
    translation: Tensor,  # [F, 3]
    shape: Tensor | None = None,  # [F, S]
) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3] on the device
    """A batch as a whole."""
    posed = _pose(model, rotations, shape)
    return _finish(model, prepared, push_out, posed, None, rotations, translation, shape)


def _decode_apart(
    model: Model, prepared: Prepared, push_out: bool, inputs: list[Tensor]
) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3]
    """A core a frame, but the U-Net for some at a time, so that its weights are read once for them.

    Each frame is the same to the bit alone, in any batch, and baked in parts.
    """
    frames = range(len(inputs[0]))
    apart = [[x[f : f + 1] for x in inputs] for f in frames]

    def pose(f: int) -> tuple[Posed, Tensor]:
        rotations, _translation, *shape = apart[f]
        posed = _pose(model, rotations, *shape)
        return posed, positional_map(model, posed)

    def finish(f: int) -> tuple[Tensor, Tensor]:
        return _finish(model, prepared, push_out, posed[f], pixels[f : f + 1], *apart[f])

    posed, each = zip(*model.cores.map(pose, frames), strict=True)
    maps = torch.cat(each)
    tiles = model.cores.tiles(len(frames), UNET_FRAMES)
    pixels = torch.cat(model.cores.map(lambda some: model.pixel_features(maps[some]), tiles))
    points, normals = zip(*model.cores.map(finish, frames), strict=True)
    return torch.cat(points), torch.cat(normals)


def _pose(model: Model, rotations: Tensor, shape: Tensor | None = None) -> Posed:  # [F, J, 3, 3], [F, S]
    """Without the root's turn and place."""
    local = rotations.clone()
    local[:, 0] = torch.eye(3, device=model.device)
    return pose_frames(model, local, -model.pelvis(shape).expand(len(local), 3), shape)


def _finish(
    model: Model,
    prepared: Prepared,
    push_out: bool,
    posed: Posed,
    pixels: Tensor | None,  # [F, H W, C] features, where they are known already
    rotations: Tensor,
    translation: Tensor,
    shape: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3] on the device
    """With the root's turn and place."""
    points, normals = decode_frames(model, prepared, posed, push_out, pixels)
    root = rotations[:, 0]
    return points @ root.mT + (model.pelvis(shape) + translation)[:, None], normals @ root.mT


def _tensor(array: np.ndarray | Tensor) -> Tensor:
    """float32. Arrays are copied: those off the wire are read-only."""
    return array.to(torch.float32) if isinstance(array, Tensor) else torch.from_numpy(np.array(array, np.float32))


def _shapes(shape: Tensor, frames: int, body: Body) -> Tensor | None:  # [S] or [F, S] -> [F, S]; None: the mean shape
    if not bool(shape.any()):
        return None
    shape = shape.expand(frames, -1) if shape.dim() == 2 else shape[None].expand(frames, -1)
    count = body.shape_components.shape[-1]
    return torch.nn.functional.pad(shape[:, :count], (0, max(0, count - shape.shape[1])))
