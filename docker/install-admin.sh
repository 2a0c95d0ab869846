#!/bin/bash
# Installs omop-emb-admin with the bundled model, and the user it runs as. Run as root in the top directory.
set -euo pipefail

pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore '.[local]'
useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin omop-emb
