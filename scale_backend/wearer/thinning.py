"""A mesh with fewer vertices, all of them its own: cells of nearest vertices, and a triangle where three cells meet."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from scale_backend.wearer.mesh import Array, Index, edges_of, triangle_normals, vertex_normals

FACING = 0.5  # of the spacing: what a unit of difference between normals counts when vertices are spread


def thinned(vertices: Array, triangles: Index, spacing: float) -> tuple[Index, Index]:
    """Vertices [C] of the mesh that are about `spacing` metres apart or more, and triangles [K, 3] between these.

    Where the mesh is coarser than that it stays as it is.
    """
    chosen = _spread_out(vertices, triangles, spacing)
    edges, _ = edges_of(triangles)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    graph = sparse.coo_matrix((np.maximum(length, 1e-9), edges.T), (len(vertices),) * 2).tocsr()
    _, _, source = dijkstra(graph, directed=False, indices=chosen, min_only=True, return_predecessors=True)
    number = np.full(len(vertices), -1)
    number[chosen] = np.arange(len(chosen))
    cell = np.where(source >= 0, number[np.maximum(source, 0)], -1)
    corners = cell[triangles]
    apart = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    corners = corners[apart & (corners >= 0).all(1)]
    _, first = np.unique(np.sort(corners, 1), axis=0, return_index=True)
    corners = corners[np.sort(first)]
    # where cells are slim, three may meet the wrong way round
    facing = vertex_normals(vertices, triangles)[chosen]
    wrong = (triangle_normals(vertices[chosen], corners) * facing[corners].sum(1)).sum(1) < 0
    return chosen, np.where(wrong[:, None], corners[:, ::-1], corners)


def _spread_out(vertices: Array, triangles: Index, spacing: float) -> Index:
    """Vertices none of which is nearer to another one than the spacing, unless it faces elsewhere."""
    features = np.concatenate([vertices, FACING * spacing * vertex_normals(vertices, triangles)], 1)
    near = cKDTree(features).query_pairs(spacing, output_type="ndarray")
    neighbours = sparse.coo_matrix((np.ones(len(near), bool), near.T), (len(vertices),) * 2).tocsr()
    neighbours = (neighbours + neighbours.T).tocsr()
    free = np.zeros(len(vertices), bool)
    free[triangles] = True
    starts, others = neighbours.indptr.tolist(), neighbours.indices
    chosen = []
    for vertex in range(len(vertices)):
        if free[vertex]:
            chosen.append(vertex)
            free[others[starts[vertex] : starts[vertex + 1]]] = False
    return np.array(chosen)
