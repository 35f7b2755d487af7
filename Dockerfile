# syntax=docker/dockerfile:1
# An image of every program:
#   docker build -t ecom --build-arg ECOM_COMMIT=$(git rev-parse --short HEAD) .
#   docker run --rm ecom                            lists them
#   docker run --rm ecom order_consumer --help
#   docker run --rm ecom ecom_demo                  runs all roles on the embedded bus and store
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
# libc, CA certificates and the user 65532; no shell and no package manager.
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f

FROM ${RUST_IMAGE} AS chef
RUN cargo install --locked cargo-chef@0.1.78
WORKDIR /src

# What the dependencies follow from: the manifests and the lock file.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM chef AS build
COPY --from=plan /recipe.json /recipe.json
# A layer of the dependencies, which a change of the sources leaves as it is.
RUN cargo chef cook --locked --profile dist --package ecom --features otlp --bin ecom --recipe-path /recipe.json
COPY . .
# The commit that the metric ecom_build_info reports.
ARG ECOM_COMMIT=unknown
# One file has all programs; the others are links to it.
RUN cargo build --locked --profile dist --package ecom --features otlp --bin ecom \
    && mkdir -p /out/bin /out/data \
    && for file in src/bin/*.rs; do ln -s ecom "/out/bin/$(basename "$file" .rs)"; done \
    && cp --remove-destination target/dist/ecom /out/bin/ecom

FROM ${BASE_IMAGE} AS image
ARG ECOM_COMMIT=unknown
ARG ECOM_VERSION=0.1.0
LABEL org.opencontainers.image.title="ecom" \
      org.opencontainers.image.description="Streams order and payment events from Pub/Sub into one Cassandra fact table" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${ECOM_VERSION}" \
      org.opencontainers.image.revision="${ECOM_COMMIT}"
COPY --from=build /out/bin/ /usr/local/bin/
COPY config/ /app/config/
COPY --from=build --chown=65532:65532 /out/data/ /app/data/
WORKDIR /app
# The files of the embedded bus and store; with other backends nothing is written.
VOLUME ["/app/data"]
# As numbers: Kubernetes checks runAsNonRoot before it knows the image's user names.
USER 65532:65532
CMD ["ecom"]
