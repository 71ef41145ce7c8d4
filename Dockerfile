# syntax=docker/dockerfile:1
# The image of a cluster's nodes, and of the MLflow server beside them:
#
#   docker build --tag REGISTRY/reid:0.1.0 . && docker push REGISTRY/reid:0.1.0
#
# What is installed is what the tests ran with, every file checked by its hash in requirements.lock. Of CUDA it has what
# torch brings along; the driver comes from the node. There is no HEALTHCHECK, since what runs in it differs: KubeRay
# brings its own probes of Ray, and deploy/kuberay/mlflow.yaml that of MLflow.

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.11.17-slim-trixie AS wheel
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY platform platform
COPY datasets datasets
RUN --mount=from=uv,source=/uv,target=/bin/uv \
    uv build --no-cache --wheel --require-hashes --build-constraint requirements.lock

FROM python:3.11.17-slim-trixie
RUN useradd --create-home --home-dir /reid --uid 1000 reid
# Gigabytes, and anew only when these two files change.
RUN --mount=from=uv,source=/uv,target=/bin/uv \
    --mount=source=pyproject.toml,target=/lock/pyproject.toml \
    --mount=source=requirements.lock,target=/lock/requirements.lock \
    uv pip install --system --no-cache --require-hashes --constraint /lock/requirements.lock \
      --requirement /lock/pyproject.toml --extra aws --extra page --extra postgres
RUN --mount=from=uv,source=/uv,target=/bin/uv \
    --mount=from=wheel,source=/source/dist,target=/dist \
    uv pip install --system --no-cache --no-deps /dist/*.whl

# Ray starts nothing that does not ask for a token, and tells nobody that it runs; nor does MLflow.
ENV RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /reid
# Ray's GCS and dashboard, MLflow
EXPOSE 6379 8265 5000
# No entry point: KubeRay and `ray up` bring their own commands.
CMD ["reid", "--help"]
