# syntax=docker/dockerfile:1
# The scoring service: answers, logs, swaps. It carries neither Evidently nor Prefect.
# Build from the checkout: docker build -f infra/scoring.Dockerfile .
FROM python:3.11.13-slim-bookworm AS build
# As in the Makefile; TORCH is any backend that `uv pip install --torch-backend` knows.
ARG UV_VERSION=0.13.9
ARG TORCH_VERSION=2.13.0
ARG TORCH=cpu
WORKDIR /src
RUN pip install --no-cache-dir "uv==${UV_VERSION}" && uv venv /srv/venv
ENV VIRTUAL_ENV=/srv/venv UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
COPY infra/scoring.lock ./
RUN uv pip install --require-hashes -r scoring.lock \
    && uv pip install --no-deps --torch-backend "${TORCH}" "torch==${TORCH_VERSION}"
COPY pyproject.toml README.md LICENSE ./
COPY selfheal ./selfheal
COPY flows ./flows
COPY rules ./rules
RUN uv pip install --no-deps .

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /srv/selfheal selfheal
COPY --from=build /srv/venv /srv/venv
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SELFHEAL_HOME=/srv/selfheal/state \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=1
WORKDIR /srv/selfheal
USER 10001
RUN mkdir state
EXPOSE 8080
# /ping answers as soon as a version is loaded; /health says more, for people.
HEALTHCHECK --interval=10s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ping', timeout=3)"]
ENTRYPOINT ["selfheal"]
CMD ["serve", "--help"]
