# Both sidecars of a pod. `cargo xtask images --release` makes the files:
#   docker build --file deploy/images/wasmesh-proxy.Dockerfile target/images/wasmesh-proxy
FROM scratch
COPY . /
ENTRYPOINT ["/wasmesh-proxy"]
