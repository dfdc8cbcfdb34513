# Sourced by scripts/test: finds OpenLDAP's server, or installs it where apt can.
#
# The tests start servers of their own, on ports of their own; one that runs is left alone.

prepare_slapd() {
    PATH=$PATH:/usr/sbin command -v slapd >/dev/null 2>&1 && return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        _fail "the tests need OpenLDAP's slapd: install it (Fedora: dnf install openldap-servers)"
    fi
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    _say "installing slapd, which the tests start on ports of their own (apt-get install slapd)"
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -qq -y slapd >/dev/null ||
        _fail "slapd could not be installed: apt-get install slapd"
}
