# Runs anything of deepscan: the service below, any command, a node of a Ray cluster (cluster.yaml, cluster/).
#
#   docker build -t deepscan .                                                       for CPUs
#   docker build -t deepscan:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 \
#       --build-arg TORCH_INDEX=https://pypi.org/simple .                            for NVIDIA GPUs
#
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs/first/bundle:/bundle:ro" deepscan
#   docker run --rm --no-healthcheck --shm-size=4g -v "$PWD:/data" deepscan deepscan train --data /data/faces ...

# Any Debian or Ubuntu with Python 3.11 to 3.13, or without a Python if the distribution's own is one of these.
ARG BASE=python:3.11-slim
FROM ${BASE}

# rsync is what `ray up` copies with.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends rsync \
    && if ! command -v python3; then apt-get install --yes --no-install-recommends python3-venv; fi \
    && rm -rf /var/lib/apt/lists/*

# The user of Ray's own images, who may install more (`ray up` adds boto3). An Ubuntu has a user 1000 already.
RUN useradd --create-home --uid 1000 --non-unique --shell /bin/bash ray \
    && install --directory --owner ray /opt/venv /opt/deepscan

# Ray's launcher and KubeRay start login shells, whose PATH is made anew.
ENV PATH=/opt/venv/bin:$PATH \
    RAY_USAGE_STATS_ENABLED=0 \
    DEEPSCAN_SERVE_BUNDLES=/bundle
# hadolint ignore=SC2016
RUN echo 'PATH=/opt/venv/bin:$PATH' > /etc/profile.d/deepscan.sh

# Of equal versions pip takes the one with a local part, such as 2.14.1+cpu of this index.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/deepscan
USER 1000
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY deepscan ./deepscan
RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir --constraint constraints.txt --extra-index-url "${TORCH_INDEX}" '.[track]'
COPY jobs ./jobs
COPY serve_configs ./serve_configs

EXPOSE 8000

# Everything else of the service is set by DEEPSCAN_SERVE_* variables: docs/deploying.md.
# 200 when the bundle is loaded and answers, else 503.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/api/health', timeout=4)"]

CMD ["deepscan", "serve", "--local", "--host", "0.0.0.0"]
