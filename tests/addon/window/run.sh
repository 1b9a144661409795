#!/usr/bin/env bash
# The add-on in a real Blender window on a virtual screen, as a new user meets it: run.sh ZIP [walk|set-up|wearer|mistakes|two|moving|times] [PICTURES]
#   walk      clicks through everything but the set-up, checks each step, and leaves pictures
#   set-up    the same from nothing: the backend's environment is made by click, and pip fetches torch
#   wearer    somebody else's character: appended, moved by a dance, dressed, baked, rendered
#   mistakes  does what users do wrong, and breaks things: each is told, and Blender goes on
#   two       two Blenders with one user folder at once
#   moving    plays, jumps, poses and renders in clothes that feel motion
#   times     measures how long frames take while the animation plays
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
zip=$(realpath "$1")
what=${2:-walk}
pictures=$(realpath -m "${3:-out/window}")
blender=../shared/tools/real-blender
[ -x "$blender" ] || { echo "The window test needs $blender, which installs a real Blender; it is not here."; exit 1; }

user=$(mktemp -d /tmp/scale-window-XXXXXX)
trap 'rm -rf "$user"' EXIT
export BLENDER_USER_RESOURCES=$user/blender SCALE_BACKEND_FOLDER=$user/environment
mkdir -p "$pictures" "$BLENDER_USER_RESOURCES"
rm -rf "$pictures"/*.png "$pictures"/walk.blend* "$pictures"/clothes "$pictures"/{first,second}.*
"$blender" setup
"$blender" run blender --background --python-exit-code 1 --python-expr \
    'import bpy; bpy.context.preferences.view.show_splash = False; bpy.ops.wm.save_userpref()'
gui() { timeout 1200 "$blender" gui --python-exit-code 1 --python "$@"; }
install() { "$blender" run blender --command extension install-file -r user_default --enable "$zip"; }
export SCALE_DROPPING_PYTHON=$PWD/.venv/bin/python  # has python-xlib
case $what in
    walk)   SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python gui tests/addon/window/walk.py -- "$zip" "$pictures" ;;
    set-up) # Debian's Python has no venv of its own, and the virtual root no network, where blender.org's builds have both
            "$blender" run apt-get install -y -qq --no-install-recommends python3-venv ca-certificates >/dev/null
            root=${REAL_BLENDER_DIR:-/var/tmp/real-blender}
            cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
            cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
            gui tests/addon/window/walk.py -- "$zip" "$pictures" set-up ;;
    wearer) "$PWD/.venv/bin/python" -m tests.addon.window.stranger "$pictures/stranger.blend"
            SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python gui tests/addon/window/wearer.py -- "$zip" "$pictures" ;;
    mistakes) SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python gui tests/addon/window/mistakes.py -- "$zip" "$pictures" ;;
    two)    install
            export SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python
            gui tests/addon/window/two.py -- "$zip" "$pictures" first & first=$!
            sleep 3  # each xvfb-run looks for a free screen
            gui tests/addon/window/two.py -- "$zip" "$pictures" second
            wait $first ;;
    moving) install
            .venv/bin/python -c "import sys; from pathlib import Path; from scale_backend.formats.window import Window
from scale_backend.model.garment import save_garment; from tests.making import make_moving_garment
save_garment(Path(sys.argv[1]), make_moving_garment(Window((1 / 24, 0.1, 0.35), gravity=True)))" "$user/moving.safetensors"
            SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python gui tests/addon/window/moving.py -- "$user/moving.safetensors" "$pictures" ;;
    times)  install
            SCALE_BACKEND_PYTHON=$PWD/.venv/bin/python gui tests/addon/window/frame_times.py ;;
    *)      sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
echo "Pictures: $pictures"
