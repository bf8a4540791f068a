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
if [ "${1-}" = --version ]; then
    version_only=1
    shift
fi
[ $# -eq 1 ] || die "usage: scripts/get-source.sh [--version] BINARY-PACKAGE | --derive URI..."
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
