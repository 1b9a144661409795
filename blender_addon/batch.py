"""`python -m blender_addon.batch`: the commands of `blender --command scale_clothing`, on the bpy module."""

from __future__ import annotations

import sys

import blender_addon
from blender_addon import command_line


def main() -> int:
    blender_addon.register()
    try:
        return command_line.main(sys.argv[1:])
    finally:
        blender_addon.unregister()


if __name__ == "__main__":
    sys.exit(main())
