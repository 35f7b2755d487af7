# syntax=docker/dockerfile:1
# An image with all binaries: docker run --rm IMAGE order_consumer --help
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The commit that the metric ecom_build_info reports: --build-arg ECOM_COMMIT=$(git rev-parse --short HEAD)
ARG ECOM_COMMIT=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bins \
    && mkdir -p /out/bin /out/data \
    && find target/dist -maxdepth 1 -type f -executable -exec cp {} /out/bin/ \;

# No shell and no package manager; includes CA certificates, runs as uid 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/bin/ /usr/local/bin/
COPY config/ /app/config/
COPY --from=build --chown=nonroot:nonroot /out/data/ /app/data/
WORKDIR /app
USER nonroot
CMD ["ecom_demo"]
