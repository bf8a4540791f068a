#!/bin/sh
# SPDX-License-Identifier: MIT
#
# get-source.sh BINARY-PACKAGE: fetch and unpack the Debian source package from
# which BINARY-PACKAGE (its installed version, else apt's candidate) was built,
# and print the unpacked folder, which is in the cache and not to be modified.
#
# The system's apt configuration is left alone: a private one is derived from
# the machine's own sources, with "deb" turned into "deb-src", and used with
# private lists and a private cache.  Only the archives that offer
# BINARY-PACKAGE are taken over, so that an unreachable third-party archive
# does not matter.  Both formats of sources (one-line, deb822) are understood.
#
#   --version BINARY-PACKAGE   print NAME-VERSION (epoch dropped) and stop
#   --derive URI...            print the entries derived for those archives
#   --newer SOURCE MINIMUM SUITE...
#                              the newest source package SOURCE, of version MINIMUM at
#                              least, whose files those suites of the machine's main
#                              archive hold; one in the cache is taken without asking
#   --newer-deb PACKAGE MINIMUM SUITE...
#                              the same for a binary package, unpacked, never installed
#
# VGPU_APT_ETC names another folder than /etc/apt to derive from.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

APT_ETC=${VGPU_APT_ETC:-/etc/apt}

# source_of PACKAGE VERSION: "NAME VERSION" of the source package
source_of()
{
    _record=$(dpkg-query -W -f='${source:Package} ${source:Version}\n' "$1" 2>/dev/null |
        grep -v '^ ' || true)
    if [ -z "$_record" ] || [ -z "$(dpkg-query -W -f='${Version}' "$1" 2>/dev/null)" ]; then
        _record=$(apt-cache show "$1=$2" 2>/dev/null | awk '
            /^Package:/ { name = $2; version = "" }
            /^Version:/ { version = $2 }
            /^Source:/  { source = $2; if ($3) { gsub(/[()]/, "", $3); built = $3 } }
            /^$/        { exit }
            END { print (source ? source : name), (built ? built : version) }')
    fi
    [ "${_record% *}" ] || die "cannot tell the source package of $1 $2"
    printf '%s\n' "$_record"
}

# archives_of PACKAGE: the URIs that offer it
archives_of()
{
    apt-cache madison "$1" | awk -F'|' '{ split($3, f, " "); print f[1] }' | sort -u
}

# A deb822 stanza is kept if one of its URIs is wanted; comments are dropped.
derive_deb822()
{
    awk -v wanted="$1" '
        function flush()
        {
            if (keep && stanza != "" && !off)
                printf "%s\n", stanza
            stanza = ""; keep = 0; off = 0; uris = 0
        }
        function consider(text,    n, f, i)
        {
            n = split(text, f, /[ \t]+/)
            for (i = 1; i <= n; i++)
                if (f[i] in want || (f[i] "/") in want || substr(f[i], 1, length(f[i]) - 1) in want)
                    keep = 1
        }
        BEGIN { n = split(wanted, w, "\n"); for (i = 1; i <= n; i++) want[w[i]] = 1 }
        /^#/ { next }
        /^[ \t]*$/ { flush(); next }
        {
            key = tolower($0); sub(/:.*/, "", key)
            if ($0 !~ /^[ \t]/) uris = (key == "uris")
            if (key == "types") { stanza = stanza "Types: deb-src\n"; next }
            if (key == "enabled" && tolower($0) ~ /no|false/) off = 1
            if (uris) { value = $0; sub(/^[^:]*: */, "", value); if ($0 ~ /^[ \t]/) value = $0; consider(value) }
            stanza = stanza $0 "\n"
        }
        END { flush() }'
}

derive_oneline()
{
    awk -v wanted="$1" '
        BEGIN { n = split(wanted, w, "\n"); for (i = 1; i <= n; i++) want[w[i]] = 1 }
        $1 == "deb" {
            at = 2
            if ($2 ~ /^\[/) while ($(at++) !~ /\]$/ && at <= NF) ;
            uri = $at; bare = uri; sub(/\/$/, "", bare)
            if (uri in want || bare in want || (uri "/") in want) {
                sub(/^deb/, "deb-src"); print
            }
        }'
}

# derived_sources DIR URIS: write DIR/derived.list and DIR/derived.sources
derived_sources()
{
    for _file in "$APT_ETC"/sources.list "$APT_ETC"/sources.list.d/*.list; do
        [ -f "$_file" ] || continue
        derive_oneline "$2" <"$_file" >>"$1/derived.list"
    done
    for _file in "$APT_ETC"/sources.list.d/*.sources; do
        [ -f "$_file" ] || continue
        derive_deb822 "$2" <"$_file" >>"$1/derived.sources"
    done
    [ -s "$1/derived.list" ] || [ -s "$1/derived.sources" ] ||
        die "no entry below $APT_ETC offers the archive of this package: $2"
}

# private_apt DIR URIS: write the derived configuration below DIR
private_apt()
{
    mkdir -p "$1/sources" "$1/lists/partial" "$1/cache/archives/partial"
    derived_sources "$1/sources" "$2"
    cat >"$1/apt.conf" <<CONF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$1/sources";
Dir::State::Lists "$1/lists";
Dir::Cache "$1/cache";
APT::Sandbox::User "";
Acquire::Retries "3";
Acquire::Languages "none";
CONF
}

# in_suites DIR SUITE...: of the derived entries keep the release's own (not its
# -security or -updates) and let them name SUITE... instead
in_suites()
{
    _dir=$1
    shift
    # shellcheck source=/dev/null
    _codename=$(. /etc/os-release && printf '%s\n' "$VERSION_CODENAME")
    if [ -f "$_dir/derived.sources" ]; then
        awk -v codename="$_codename" -v suites="$*" '
            BEGIN { RS = ""; FS = "\n" }
            $0 "\n" ~ "Suites:[^\n]*[ \t]" codename "[ \t\n]" {
                sub(/Suites:[^\n]*/, "Suites: " suites); print $0 "\n"
            }' "$_dir/derived.sources" >"$_dir/suites.sources"
    fi
    if [ -f "$_dir/derived.list" ]; then
        awk -v codename="$_codename" -v suites="$*" '
            $0 ~ "[ \t]" codename "[ \t]" {
                n = split(suites, suite, " ")
                for (i = 1; i <= n; i++) {
                    line = $0
                    sub("[ \t]" codename "[ \t]", " " suite[i] " ", line); print line
                }
            }' "$_dir/derived.list" >"$_dir/suites.list"
    fi
    rm -f "$_dir/derived.list" "$_dir/derived.sources"
    cat "$_dir"/suites.* 2>/dev/null | grep -q . ||
        die "no entry below $APT_ETC is for the release $_codename itself"
}

