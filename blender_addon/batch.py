"""`python -m blender_addon.batch`: the commands of `blender --command scale_clothing`, on the bpy module."""

from __future__ import annotations

import sys

from . import register, unregister
from .headless import command_line


def main() -> int:
    register()
    try:
        return command_line.main(sys.argv[1:])
    finally:
        unregister()


if __name__ == "__main__":
    sys.exit(main())
