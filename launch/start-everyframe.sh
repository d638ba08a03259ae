#!/bin/sh
# Starts EveryFrame without any knowledge of a terminal: finds or fetches uv, sets up, opens the dashboard.
# What it installs lies in launch/.uv and launch/.venv beside it, and in uv's own folders; no profile is changed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

uv_version=0.13.9 # fetched only where there is no uv
pythons='>=3.11,<3.14' # for these, `make wheels` checks that nothing has to be compiled
environment=$PWD/launch/.venv
python=$environment/bin/python
everyframe=$environment/bin/everyframe
is_this_folder='import enrich, pathlib, sys; sys.exit(pathlib.Path(enrich.__file__).resolve().parents[1] != pathlib.Path.cwd().resolve())'
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

give_up() {
    printf '\n%s\n' "$1" >&2
    exit 1
}

# Sets `uv` to one that runs; fails if there is none.
find_uv() {
    for uv in "$(command -v uv)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" /opt/homebrew/bin/uv /usr/local/bin/uv \
        "$PWD/launch/.uv/uv" "$PWD/launch/.uv/pip/bin/uv"; do
        if [ -n "$uv" ] && "$uv" --version >/dev/null 2>&1; then return; fi
    done
    return 1
}

# Puts uv into launch/.uv with its makers' own installer; where that cannot be reached, with the pip of a Python.
fetch_uv() {
    echo "Fetching uv, which sets EveryFrame up ..."
    mkdir -p launch/.uv
    installer=launch/.uv/install.sh
    address=https://astral.sh/uv/$uv_version/install.sh
    if {
        curl --proto '=https' --tlsv1.2 --connect-timeout 20 -fsSL -o "$installer" "$address" ||
            wget --timeout=20 -qO "$installer" "$address"
    } 2>/dev/null && UV_UNMANAGED_INSTALL="$PWD/launch/.uv" sh "$installer" >/dev/null 2>&1; then
        return
    fi
    # On a Mac without developer tools the mere name python3 opens a window, and curl is always there.
    if [ "$(uname)" != Darwin ]; then
        { python3 -m venv launch/.uv/pip && launch/.uv/pip/bin/python -m pip install --quiet "uv==$uv_version"; } \
            >/dev/null 2>&1 || true
    fi
}

# Whether the environment was set up to its end, for these very files, in this very place.
is_set_up() {
    cmp -s requirements.lock "$environment/requirements.lock" && cmp -s pyproject.toml "$environment/pyproject.toml" &&
        [ -x "$everyframe" ] && "$python" -P -c "$is_this_folder" 2>/dev/null
}

set_up() {
    echo "Setting EveryFrame up: once, some minutes, about 1 GB on the disk ..."
    find_uv || fetch_uv
    find_uv || give_up "uv, which sets EveryFrame up, could not be fetched: connect to the internet and try again, or get it from https://docs.astral.sh/uv/"
    rm -rf "$environment"
    "$uv" venv --quiet --python "$pythons" "$environment" ||
        give_up "Python 3.11, 3.12 or 3.13 could not be set up: connect to the internet and try again, or get it from https://www.python.org/downloads/"
    "$uv" pip sync --quiet --python "$python" --only-binary :all: --require-hashes requirements.lock ||
        give_up "EveryFrame's parts could not be fetched (the reason is above): connect to the internet and try again."
    # A Linux without a desktop lacks the window libraries that opencv-python links to: the same cv2 without windows.
    "$python" -c 'import cv2' 2>/dev/null ||
        "$uv" pip install --quiet --python "$python" --no-deps --reinstall --require-hashes --requirement requirements-headless.lock
    "$uv" pip install --quiet --python "$python" --no-deps --no-build-isolation --editable . ||
        give_up "EveryFrame could not be installed in $PWD: is the folder writable?"
    cp requirements.lock pyproject.toml "$environment"
}

is_set_up || set_up
if "$everyframe" doctor 2>/dev/null | grep -q 'ollama\.com/download'; then
    printf '\n%s\n\n' "Ollama is missing, which looks at the pictures: get it from https://ollama.com/download; the dashboard opens all the same."
fi
echo "EveryFrame opens in your browser. It is there for as long as this window is open; work that you have started goes on without it."
exec "$everyframe" dashboard
