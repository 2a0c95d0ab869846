#!/bin/bash
# Builds pgvector for PostgreSQL MAJOR from Debian's source package, where apt has no package for that version.
# Run as root on Debian or a relative of it, after apt-get update:  build-pgvector.sh MAJOR
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
umask 022

major=${1:?usage: build-pgvector.sh MAJOR}
release=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
tools=(debian-archive-keyring dpkg-dev gcc libc6-dev make "postgresql-server-dev-$major")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

installed_packages() {
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' | sed -n 's/^.i  *//p' | sort
}

install_tools() {
    installed_packages >"$work/before"
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${tools[@]}"
    installed_packages >"$work/after"
}

# The compilers take 900 MB: what came only for this build goes again.
remove_tools() {
    local new
    mapfile -t new < <(comm -13 "$work/before" "$work/after")
    if [ ${#new[@]} != 0 ]; then
        apt-get purge -y -o DPkg::Lock::Timeout=300 "${new[@]}"
    fi
}

# The mirrors that this machine uses for Debian, then the default one.
mirrors() {
    # shellcheck disable=SC2016  # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Created-By: Packages' | sort -u
    echo http://deb.debian.org/debian
}

# apt with its own lists and caches, so that this one source package is all that comes from the other release.
own_apt_get() {
    apt-get -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Get::List-Cleanup=false "$@"
}

# apt refuses lists and sources that don't carry the signature of Debian's archive.
fetch_source() {
    local mirror
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
    chmod 755 "$work"
    if id -u _apt >/dev/null 2>&1; then
        chown _apt "$work/lists/partial" "$work/source"
    fi
    cd "$work/source"
    for mirror in $(mirrors); do
        echo "deb-src [signed-by=$keyring] $mirror $release main" >"$work/sources.list"
        if own_apt_get update && own_apt_get source --only-source pgvector; then
            return
        fi
    done
    echo "error: no mirror had the source package pgvector of Debian $release" >&2
    exit 1
}

build() {
    local make=(make PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" OPTFLAGS="")
    cd "$work"/source/pgvector-*/
    "${make[@]}" -j "$(nproc)"
    "${make[@]}" install
}

install_tools
fetch_source
build
remove_tools
