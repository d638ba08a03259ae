#!/bin/sh
# Starts EveryFrame with a double click: finds or downloads uv, installs EveryFrame, opens the dashboard.
# It installs into launch/.uv and launch/.venv, and into uv's own folders. It does not change shell profiles.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

uv_version=0.13.9 # downloaded only if uv is missing
pythons='>=3.11,<3.14' # for these, `make wheels` checks that nothing needs compiling
environment=$PWD/launch/.venv
python=$environment/bin/python
everyframe=$environment/bin/everyframe
is_this_folder='import enrich, pathlib, sys; sys.exit(pathlib.Path(enrich.__file__).resolve().parents[1] != pathlib.Path.cwd().resolve())'
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

give_up() {
    printf '\n%s\n' "$1" >&2
    exit 1
}

# Sets `uv` to a uv that runs; fails if there is none.
find_uv() {
    for uv in "$(command -v uv)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" /opt/homebrew/bin/uv /usr/local/bin/uv \
        "$PWD/launch/.uv/uv" "$PWD/launch/.uv/pip/bin/uv"; do
        if [ -n "$uv" ] && "$uv" --version >/dev/null 2>&1; then return; fi
    done
    return 1
}

# Installs uv into launch/.uv with its official installer; if that cannot be downloaded, with pip.
fetch_uv() {
    echo "Downloading the installer (uv) ..."
    mkdir -p launch/.uv
    installer=launch/.uv/install.sh
    address=https://astral.sh/uv/$uv_version/install.sh
    if {
        curl --proto '=https' --tlsv1.2 --connect-timeout 20 -fsSL -o "$installer" "$address" ||
            wget --timeout=20 -qO "$installer" "$address"
    } 2>/dev/null && UV_UNMANAGED_INSTALL="$PWD/launch/.uv" sh "$installer" >/dev/null 2>&1; then
        return
    fi
    # Not on macOS: without developer tools, running python3 opens a dialog there, and curl is always available.
    if [ "$(uname)" != Darwin ]; then
        { python3 -m venv launch/.uv/pip && launch/.uv/pip/bin/python -m pip install --quiet "uv==$uv_version"; } \
            >/dev/null 2>&1 || true
    fi
}

# Succeeds if the environment is complete and was made for these files in this folder.
is_set_up() {
    cmp -s requirements.lock "$environment/requirements.lock" && cmp -s pyproject.toml "$environment/pyproject.toml" &&
        [ -x "$everyframe" ] && "$python" -P -c "$is_this_folder" 2>/dev/null
}

set_up() {
    echo "Installing EveryFrame. This happens once, takes a few minutes and about 1 GB of disk space ..."
    find_uv || fetch_uv
    find_uv || give_up "The installer (uv) could not be downloaded. Connect to the internet and try again, or install it from https://docs.astral.sh/uv/"
    rm -rf "$environment"
    "$uv" venv --quiet --python "$pythons" "$environment" ||
        give_up "Python 3.11, 3.12 or 3.13 could not be installed. Connect to the internet and try again, or install it from https://www.python.org/downloads/"
    "$uv" pip sync --quiet --python "$python" --only-binary :all: --require-hashes requirements.lock ||
        give_up "The required packages could not be downloaded (see the error above). Connect to the internet and try again."
    "$uv" pip install --quiet --python "$python" --no-deps --no-build-isolation --editable . ||
        give_up "EveryFrame could not be installed in $PWD. Make sure that the folder is writable and try again."
    cp requirements.lock pyproject.toml "$environment"
}

is_set_up || set_up
if "$everyframe" doctor 2>/dev/null | grep -q 'ollama\.com/download'; then
    printf '\n%s\n\n' "Ollama is not installed, so frames cannot be described yet. Install it from https://ollama.com/download. The dashboard opens anyway."
fi
echo "EveryFrame opens in your browser. Closing this window closes the dashboard; processing that you have started continues."
exec "$everyframe" dashboard
