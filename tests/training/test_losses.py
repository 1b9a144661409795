"""Losses against a plain reference written in loops from the paper's formulas."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from training.config import LossWeights
from training.learning.losses import chamfer_terms, correspondence_terms, weighted_sum


def clouds(frames: int = 2, m: int = 30, n: int = 50):
    random = torch.Generator().manual_seed(1)

    def cloud(count: int) -> torch.Tensor:
        return torch.randn(frames, count, 3, generator=random, dtype=torch.float64)

    return cloud(m), normalize(cloud(m), dim=-1), cloud(n), normalize(cloud(n), dim=-1)


def test_chamfer_terms_are_the_papers():
    x, n, y, m = clouds()
    terms = chamfer_terms(x, n, y, m)
    m2s, s2m, normal = [], [], []
    for f in range(len(x)):
        for i in range(x.shape[1]):
            k = int((y[f] - x[f, i]).square().sum(1).argmin())
            m2s.append(float((y[f, k] - x[f, i]) @ m[f, k]) ** 2)
            normal.extend(abs(float(n[f, i, c] - m[f, k, c])) for c in range(3))
        s2m.extend(float((x[f] - y[f, i]).square().sum(1).min()) for i in range(y.shape[1]))
    expected = {"model_to_scan": np.mean(m2s), "scan_to_model": np.mean(s2m), "normal": np.mean(normal)}
    for name, value in expected.items():
        assert abs(float(terms[name]) - value) < 1e-9, name


def test_correspondence_terms():
    x, n, y, m = clouds(n=30)
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5]])
    terms = correspondence_terms(x, n, y, m, triangles)
    distance = np.linalg.norm((x - y).numpy(), axis=-1)
    assert abs(float(terms["distance"]) - distance.mean()) < 1e-6
    assert abs(float(terms["squared"]) - (distance**2).mean()) < 1e-9
    faces = []
    for cloud in (x.numpy(), y.numpy()):
        normal = np.cross(cloud[:, [1, 4]] - cloud[:, [0, 3]], cloud[:, [2, 5]] - cloud[:, [0, 3]])
        faces.append(normal / np.linalg.norm(normal, axis=-1, keepdims=True))
    assert abs(float(terms["face_normal"]) - np.abs(faces[0] - faces[1]).mean()) < 1e-9
    assert abs(float(terms["normal"]) - (n - m).abs().mean()) < 1e-9


def test_perfect_answers_cost_nothing_and_have_finite_gradients():
    _, _, y, m = clouds()
    x = y.clone().requires_grad_()
    terms = correspondence_terms(x, m, y, m, torch.tensor([[0, 1, 2]])) | {
        f"scan {k}": v for k, v in chamfer_terms(x, m, y, m).items()
    }
    assert all(float(value.detach()) < 1e-5 for value in terms.values())
    sum(terms.values()).backward()
    assert x.grad.isfinite().all()


def test_gradients():
    x, n, y, m = clouds(1, 6, 8)
    x.requires_grad_(), n.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: sum(chamfer_terms(a, b, y, m).values()), (x, n))
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert torch.autograd.gradcheck(
        lambda a, b: sum(correspondence_terms(a, b, y[:, :6], m[:, :6], triangles).values()), (x, n)
    )


def test_weighted_sum():
    weights = LossWeights(distance=2.0, normal=3.0)
    total = weighted_sum({"distance": torch.tensor(1.0), "normal": torch.tensor(10.0)}, weights)
    assert float(total) == 32.0
