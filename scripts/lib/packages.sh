# Sourced by scripts/test: what the tests need of the system, installed where apt can.
#
# The tests start servers of their own, as users without privileges and on ports of their own; what
# runs on the host is left alone.

_has_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null 2>&1
}

_has_slapd() { PATH=$PATH:/usr/sbin command -v slapd >/dev/null 2>&1; }

# _install_package NAME PACKAGE FEDORA_PACKAGE: says what it does, since it changes the system.
_install_package() {
    local as_root=()
    if ! command -v apt-get >/dev/null 2>&1; then
        _fail "the tests need $1: install it (Fedora: dnf install $3)"
    fi
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    _say "installing $1 for the tests (apt-get install $2)"
    export DEBIAN_FRONTEND=noninteractive
    ${as_root[@]+"${as_root[@]}"} apt-get install -qq -y "$2" >/dev/null 2>&1 && return 0
    # A fresh machine has no lists of packages, an old one those of packages that are gone.
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq >/dev/null &&
        ${as_root[@]+"${as_root[@]}"} apt-get install -qq -y "$2" >/dev/null ||
        _fail "$1 could not be installed: apt-get install $2"
}

prepare_packages() {
    _has_postgresql || _install_package PostgreSQL postgresql postgresql-server
    _has_slapd || _install_package "OpenLDAP's slapd" slapd openldap-servers
}

# What makes faults at night: those that are missing would be skipped, or done by milder means.
prepare_nightly_packages() {
    local program
    for program in strace stress-ng; do
        command -v $program >/dev/null 2>&1 || _install_package $program $program $program
    done
    PATH=$PATH:/usr/sbin command -v nft >/dev/null 2>&1 || _install_package nft nftables nftables
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null ||
        _install_package libfaketime faketime libfaketime
}
