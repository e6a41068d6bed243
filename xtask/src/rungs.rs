//! The ladder of tests, as data: what each rung needs and what it runs. Prefer the lowest rung that can show a thing.

use crate::kube::{self, Source};

/// One rung of the ladder.
#[derive(Debug)]
pub(crate) struct Rung {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) steps: &'static [Step],
}

/// What a machine must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A program, and the Debian package it comes in.
    Program { name: &'static str, package: &'static str },
    /// To be root.
    Root,
    /// Binaries of Kubernetes.
    Kube(&'static [Source]),
    /// That this script succeeds: being root in a container may not be enough.
    Works { what: &'static str, script: &'static str },
}

/// What a rung runs; all of its steps, even if one fails.
#[derive(Debug)]
pub(crate) enum Step {
    /// Cargo with these arguments.
    Cargo(&'static [&'static str]),
    /// Cargo with these arguments in the workspace of the guests, which builds for WebAssembly unless told otherwise.
    Guests(&'static [&'static str]),
    /// Cargo with these arguments, if it succeeds with others first; else it is left out for this reason.
    CargoIf { first: &'static [&'static str], then: &'static [&'static str], else_because: &'static str },
    /// Cargo with these arguments, and told where the binaries of Kubernetes are.
    Kube(&'static [&'static str]),
    /// The same, and told where the files of the product's images are.
    Cluster(&'static [&'static str]),
    /// The demo; it must not lose a request.
    Demo,
    /// Every row of how Services behave.
    Conformance,
    /// The short form of the drills.
    Drill,
}

/// Built once and kept: without optimisation, which takes a minute and not ten.
const CARGO_DENY: Need = Need::Works {
    what: "cargo-deny, from crates.io",
    script: "cargo deny --version || cargo install cargo-deny --version 0.20.2 --locked --debug --no-default-features \
             --root \"${XDG_CACHE_HOME:-$HOME/.cache}/wasmesh/tools\" 1>&2",
};
const NGINX: Need = Need::Program { name: "nginx", package: "nginx-light" };
const CURL: Need = Need::Program { name: "curl", package: "curl" };
const OPENSSL: Need = Need::Program { name: "openssl", package: "openssl" };
const H2LOAD: Need = Need::Program { name: "h2load", package: "nghttp2-client" };
const NGHTTP: Need = Need::Program { name: "nghttp", package: "nghttp2-client" };
const NGHTTPD: Need = Need::Program { name: "nghttpd", package: "nghttp2-server" };
const SSH: Need = Need::Program { name: "ssh", package: "openssh-client" };
const SSHD: Need = Need::Program { name: "sshd", package: "openssh-server" };
const PYTHON: Need = Need::Program { name: "python3", package: "python3-venv" };
/// A registry, with passwords and TLS.
const REGISTRY: Need = Need::Program { name: "docker-registry", package: "docker-registry" };
/// Made once and kept, where the tests look for it.
const PYTHON_LIBRARIES: Need = Need::Works {
    what: "Python's venv (Debian: python3-venv) with grpcio, websockets and aiosmtpd from PyPI",
    script: "dir=${XDG_CACHE_HOME:-$HOME/.cache}/wasmesh/peers; \
             \"$dir/bin/python\" -c 'import grpc, websockets, aiosmtpd' 2>/dev/null && exit 0; \
             { python3 -m venv \"$dir\" && \"$dir/bin/pip\" install --quiet --disable-pip-version-check \
             'grpcio>=1.60' 'websockets>=15' 'aiosmtpd>=1.4'; } 1>&2",
};
/// Compiles and links the guests in C.
pub(crate) const CLANG: Need = Need::Program { name: "clang", package: "clang" };
pub(crate) const WASM_LD: Need = Need::Program { name: "wasm-ld", package: "lld" };
/// Compiles the guests in Go. An older Go, from 1.21 on, fetches the one that is asked for.
pub(crate) const GO_FOR_WASM: Need = Need::Works {
    what: "Go 1.26 (Debian: golang-go, or https://go.dev/dl)",
    script: "cd \"${CARGO_MANIFEST_DIR:-xtask}/../plugins/sdk/go\" && GOTOOLCHAIN=${GOTOOLCHAIN:-auto} go version",
};
/// Fetches the compilers of the guests in AssemblyScript and JavaScript.
pub(crate) const NPM: Need = Need::Program { name: "npm", package: "npm" };
/// Compiles the guests in Rust.
pub(crate) const RUST_FOR_WASM: Need = Need::Works {
    what: "Rust for wasm32-unknown-unknown, which rustup has",
    script: "test -d \"$(rustc --print target-libdir --target wasm32-unknown-unknown)\" || \
             rustup target add wasm32-unknown-unknown",
};
const IP: Need = Need::Program { name: "ip", package: "iproute2" };
const NFT: Need = Need::Program { name: "nft", package: "nftables" };
const IPTABLES: Need = Need::Program { name: "iptables", package: "iptables" };
/// Resolvers that nobody here wrote.
const DIG: Need = Need::Program { name: "dig", package: "bind9-dnsutils" };
const CC: Need = Need::Program { name: "cc", package: "gcc" };
const MUSL: Need = Need::Program { name: "musl-gcc", package: "musl-tools" };
pub(crate) const GO: Need = Need::Program { name: "go", package: "golang-go" };
const NAMESPACES: Need = Need::Works {
    what: "network namespaces with nftables",
    script: "ns=wasmesh-probe-$$; ip netns add $ns || exit 1; ip netns exec $ns nft add table inet wasmesh; works=$?; \
             ip netns delete $ns; exit $works",
};

