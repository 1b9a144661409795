"""What Blender is in the middle of."""

from __future__ import annotations

from typing import Literal

import bpy


def is_job_running(kind: Literal["RENDER", "OBJECT_BAKE"]) -> bool:
    """Whether a job of that kind goes on. Blender's types have the question without its answer."""
    return bool(bpy.app.is_job_running(kind))  # type: ignore[func-returns-value]
