# PostgreSQL 17 with PL/Python and pgvector; otherwise the official image, used and configured in the same way.
FROM postgres:17

COPY docker/install-postgres-extensions.sh /usr/local/lib/omop-emb/
RUN apt-get update \
    && /usr/local/lib/omop-emb/install-postgres-extensions.sh 17 \
    && rm -rf /var/lib/apt/lists/*
