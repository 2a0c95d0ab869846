#!/bin/bash
# Makes a database searchable: installs or upgrades omop_emb, writes one configuration, brings the index up to date.
# Safe to repeat. The connection comes from the PG* variables, the settings from those below.
set -euo pipefail

omop-emb-admin migrate --cdm-schema "$CDM_SCHEMA"
omop-emb-admin configure "$CONFIGURATION" --api-base "$API_BASE" --model "$MODEL" \
    --document-prefix "$DOCUMENT_PREFIX" --query-prefix "$QUERY_PREFIX"
omop-emb-admin index
