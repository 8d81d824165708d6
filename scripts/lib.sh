# Shared by the scripts in this folder: finds a Python, installs Debian packages, makes virtual environments.
# Source it; it changes to the top of the checkout.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# apt_install PACKAGE...: installs Debian packages; fails quietly where nobody may.
apt_install() {
    local sudo=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        sudo=(sudo -n)
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null 2>&1 && return 0
    "${sudo[@]}" apt-get update -q >/dev/null 2>&1
    # --no-install-recommends and a masked start: a broker that starts itself would take the standard port.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1
}

# supported PYTHON: whether this interpreter runs and is 3.8 to 3.13.
supported() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# find_python [VERSION]: prints an interpreter; any supported one without VERSION.
find_python() {
    local candidate
    if [ -n "${1:-}" ]; then
        for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
            supported "$candidate" && "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" \
                && { command -v "$candidate"; return 0; }
        done
        return 1
    fi
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
        supported "$candidate" && { command -v "$candidate"; return 0; }
    done
    apt_install python3 python3-venv && supported python3 && { command -v python3; return 0; }
    die "no Python 3.8 to 3.13 found. Install one: apt-get install python3 python3-venv"
}

# pip_install DIRECTORY ARGUMENT...: into that environment; what pip says is shown when it fails.
pip_install() {
    local directory=$1 log
    shift
    log=$(mktemp)
    if ! "$directory/bin/python" -m pip install -q --disable-pip-version-check "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "pip could not install: $*"
    fi
    rm -f "$log"
}

# make_venv DIRECTORY PYTHON REQUIREMENT...: a virtual environment with these requirements; nothing when it has them.
make_venv() {
    local directory=$1 python=$2 stamp
    shift 2
    stamp=$({ printf '%s\n' "$PWD" "$python" "$@"; cat pyproject.toml tests/constraints/*.txt; } | sha256sum | cut -d' ' -f1)
    [ "$(cat "$directory/.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    say "setting up $directory (once; later runs reuse it)"
    rm -rf "$directory"
    if ! "$python" -m venv "$directory" >/dev/null 2>&1; then
        rm -rf "$directory"
        apt_install "$(basename "$(readlink -f "$python")")-venv" || apt_install python3-venv \
            || die "$python cannot make virtual environments. Install its venv module: apt-get install python3-venv"
        "$python" -m venv "$directory" || die "$python cannot make a virtual environment in $directory"
    fi
    # The pip of old distributions does not see the wheels that newer ones are published as.
    pip_install "$directory" --upgrade pip
    pip_install "$directory" "$@"
    printf '%s' "$stamp" >"$directory/.stamp"
}
