"""Decode poses into clothes: pose -> posed carrier -> positional map -> features -> points and normals."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scale_backend import surfaces
from scale_backend.decoding.frames import Posed, decode_frames, pose_frames, positional_map
from scale_backend.decoding.prepared import Prepared
from scale_backend.formats.garment_header import NORMALS
from scale_backend.geometry.articulation import patch_frames, rest_frames, vertex_frames, vertex_rings
from scale_backend.geometry.body import Body, fit_joint_count
from scale_backend.geometry.collision import garment_collider
from scale_backend.geometry.positional_map import surface_points
from scale_backend.inference.convolutions import MatrixUNet
from scale_backend.inference.folding import fold
from scale_backend.inference.mlp import InferenceMLP, mlp_of
from scale_backend.inference.precision import candidates, is_equal, trial_poses
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
        precision: str = "float32",  # or "mixed", "bfloat16", "float16", "auto": see precision.py
        cores: Cores | None = None,  # None: as many as torch has threads
    ):
        carrier = garment.carrier_on(body)
        self.garment, self.device = garment, torch.device(device)
        on_cpu = self.device.type == "cpu"
        self.cores = cores if cores is not None and on_cpu else shared_cores(torch.get_num_threads() if on_cpu else 1)
        self.mode = garment.mode
        self.body = body.to(self.device)
        self.carrier = carrier.to(self.device)
        self.layout = garment.layout.to(self.device)
        self.host_carrier = carrier
        self.tiled = on_cpu  # a GPU takes a batch as a whole
        self.pixels = garment.layout.mask.flatten().nonzero()[:, 0].to(self.device)  # [P]
        self.pixel_corners = self.carrier.triangles[self.layout.triangle_index.clamp_min(0).flatten()]  # [H W, 3]
        self.pixel_weights = self.layout.barycentrics.flatten(0, 1)  # [H W, 3], 0 on background
        folded = fold(garment.network)
        self.network = folded.to(self.device)
        self.unet = MatrixUNet(folded) if on_cpu and folded.settings.up_mode == "upconv" else None
        self.rest = rest_frames(carrier.template, carrier.triangles).to(self.device)
        self.collider = garment_collider(body, carrier.blend_weights).to(self.device)
        self.collider_weights = self.body.blend_weights[self.collider.vertices]
        self.fit: Fit | None = None  # to a wearer with another body
        self.plain = self  # the same on the garment's own body
        self.prepared: dict[tuple[str, str, str], Prepared] = {}
        self.asked: dict[tuple, int] = {}  # how often a kind of request has come; on CUDA alone
        self.replays: dict[tuple, Replay] = {}
        self.mlp = self._choose_mlp(precision)

    @torch.inference_mode()
    def _choose_mlp(self, asked: str) -> InferenceMLP:
        """The MLP in the fastest of the asked precisions that changes nothing one could see."""
        *fast, last = candidates(asked, self.device)
        exact = mlp_of(self.network, last)
        if not fast:
            return exact
        if self.mode == "patch":
            queries = patch_queries(self.host_carrier, self.garment.layout, self.network.settings)
        else:
            queries = vertex_queries(self.host_carrier, self.garment.layout)
        queries = queries[torch.arange(0, len(queries), -(-len(queries) // TRIAL_POINTS))]
        poses = trial_poses(self.body.joint_count).to(self.device)

        def decoded(mlp: InferenceMLP) -> Tensor:
            self.mlp = mlp
            prepared = self._ready(Surface(queries, {}))
            translation = -self.body.mean_joints[:1].expand(len(poses), 3)
            return self._decode_normalised(poses, translation, None, prepared, False)[0]

        expected = decoded(exact)
        tried = (mlp_of(self.network, precision) for precision in fast)
        return next((mlp for mlp in tried if is_equal(decoded(mlp), expected)), exact)

    def worn(self, fit: Fit) -> Decoder:
        """The same garment on a wearer with a body of its own. All that the two have in common is shared."""
        worn = copy.copy(self)
        worn.fit = fit.to(self.device)
        worn.collider, worn.collider_weights = worn.fit.collider, worn.fit.skin_weights
        worn.asked, worn.replays = {}, {}
        return worn

    @property
    def precision(self) -> str:
        return self.mlp.precision.name

    @property
    def patch_count(self) -> int:
        return int(self.layout.mask.sum())

    def prepare(self, surface: str, part: str, normals: str = "faces") -> Prepared:
        """Queries and topology of a surface kind, made on first use. Raises ValueError for one that is not offered.

        normals: of its faces, or "decoded"; points have no faces and always the network's.
        """
        if self.plain is not self:
            return self.plain.prepare(surface, part, normals)
        if normals not in NORMALS:
            raise ValueError(f"The normals must be {' or '.join(NORMALS)}, not {normals!r}.")
        key = (surface, part, normals)
        if key not in self.prepared:
            if normals == "decoded":
                prepared = replace(self.prepare(surface, part), rings=None)
            else:
                built = surfaces.build(self.garment, self.host_carrier, surface, part, self._decode_rest)
                prepared = self._ready(built)
            # oneDNN never tries again what it once had no memory to build; and the first frame should not wait for it
            self._decode_rest_pose(prepared, push=True)
            self.prepared[key] = prepared
        return self.prepared[key]

    def _ready(self, surface: Surface) -> Prepared:
        queries = surface.queries.to(self.device)
        rings = None
        if len(surface.topology.get("triangles", ())):
            triangles = torch.from_numpy(surface.topology["triangles"]).long()
            rings = vertex_rings(triangles, len(surface.topology["patch"])).to(self.device)
        binding = None if surface.binding is None else surface.binding.to(self.device)
        return Prepared(queries, self.mlp.place(queries.uv, queries.pq), surface.topology, rings, binding)

    def _decode_rest(self, queries: Queries) -> tuple[Tensor, Tensor]:  # points and normals [M, 3]
        """The rest pose, for surfaces that are made from what the garment looks like in it."""
        points, normals = self._decode_rest_pose(self._ready(Surface(queries, {})), push=False)
        return points[0].cpu(), normals[0].cpu()

    @torch.inference_mode()
    def _decode_rest_pose(self, prepared: Prepared, push: bool) -> tuple[Tensor, Tensor]:  # [1, M, 3]
        pose = torch.eye(3, device=self.device).expand(1, self.body.joint_count, 3, 3)
        return self._decode_normalised(pose, -self.body.mean_joints[:1], None, prepared, push)

    def topology(self, surface: str = "mesh", part: str = "clothes") -> dict[str, np.ndarray]:
        """What stays the same from frame to frame.

        triangles [T, 3] int32 (none for points), uv [3 T, 2] float32 a loop, patch [M] int32, region [M] uint8.
        """
        return self.prepare(surface, part).topology

    @torch.inference_mode()
    def decode(
        self,
        rotations: Tensor,  # [F, J, 3, 3] local; J of any SMPL-family body
        translation: Tensor | None = None,  # [F, 3] metres
        shape: Tensor | None = None,  # [S] or [F, S]
        surface: str = "mesh",
        part: str = "clothes",
        push: bool = True,
        normals: str = "faces",  # or "decoded"
    ) -> tuple[Tensor, Tensor]:  # points [F, M, 3] metres, unit normals [F, M, 3], on the host
        """Clothes in world space (SMPL's axes): the root is taken off first and put back last."""
        prepared = self.prepare(surface, part, normals)
        rotations = fit_joint_count(rotations.to(torch.float32), self.body.joint_count).to(self.device)
        frames = len(rotations)
        shape = self._shape(shape, frames)
        if translation is None:
            translation = torch.zeros(frames, 3)
        inputs = [rotations, translation.to(self.device, torch.float32), *([] if shape is None else [shape])]

        def world(*inputs: Tensor) -> tuple[Tensor, Tensor]:
            return self._decode_world(prepared, push, *inputs)

        if self.tiled:
            with self.cores.alone():
                return self._decode_apart(prepared, push, inputs) if frames > 1 else to_host(world(*inputs))
        if self.device.type != "cuda":
            return to_host(world(*inputs))
        # a graph costs some frames to record: only for a number of frames that comes again, as in live use and bakes
        key = (surface, part, push, normals, frames, shape is None)
        self.asked[key] = self.asked.get(key, 0) + 1
        if self.asked[key] == 2 and len(self.replays) < MAX_REPLAYS:
            self.replays[key] = Replay(world, tuple(inputs))
        return to_host(self.replays.get(key, world)(*inputs))

    def _decode_apart(self, prepared: Prepared, push: bool, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """A core a frame, but the U-Net for some at a time, so that its weights are read once for them.

        Each frame is the same to the bit alone, in any batch, and baked in parts.
        """
        frames = range(len(inputs[0]))
        apart = [[x[f : f + 1] for x in inputs] for f in frames]

        def pose(f: int) -> tuple[Posed, Tensor]:
            posed = self._pose(*apart[f])
            return posed, positional_map(self, posed)

        def finish(f: int) -> tuple[Tensor, Tensor]:
            return self._finish(prepared, push, posed[f], pixels[f : f + 1], *apart[f])

        posed, maps = zip(*self.cores.map(pose, frames), strict=True)
        maps = torch.cat(maps)
        pixels = torch.cat(
            self.cores.map(lambda some: self.pixel_features(maps[some]), self.cores.tiles(len(frames), UNET_FRAMES))
        )
        points, normals = zip(*self.cores.map(finish, frames), strict=True)
        return torch.cat(points), torch.cat(normals)

    def _decode_world(
        self,
        prepared: Prepared,
        push: bool,
        rotations: Tensor,  # [F, J, 3, 3]
        translation: Tensor,  # [F, 3]
        shape: Tensor | None = None,  # [F, S]
    ) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3] on the device
        posed = self._pose(rotations, translation, shape)
        return self._finish(prepared, push, posed, None, rotations, translation, shape)

    def _pose(self, rotations: Tensor, _translation: Tensor, shape: Tensor | None = None) -> Posed:
        """Without the root's turn and place."""
        local = rotations.clone()
        local[:, 0] = torch.eye(3, device=self.device)
        return pose_frames(self, local, -self._pelvis(shape).expand(len(local), 3), shape)

    def _pelvis(self, shape: Tensor | None) -> Tensor:  # [F or 1, 3] at rest
        return self.body.rest_joints(shape)[:, 0] if self.fit is None else self.fit.joints[:1]

    def _finish(
        self,
        prepared: Prepared,
        push: bool,
        posed: Posed,
        pixels: Tensor | None,  # [F, H W, C] features, where they are known already
        rotations: Tensor,
        translation: Tensor,
        shape: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # points, normals [F, M, 3] on the device
        """With the root's turn and place."""
        points, normals = decode_frames(self, prepared, posed, push, pixels)
        root = rotations[:, 0]
        return points @ root.mT + (self._pelvis(shape) + translation)[:, None], normals @ root.mT

    def _shape(self, shape: Tensor | None, frames: int) -> Tensor | None:  # -> [F, S] or None for the mean shape
        if shape is None or self.fit is not None or not bool(shape.any()):
            return None
        shape = shape.to(self.device, torch.float32)
        shape = shape.expand(frames, -1) if shape.dim() == 2 else shape[None].expand(frames, -1)
        count = self.body.shape_components.shape[-1]
        return torch.nn.functional.pad(shape[:, :count], (0, max(0, count - shape.shape[1])))

    def _decode_normalised(
        self, rotations: Tensor, translation: Tensor, shape: Tensor | None, prepared: Prepared, push: bool
    ) -> tuple[Tensor, Tensor]:
        """Decoding in the space of the training data: no root orientation, pelvis at the origin."""
        return decode_frames(self, prepared, pose_frames(self, rotations, translation, shape), push)

    def pixel_features(self, places: Tensor) -> Tensor:  # [F, H W, 3] the positional map -> [F, H W, C]
        """The U-Net, a row a pixel."""
        size = (self.layout.size, self.layout.size)
        if self.unet is not None:
            return self.unet(places.unflatten(1, size)).flatten(1, 2)
        return self.network.pose_features(places.mT.unflatten(2, size)).flatten(2).mT.contiguous()


def query_frames(posed: Tensor, queries: Queries, model) -> tuple[Tensor, Tensor]:  # [F, M, 3], [F, M, 3, 3]
    """Base points and local frames of the queries; `model` offers mode, rest, carrier and layout."""
    base = surface_points(posed, queries.corners, queries.weights)
    if model.mode == "patch":
        return base, patch_frames(posed, model.carrier.triangles, model.layout)[:, queries.patch]
    frames = vertex_frames(posed, model.rest).flatten(2)
    return base, surface_points(frames, queries.corners, queries.weights).unflatten(-1, (3, 3))
