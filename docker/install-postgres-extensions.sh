#!/bin/bash
# Installs PostgreSQL MAJOR with PL/Python and, where apt has it, pgvector. Never creates, upgrades or restarts a
# cluster. Run as root on Debian or a relative of it, after apt-get update:  install-postgres-extensions.sh MAJOR
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

major=${1:?usage: install-postgres-extensions.sh MAJOR}
configuration=/etc/postgresql-common/createcluster.d
no_cluster=$configuration/zz-omop-emb.conf

in_apt() {
    [[ $(apt-cache policy "$1") == *"Candidate: "[0-9]* ]]
}

install_packages() {
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# A new server package would create and start a cluster "main".
forbid_new_cluster() {
    trap allow_new_cluster EXIT
    mkdir -p "$configuration"
    echo "create_main_cluster = false" >"$no_cluster"
}

allow_new_cluster() {
    rm -f "$no_cluster"
    rmdir --ignore-fail-on-non-empty "$configuration"
}

# The upgrade of a server package restarts its clusters: that is for their owner to decide.
refuse_upgrade_of_clusters() {
    local version
    for version in $(apt-get install -s --no-install-recommends "$@" |
        sed -nE 's/^Inst postgresql-([0-9]+) \[.*/\1/p'); do
        if compgen -G "/etc/postgresql/$version/*/postgresql.conf" >/dev/null; then
            echo "error: this would upgrade PostgreSQL $version and restart its clusters;" \
                "when that suits, run: apt-get install --only-upgrade postgresql-$version" >&2
            exit 1
        fi
    done
}

packages=("postgresql-$major" "postgresql-plpython3-$major")
if in_apt "postgresql-$major-pgvector"; then
    packages+=("postgresql-$major-pgvector")
fi
if [ ! -d /usr/share/postgresql-common ]; then
    install_packages postgresql-common
fi
refuse_upgrade_of_clusters --no-upgrade "${packages[@]}"
forbid_new_cluster
install_packages --no-upgrade "${packages[@]}"
