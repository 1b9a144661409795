"""Decode poses into clothes: pose -> posed carrier -> positional map -> features -> points and normals."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scale_backend import surfaces
from scale_backend.decoding.frames import Posed, decode_frames, network_input, pose_frames
from scale_backend.decoding.model import Model
from scale_backend.decoding.prepared import Prepared, ready
from scale_backend.decoding.tensor_poses import TensorPoses
from scale_backend.formats.errors import UserError
from scale_backend.formats.garment_header import NORMALS
from scale_backend.formats.poses import DecodeOptions, PoseError, Poses
from scale_backend.formats.topology import Topology
from scale_backend.geometry.body import Body, fit_joint_count
from scale_backend.inference.choice import mlp_of
from scale_backend.inference.precision import Precision, candidates, is_equal, trial_poses
from scale_backend.machine.cores import Cores, shared_cores
from scale_backend.machine.cuda_graph import Replay, to_host
from scale_backend.model.garment import Garment
from scale_backend.surfaces import unconnected
from scale_backend.surfaces.queries import Queries, patch_queries, vertex_queries

if TYPE_CHECKING:
    from scale_backend.wearer.fit import Fit

TRIAL_POINTS = 4096  # at most, when a precision is tried
UNET_FRAMES = 8  # of a batch that share a reading of the U-Net's weights on a CPU
MAX_MADE = 4  # fabrics, and means of them, whose folded weights a decoder keeps
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
        self.made: dict[tuple[float, ...], Model] = {}  # the model in other fabrics than its first, the newest last
        self.asked: dict[tuple, int] = {}  # how often a kind of request has come; on CUDA alone
        self.replays: dict[tuple, Replay] = {}

    def worn(self, fit: Fit) -> Decoder:
        """The same garment on a wearer with a body of its own. All that the two have in common is shared."""
        worn = copy.copy(self)
        worn.model = self.plain.worn(fit)
        worn.made, worn.asked, worn.replays = {}, {}, {}  # models and graphs are of one wearer
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
                prepared = self.prepare(surface, part)
                if prepared.sheet is None:  # cloth that settles has other folds than the network's normals know
                    prepared = replace(prepared, rings=None)
            else:
                model = self.plain
                built = surfaces.build(model.garment, model.host_carrier, surface, part, partial(_decode_rest, model))
                prepared = ready(model, built)
            # oneDNN never tries again what it once had no memory to build; and the first frame should not wait for it
            _decode_rest_pose(self.plain, prepared, push_out=True)
            self.prepared[key] = prepared
        return self.prepared[key]

    def topology(self, surface: str = "mesh", part: str = "clothes") -> Topology:
        """What stays the same from frame to frame. Raises UserError for a surface that is not offered."""
        return self.prepare(surface, part).topology

    @torch.inference_mode()
    def decode(
        self, poses: Poses, options: DecodeOptions | None = None
    ) -> tuple[Tensor, Tensor]:  # points [F, M, 3] metres, unit normals [F, M, 3], on the host
        """Clothes in world space (SMPL's axes): the root is taken off first and put back last.

        Raises ForeignFileError for a body that is a surface alone.
        """
        options = options or DecodeOptions()
        self.model.body.check_posable()
        prepared, model = self.prepare(options.surface, options.part, options.normals), self._made_of(options.fabrics)
        there = _on_device(model, poses)
        if model.tiled:
            with model.cores.alone():
                if len(there) > 1:
                    return _decode_apart(model, prepared, options, there)
                return to_host(decode_world(model, prepared, options, there))
        if model.device.type != "cuda":
            return to_host(decode_world(model, prepared, options, there))
        return to_host(self._replayed(model, prepared, options, there))

    def _made_of(self, fabrics: tuple[float, ...]) -> Model:
        """The model in a mean of its fabrics; a few are kept. Raises UserError."""
        if not fabrics:
            return self.model
        made = self.made.pop(fabrics, None) or self.model.made_of(fabrics)
        self.made[fabrics] = made
        while len(self.made) > MAX_MADE:
            self.made.pop(next(iter(self.made)))
        return made

    def _replayed(
        self, model: Model, prepared: Prepared, options: DecodeOptions, poses: TensorPoses
    ) -> tuple[Tensor, Tensor]:
        """A graph costs some frames to record: only for a number of frames that comes again, as live and in bakes."""
        named = poses.given()

        def world(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            return decode_world(model, prepared, options, TensorPoses(**dict(zip(named, tensors, strict=True))))

        key = options, tuple((name, tuple(tensor.shape)) for name, tensor in named.items())
        self.asked[key] = self.asked.get(key, 0) + 1
        if self.asked[key] == 2 and len(self.replays) < MAX_REPLAYS:
            self.replays[key] = Replay(world, tuple(named.values()))
        return self.replays.get(key, world)(*named.values())


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
    poses = _on_device(model, Poses(trial_poses(model.body.joint_count).numpy()))

    def decoded(tried: Model) -> Tensor:
        posed = pose_frames(tried, poses)
        return decode_frames(tried, ready(tried, unconnected(queries)), posed, False)[0]

    expected = decoded(model)
    tried = (replace(model, mlp=mlp_of(model.network, precision)) for precision in fast)
    return next((each for each in tried if is_equal(decoded(each), expected)), model)


def _decode_rest(model: Model, queries: Queries) -> tuple[Tensor, Tensor]:  # points and normals [M, 3]
    """The rest pose, for surfaces that are made from what the garment looks like in it."""
    points, normals = _decode_rest_pose(model, ready(model, unconnected(queries)), push_out=False)
    return points[0].cpu(), normals[0].cpu()


@torch.inference_mode()
def _decode_rest_pose(model: Model, prepared: Prepared, push_out: bool) -> tuple[Tensor, Tensor]:  # [1, M, 3]
    pose = _on_device(model, Poses(torch.eye(3).expand(1, model.body.joint_count, 3, 3).numpy()))
    return decode_frames(model, prepared, pose_frames(model, pose), push_out)


def decode_world(
    model: Model, prepared: Prepared, options: DecodeOptions, poses: TensorPoses
) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3] on the device
    """A batch as a whole."""
    return _finish(model, prepared, options, pose_frames(model, poses, options.motion), None)


def _decode_apart(
    model: Model, prepared: Prepared, options: DecodeOptions, poses: TensorPoses
) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3]
    """A core a frame, but the U-Net for some at a time, so that its weights are read once for them.

    Each frame is the same to the bit alone, in any batch, and baked in parts.
    """
    frames = range(len(poses))

    def pose(f: int) -> tuple[Posed, Tensor]:
        posed = pose_frames(model, poses[f : f + 1], options.motion)
        return posed, network_input(model, posed)

    def finish(f: int) -> tuple[Tensor, Tensor]:
        return _finish(model, prepared, options, posed[f], pixels[f : f + 1])

    posed, each = zip(*model.cores.map(pose, frames), strict=True)
    maps = torch.cat(each)
    tiles = model.cores.tiles(len(frames), UNET_FRAMES)
    pixels = torch.cat(model.cores.map(lambda some: model.pixel_features(maps[some]), tiles))
    points, normals = zip(*model.cores.map(finish, frames), strict=True)
    return torch.cat(points), torch.cat(normals)


def _finish(
    model: Model,
    prepared: Prepared,
    options: DecodeOptions,
    posed: Posed,
    pixels: Tensor | None,  # [F, H W, C] features, where they are known already
) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3] on the device
    """With the root's turn and place."""
    points, normals = decode_frames(model, prepared, posed, options.push_out, pixels, options.settle)
    root, place = posed.poses.rotations[:, 0], model.pelvis(posed.shape) + posed.poses.translation
    return points @ root.mT + place[:, None], normals @ root.mT


def _on_device(model: Model, poses: Poses) -> TensorPoses:
    """As tensors: of the body's joints, with a translation, a shape for each frame or none, and the garment's moments.

    Raises PoseError for another number of moments than the garment knows.
    """
    given = {name: _tensor(array).to(model.device) for name, array in poses.given().items()}
    body, frames, lags = model.body, len(poses), len(model.garment.window.lags)
    shape, past = given.pop("shape", None), given.pop("past_rotations", None)
    if shape is not None:  # a wearer's body has the shape that it has
        shape = _shapes(shape, frames, body) if model.fit is None else None
    before = given.pop("past_translation", None) if lags else None
    if past is not None and lags and past.shape[1] != lags:
        raise PoseError(f"'{model.garment.name}' knows {lags} earlier moments, and the poses come with "
                        f"{past.shape[1]}; take those of its window.")  # fmt: skip
    if past is not None:
        moments = past.shape[:2]
        past = fit_joint_count(past.flatten(0, 1), body.joint_count).unflatten(0, moments) if lags else None
    rotations = fit_joint_count(given["rotations"], body.joint_count)
    translation = given.get("translation", torch.zeros(frames, 3, device=model.device))
    return TensorPoses(rotations, translation, shape, past, before, given.get("down"))


def _tensor(array: np.ndarray | Tensor) -> Tensor:
    """float32. Arrays are copied: those off the wire are read-only."""
    return array.to(torch.float32) if isinstance(array, Tensor) else torch.from_numpy(np.array(array, np.float32))


def _shapes(shape: Tensor, frames: int, body: Body) -> Tensor | None:  # [S] or [F, S] -> [F, S]; None: the mean shape
    if not bool(shape.any()):
        return None
    shape = shape.expand(frames, -1) if shape.dim() == 2 else shape[None].expand(frames, -1)
    count = body.shape_components.shape[-1]
    return torch.nn.functional.pad(shape[:, :count], (0, max(0, count - shape.shape[1])))
