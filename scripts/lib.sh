# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Shared by the scripts in this folder; sourced, never run.
#
# Everything expensive lives in a cache outside the tree.  The cache may vanish
# at any moment and several trees may use it at once, so each entry is built in
# a temporary directory beside its place and renamed into it when complete: a
# directory that exists is finished.  What must be built in place (a QEMU build
# tree remembers its own path) is guarded by lock_entry and a stamp file.
#
# Scripts print progress on stderr, and on stdout only what they promise.

# shellcheck disable=SC2034 # for the scripts that source this
VGPU_TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck disable=SC2034
VGPU_CACHE=${XDG_CACHE_HOME:-${HOME:?}/.cache}/vgpu
VGPU_SELF=${0##*/}

# A Python in front of the system's, or a locale, must not change a build.
PATH=/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL

say()
{
    printf '%s: %s\n' "$VGPU_SELF" "$*" >&2
}

die()
{
    printf '%s: error: %s\n' "$VGPU_SELF" "$*" >&2
    exit 1
}

# need PROGRAM GROUP: the program exists, or say which packages bring it
need()
{
    command -v "$1" >/dev/null 2>&1 ||
        die "'$1' is not installed: run scripts/setup.sh $2"
}

# What this process made and must not leave behind: directories, and a child
# that runs in the background.
VGPU_TRASH=
VGPU_CHILD=
cleanup()
{
    [ -z "$VGPU_CHILD" ] || kill "$VGPU_CHILD" 2>/dev/null || true
    # shellcheck disable=SC2086 # a list of our own mktemp names, no blanks
    [ -z "$VGPU_TRASH" ] || rm -rf -- $VGPU_TRASH
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# temp_beside DIR: a temporary directory on DIR's file system, in $TEMP
temp_beside()
{
    mkdir -p "$(dirname "$1")"
    TEMP=$(mktemp -d "$1.tmp.XXXXXX")
    chmod 755 "$TEMP"
    VGPU_TRASH="$VGPU_TRASH $TEMP"
}

# publish TEMP DIR: rename into place; losing a race to an equal entry is fine
publish()
{
    if ! mv -T -- "$1" "$2" 2>/dev/null; then
        [ -d "$2" ] || die "cannot move $1 to $2"
        rm -rf -- "$1"
    fi
}

# lock_entry DIR: exclusive, until this process ends
lock_entry()
{
    need flock build
    mkdir -p "$(dirname "$1")"
    exec 9>"$1.lock"
    if ! flock -n 9; then
        say "waiting for another build of $(basename "$1")"
        flock 9
    fi
}

# hash_of FILE...: one short digest over names (relative to here) and contents
hash_of()
{
    for _file in "$@"; do
        printf '%s\n' "$_file"
        cat -- "$_file"
    done | sha256sum | cut -c1-16
}

# hash_text: digest of standard input
hash_text()
{
    sha256sum | cut -c1-16
}

# copy_if_changed FROM TO: keeps TO's time stamp when the contents are equal
copy_if_changed()
{
    cmp -s -- "$1" "$2" || cp -- "$1" "$2"
}

# logged LOG COMMAND...: run quietly; on failure show the end of the log
logged()
{
    _log=$1
    shift
    "$@" >"$_log" 2>&1 && return 0
    _status=$?
    show_failure "$_status" "$_log" "$*"
    return "$_status"
}

# show_failure STATUS LOG COMMAND
show_failure()
{
    printf '%s: error: exit status %d from: %s\n' "$VGPU_SELF" "$1" "$3" >&2
    printf '%s: the last lines of its output:\n' "$VGPU_SELF" >&2
    tail -n 40 "$2" >&2
}

# package_candidate NAME: the version that apt would fetch
package_candidate()
{
    _version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p')
    case $_version in
    '' | '(none)') die "package $1 is unknown to apt: run 'apt-get update' (or scripts/setup.sh)" ;;
    esac
    printf '%s\n' "$_version"
}

# package_version NAME: installed version, else the candidate's
package_version()
{
    _version=$(dpkg-query -W -f='${db:Status-Abbrev} ${Version}' "$1" 2>/dev/null |
        sed -n 's/^ii  *//p')
    [ -n "$_version" ] || _version=$(package_candidate "$1")
    printf '%s\n' "$_version"
}

jobs_default()
{
    _cores=$(nproc 2>/dev/null || echo 1)
    printf '%s\n' "${VGPU_JOBS:-$_cores}"
}
