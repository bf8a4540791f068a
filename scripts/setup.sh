#!/bin/sh
# SPDX-License-Identifier: MIT
#
# setup.sh GROUP...: install the Debian packages of those groups (see
# packages.list), only the missing ones, without questions.  Needs root or
# sudo only if something is missing.  Never removes or replaces a package: apt
# is told to refuse where that would be needed.
#
#   --list    print the packages of the groups, one per line, and stop
#   --check   print the missing ones; exit status 1 if there are any
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

LIST=$VGPU_TOP/scripts/packages.list
TRIES=5

# expand GROUP...: packages of the groups, includes resolved
expand()
{
    for _group in "$@"; do
        grep -q "^$_group:" "$LIST" || die "no package group '$_group' (known: $(known_groups))"
        # shellcheck disable=SC2013 # words are meant
        for _word in $(sed -n "s/^$_group: *//p" "$LIST"); do
            case $_word in
            @*) ( expand "${_word#@}" ) ;;
            *) printf '%s\n' "$_word" ;;
            esac
        done
    done
}

known_groups()
{
    sed -n 's/^\([a-z-]*\):.*/\1/p' "$LIST" | sort -u | tr '\n' ' '
}

missing_of()
{
    for _package in "$@"; do
        case $(dpkg-query -W -f='${db:Status-Abbrev}' "$_package" 2>/dev/null) in
        ii*) ;;
        *) printf '%s\n' "$_package" ;;
        esac
    done
}

as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n true 2>/dev/null || say "sudo may ask for your password"
        sudo "$@"
    fi
}

apt_get()
{
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

# retried WHAT COMMAND...: apt's list lock has no waiting of its own, and
# mirrors fail for moments
retried()
{
    _what=$1
    shift
    _try=1
    while ! logged "$TEMP/log" "$@"; do
        [ "$_try" -lt "$TRIES" ] || die "$_what failed $TRIES times"
        say "$_what failed, try $_try of $TRIES; waiting $((_try * 5)) s"
        sleep $((_try * 5))
        _try=$((_try + 1))
    done
}

install_missing()
{
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
        die "these packages are missing, and this is neither root nor is there sudo: $*
Ask the administrator for: apt-get install --no-install-recommends $*"
    fi
    say "installing: $*"
    retried 'apt-get update' apt_get update
    retried 'apt-get install' apt_get install --no-install-recommends --no-remove "$@"
    # shellcheck disable=SC2046 # package names
    _left=$(missing_of "$@" | tr '\n' ' ')
    [ -z "$_left" ] || die "apt-get reported success, but these are still missing: $_left"
}

mode=install
case ${1-} in
--list) mode=list; shift ;;
--check) mode=check; shift ;;
esac
[ $# -gt 0 ] || die "usage: scripts/setup.sh [--list|--check] GROUP...  (groups: $(known_groups))"
command -v dpkg-query >/dev/null 2>&1 ||
    die "this is not Debian: install the equivalents of the packages in scripts/packages.list by hand"

packages=$(expand "$@")
packages=$(printf '%s\n' "$packages" | sort -u)
[ -n "$packages" ] || die "group without packages: $*"
if [ "$mode" = list ]; then
    printf '%s\n' "$packages"
    exit 0
fi
# shellcheck disable=SC2086 # package names
missing=$(missing_of $packages)
if [ "$mode" = check ]; then
    [ -z "$missing" ] || { printf '%s\n' "$missing"; exit 1; }
    exit 0
fi
[ -n "$missing" ] || exit 0
temp_beside "${TMPDIR:-/tmp}/vgpu-setup"
# shellcheck disable=SC2086 # package names
install_missing $missing
say "done"