# cached_newer NAME MINIMUM: the newest unpacked one in the cache
cached_newer()
{
    _best=
    for _dir in "$VGPU_CACHE/src/$1"-*; do
        [ -d "$_dir" ] || continue
        case $_dir in *.tmp.*) continue ;; esac
        dpkg --compare-versions "${_dir##*/"$1"-}" ge "$2" || continue
        if [ -z "$_best" ] || dpkg --compare-versions "${_dir##*/"$1"-}" gt "${_best##*/"$1"-}"; then
            _best=$_dir
        fi
    done
    [ "$_best" ] && printf '%s\n' "$_best"
}

# versions_of KIND NAME: what the private lists hold, newest first
versions_of()
{
    if [ "$1" = deb ]; then
        apt-cache madison "$2" | awk -F'|' '{ gsub(/ /, "", $2); print $2 }'
    else
        apt-cache showsrc --only-source "$2" 2>/dev/null | sed -n 's/^Version: //p'
    fi | sort -u -V -r
}

# get_newer KIND NAME VERSION DIR: fetch into DIR, unpack as DIR/tree
get_newer()
{
    mkdir "$4"
    case $1 in
    deb) set -- "$@" download ;;
    *) set -- "$@" "source --download-only" ;;
    esac
    # a list may name files that the archive does not hold yet, or no longer
    # shellcheck disable=SC2086 # a verb with an option
    if ! ( cd "$4" && apt-get -q $5 "$2=$3" ) >"$4.log" 2>&1; then
        say "the archive lists $2 $3 but lacks its files"
        rm -rf "$4"
        return 1
    fi
    if [ "$1" = deb ]; then
        mkdir "$4/tree"
        dpkg-deb --fsys-tarfile "$4"/*.deb | tar -x -C "$4/tree" || die "cannot unpack"
    else
        ( cd "$4" && logged ../unpack.log dpkg-source --no-check -x ./*.dsc tree ) ||
            die "cannot unpack"
    fi
}

# fetch_newer KIND NAME MINIMUM SUITE...: prints the unpacked folder
fetch_newer()
{
    _kind=$1
    _name=$2
    _minimum=$3
    shift 3
    temp_beside "$VGPU_CACHE/src/$_name-newer"
    _work=$TEMP
    say "looking for $_name $_minimum or newer"
    private_apt "$_work/apt" "$(archives_of base-files)"
    in_suites "$_work/apt/sources" "$@"
    [ "$_kind" != deb ] || sed -i 's/deb-src/deb/' "$_work"/apt/sources/suites.*
    APT_CONFIG=$_work/apt/apt.conf
    export APT_CONFIG
    logged "$_work/update.log" apt-get -q update || die "cannot read the lists of: $*"
    _seen=
    for _version in $(versions_of "$_kind" "$_name"); do
        _seen="$_seen $_version"
        dpkg --compare-versions "${_version#*:}" ge "$_minimum" || continue
        get_newer "$_kind" "$_name" "$_version" "$_work/get" || continue
        publish "$_work/get/tree" "$VGPU_CACHE/src/$_name-${_version#*:}"
        printf '%s\n' "$VGPU_CACHE/src/$_name-${_version#*:}"
        return
    done
    die "none of $* holds $_name $_minimum or newer; they list:${_seen:- none}"
}

fetch()
{
    temp_beside "$3"
    _work=$TEMP
    say "fetching the source of $1 $2"
    private_apt "$_work/apt" "$(archives_of "$package")"
    APT_CONFIG=$_work/apt/apt.conf
    export APT_CONFIG
    logged "$_work/update.log" apt-get -q update || die "cannot read the source lists"
    ( cd "$_work" && logged "$_work/fetch.log" apt-get -q source --download-only "$1=$2" ) ||
        die "the archive does not hold the source of $1 $2: upgrade $package to the current version"
    unset APT_CONFIG
    # apt has checked the files against the signed lists; --no-check skips only
    # a second check, which would need the developers' key ring
    say "unpacking"
    ( cd "$_work" && logged "$_work/unpack.log" dpkg-source --no-check -x ./*.dsc tree ) ||
        die "cannot unpack"
    publish "$_work/tree" "$3"
}

need apt-get build
need dpkg-source qemu
version_only=
if [ "${1-}" = --derive ]; then
    shift
    temp_beside "${TMPDIR:-/tmp}/vgpu-derive"
    derived_sources "$TEMP" "$(printf '%s\n' "$@")"
    find "$TEMP" -name 'derived.*' | sort | xargs cat
    exit 0
fi
case ${1-} in
--newer | --newer-deb)
    [ $# -ge 4 ] || die "usage: scripts/get-source.sh --newer[-deb] NAME MINIMUM SUITE..."
    kind=${1#--newer}
    shift
    cached_newer "$1" "$2" || fetch_newer "${kind#-}" "$@"
    exit
    ;;
esac
if [ "${1-}" = --version ]; then
    version_only=1
    shift
fi
[ $# -eq 1 ] ||
    die "usage: scripts/get-source.sh [--version] BINARY-PACKAGE | --derive URI... | --newer[-deb] NAME MINIMUM SUITE..."
package=$1
record=$(source_of "$package" "$(package_version "$package")")
name=${record% *}
version=${record#* }
if [ -n "$version_only" ]; then
    printf '%s\n' "$name-${version#*:}"
    exit 0
fi
place=$VGPU_CACHE/src/$name-${version#*:}
[ -d "$place" ] || fetch "$name" "$version" "$place"
printf '%s\n' "$place"
