# Sourced by scripts/test: finds PostgreSQL's programs, or installs them where apt can.
#
# The tests start servers of their own, as a user without privileges; one that runs is left alone.

_has_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null 2>&1
}

prepare_postgresql() {
    _has_postgresql && return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        _fail "the tests need PostgreSQL: install its server (Fedora: dnf install postgresql-server)"
    fi
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    _say "installing PostgreSQL, which the tests start as an unprivileged user (apt-get install postgresql)"
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -qq -y postgresql >/dev/null ||
        _fail "PostgreSQL could not be installed: apt-get install postgresql"
}
