# Sourced by scripts/*: makes the project's environment .venv and keeps it current.
#
#   prepare_environment services,shell      the extras of setup.cfg that the caller needs
#
# Quiet when there is nothing to do; otherwise one line on stderr says what is being done.
# PYTHON names the interpreter to build with where the one found is not the one wanted.

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
venv=$project_root/.venv
unset VIRTUAL_ENV # of another environment that is active, which IPython would take for ours
# Written last, so an interrupted installation is repeated: root, checksum, extras installed.
stamp=$venv/pykarabo-environment

_say() { printf 'pykarabo: %s\n' "$*" >&2; }

_fail() {
    _say "$*"
    exit 1
}

# Prints the first interpreter that is new enough and can make environments.
_find_python() {
    local candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    [ -z "${PYTHON:-}" ] || _fail "PYTHON=$PYTHON is no Python 3.11 or newer with venv; unset it, or name one"
    _fail "no Python 3.11 or newer with venv was found;" \
        "install one (Debian, Ubuntu: apt install python3 python3-venv; Fedora: dnf install python3)" \
        "or name it: PYTHON=/path/to/python3"
}

_checksum() { cat "$project_root/setup.cfg" "$project_root/pyproject.toml" | cksum; }

# A line of the stamp: root, checksum or extras. Empty where there is no stamp.
_stamped() { [ -f "$stamp" ] && sed -n "s/^$1=//p" "$stamp"; return 0; }

_environment_works() {
    "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

_holds_extras() {
    local installed extra
    installed=,$(_stamped extras),
    for extra in ${1//,/ }; do
        [[ $installed == *,"$extra",* ]] || return 1
    done
}

_make_environment() {
    local python
    python=$(_find_python) || exit 1
    _say "making .venv with $("$python" --version 2>&1)"
    [ -d "$venv" ] || rm -f "$venv"
    "$python" -m venv --clear "$venv" || _fail ".venv could not be made with $python"
}

_install() {
    local log=$venv/pykarabo-install.log
    _say "installing pykarabo[$1] into .venv (minutes the first time)"
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --editable "$project_root[$1]" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        _fail "the installation failed; the whole output is in $log"
    fi
    printf 'root=%s\nchecksum=%s\nextras=%s\n' "$project_root" "$(_checksum)" "$1" >"$stamp"
}

_is_current() {
    [ "$(_stamped root)" = "$project_root" ] && [ "$(_stamped checksum)" = "$(_checksum)" ] &&
        _holds_extras "$1" && _environment_works
}

_refresh() {
    local extras=$1 earlier
    _is_current "$extras" && return 0
    # An environment that does not run, or was made for another place, is made anew.
    if ! _environment_works || { [ -f "$stamp" ] && [ "$(_stamped root)" != "$project_root" ]; }; then
        _make_environment
    fi
    earlier=$(_stamped extras)
    extras=$(printf '%s,%s' "$earlier" "$extras" | tr , '\n' | sed '/^$/d' | sort -u | paste -sd, -)
    rm -f "$stamp"
    _install "$extras"
}

# Two terminals may start at once: the second waits for the first.
prepare_environment() {
    (
        if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
            _say "waiting for the installation in another terminal"
            flock 9
        fi
        _refresh "$1" 9<&-
    ) 9<"$project_root/setup.cfg" || exit 1
}

# Installs what benchmarks compare with, as far as there are wheels for this Python.
prepare_references() {
    local name
    "$venv/bin/python" -c '
from importlib.metadata import PackageNotFoundError, requires, version
for line in requires("pykarabo") or ():
    name, _, marker = line.partition(";")
    if "bench" in marker:
        try:
            version(name.strip())
        except PackageNotFoundError:
            print(name.strip())
' | while read -r name; do
        _say "installing $name to compare with"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --only-binary :all: "$name" >/dev/null 2>&1 ||
            _say "$name cannot be installed for this Python: its rows have no reference"
    done
}
