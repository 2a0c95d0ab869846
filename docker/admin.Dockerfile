# omop-emb-admin with the bundled model.
FROM python:3.12-slim

WORKDIR /opt/omop-emb
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY omop_emb omop_emb
COPY migrations migrations
COPY sql sql
COPY docker/install-admin.sh docker/prepare-database.sh docker/
RUN docker/install-admin.sh

USER omop-emb
ENTRYPOINT ["omop-emb-admin"]
