#!/usr/bin/env bash
# The add-on in a real Blender window on a virtual screen, as a new user meets it: run.sh ZIP [PICTURES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
zip=$(realpath "$1")
pictures=$(realpath -m "${2:-out/window}")
blender=../shared/tools/real-blender
[ -x "$blender" ] || { echo "The window test needs $blender, which installs a real Blender; it is not here."; exit 1; }

BLENDER_USER_RESOURCES=$(mktemp -d /tmp/scale-window-XXXXXX)
export BLENDER_USER_RESOURCES
trap 'rm -rf "$BLENDER_USER_RESOURCES"' EXIT
export SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python
mkdir -p "$pictures"

"$blender" setup
"$blender" run blender --command extension install-file -r user_default --enable "$zip"
"$blender" run blender --background --python-exit-code 1 --python-expr \
    'import bpy; bpy.context.preferences.view.show_splash = False; bpy.ops.wm.save_userpref()'
timeout 500 "$blender" gui --python-exit-code 1 --python tests/addon/window/walk.py -- "$pictures"
echo "Pictures: $pictures"