/// What `cargo xtask conformance` needs.
pub(crate) const CONFORMANCE: &[Need] = &[Need::Root, IP, NFT, IPTABLES, NGINX, CURL, DIG, NGHTTP, NAMESPACES];

const FAKETIME: Need = Need::Program { name: "faketime", package: "faketime" };

/// What `cargo xtask drill` needs.
pub(crate) const DRILL: &[Need] = &[Need::Root, IP, NFT, NAMESPACES, UNSHARE, FAKETIME];

/// Makes the pods of a test cluster.
const RUNC: Need = Need::Program { name: "runc", package: "runc" };
const UNSHARE: Need = Need::Program { name: "unshare", package: "util-linux" };
const APT: Need = Need::Works { what: "apt-get, to fetch packages of Debian sid", script: "apt-get --version" };
const REALMS: Need = Need::Works {
    what: "namespaces with mounts and overlays of their own",
    script: "unshare --net --mount --propagation=private --pid --fork --mount-proc sh -ec \
             'mount -t tmpfs tmpfs /run; cd /run; mkdir a b c d; \
             mount -t overlay -o lowerdir=a,upperdir=b,workdir=c overlay d; ip link add bridge0 type bridge'",
};

/// What `cargo xtask test` runs.
pub(crate) const RUNGS: &[Rung] = &[
    Rung {
        name: "lint",
        needs: &[],
        steps: &[
            Step::Cargo(&["fmt", "--all", "--check"]),
            // All features: else the tests of the higher rungs would be read by nobody on most machines.
            Step::Cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]),
        ],
    },
    Rung {
        name: "deny",
        needs: &[CARGO_DENY],
        steps: &[
            Step::Cargo(&[
                "deny",
                "--log-level",
                "error",
                "check",
                "--hide-inclusion-graph",
                "bans",
                "licenses",
                "sources",
            ]),
            Step::CargoIf {
                first: &["deny", "fetch", "db"],
                then: &["deny", "check", "advisories"],
                else_because: "the database of advisories, https://github.com/rustsec/advisory-db, cannot be fetched",
            },
        ],
    },
    Rung { name: "mesh", needs: &[], steps: &[Step::Cargo(&["test", "--workspace", "--no-fail-fast"])] },
    Rung {
        name: "guests",
        needs: &[CLANG, WASM_LD, RUST_FOR_WASM, GO, GO_FOR_WASM, NPM],
        steps: &[
            Step::Guests(&["fmt", "--all", "--check"]),
            Step::Guests(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
            Step::Guests(&[
                "test",
                "--workspace",
                // These two are about the memory of WebAssembly and compile for nothing else.
                "--exclude",
                "memory-bomb",
                "--exclude",
                "memory-bomb-at-once",
                "--target",
                "host-tuple",
                "--no-fail-fast",
            ]),
            Step::Cargo(&["xtask", "policies"]),
            // The whole workspace, or other features of other crates would have the engine compiled twice, for minutes.
            Step::Cargo(&[
                "test",
                "--workspace",
                "--features",
                "wasmesh-policy-host/rebuilt,wasmesh/toolchains",
                "--test",
                "rebuilt",
                "--test",
                "echo",
                "--test",
                "policy_new",
            ]),
        ],
    },
    Rung {
        name: "peers",
        needs: &[NGINX, CURL, OPENSSL, H2LOAD, NGHTTPD, SSH, SSHD, REGISTRY, PYTHON, PYTHON_LIBRARIES],
        steps: &[Step::Cargo(&[
            "test",
            "--package",
            "wasmesh-tests",
            "--features",
            "peers",
            "--test",
            "peers",
            "--no-fail-fast",
        ])],
    },
    Rung {
        name: "api",
        needs: &[Need::Kube(kube::CONTROL_PLANE), CURL],
        steps: &[Step::Kube(&[
            "test",
            "--package",
            "wasmesh-tests",
            "--features",
            "api",
            "--test",
            "api",
            "--no-fail-fast",
        ])],
    },
    Rung {
        name: "netns",
        needs: &[
            Need::Root,
            IP,
            NFT,
            IPTABLES,
            NGINX,
            CURL,
            NAMESPACES,
            DIG,
            CC,
            MUSL,
            GO,
            PYTHON,
            UNSHARE,
            RUST_FOR_WASM,
        ],
        steps: &[Step::Cargo(&[
            "test",
            "--package",
            "wasmesh-tests",
            "--features",
            "netns",
            "--test",
            "netns",
            "--test",
            "capture",
            "--no-fail-fast",
        ])],
    },
    Rung {
        name: "names",
        needs: &[Need::Root, UNSHARE, DIG, CC, MUSL, GO, Need::Kube(kube::CONTROL_PLANE)],
        steps: &[Step::Kube(&[
            "test",
            "--package",
            "wasmesh-tests",
            "--features",
            "api",
            "--test",
            "resolvers",
            "--no-fail-fast",
        ])],
    },
    Rung { name: "rows", needs: CONFORMANCE, steps: &[Step::Conformance] },
    Rung { name: "demo", needs: &[], steps: &[Step::Demo] },
    Rung {
        name: "bench",
        needs: &[Need::Kube(kube::CONTROL_PLANE)],
        steps: &[
            Step::Cargo(&["xtask", "bench", "http", "--quick"]),
            Step::Cargo(&["xtask", "bench", "grpc", "--quick"]),
            Step::Cargo(&["xtask", "bench", "tcp", "--quick"]),
            Step::Cargo(&["xtask", "bench", "memory", "--quick"]),
            Step::Cargo(&["xtask", "bench", "start", "--quick"]),
            Step::Cargo(&["xtask", "bench", "module", "--quick"]),
            Step::Cargo(&["xtask", "bench", "instructions", "--quick"]),
            Step::Cargo(&["xtask", "bench", "table", "--quick"]),
            Step::Cargo(&["xtask", "bench", "control-plane", "--quick"]),
        ],
    },
    Rung { name: "drill", needs: DRILL, steps: &[Step::Drill] },
    // A minute for each target.
    Rung { name: "fuzz", needs: &[], steps: &[Step::Cargo(&["xtask", "fuzz", "all"])] },
];

/// What is run only by name: for CI at night, and for who changes what they are about.
pub(crate) const BY_NAME: &[Rung] = &[Rung {
    name: "cluster",
    needs: &[Need::Root, IP, NFT, RUNC, UNSHARE, APT, REALMS, Need::Kube(kube::CONTROL_PLANE), Need::Kube(kube::NODE)],
    steps: &[Step::Cluster(&[
        "test",
        "--package",
        "wasmesh-tests",
        "--features",
        "cluster",
        "--test",
        "cluster",
        "--no-fail-fast",
    ])],
}];
