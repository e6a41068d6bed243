# The control plane. `cargo xtask images --release` makes the files:
#   docker build --file deploy/images/wasmesh-control-plane.Dockerfile target/images/wasmesh-control-plane
FROM scratch
COPY . /
USER 65532:65532
ENTRYPOINT ["/wasmesh-control-plane"]
