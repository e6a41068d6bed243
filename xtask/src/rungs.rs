//! The ladder of tests, as data: what each rung needs and what it runs. Prefer the lowest rung that can show a thing.

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
    /// That this script succeeds: being root in a container may not be enough.
    Works { what: &'static str, script: &'static str },
}

/// What a rung runs; all of its steps, even if one fails.
#[derive(Debug)]
pub(crate) enum Step {
    /// Cargo with these arguments.
    Cargo(&'static [&'static str]),
    /// The same, if that subcommand is installed: building it would take longer than all the tests.
    CargoIfInstalled(&'static [&'static str]),
    /// The demo; it must not lose a request.
    Demo,
}

const NGINX: Need = Need::Program { name: "nginx", package: "nginx-light" };
const CURL: Need = Need::Program { name: "curl", package: "curl" };
const IP: Need = Need::Program { name: "ip", package: "iproute2" };
const NFT: Need = Need::Program { name: "nft", package: "nftables" };
const IPTABLES: Need = Need::Program { name: "iptables", package: "iptables" };
const NAMESPACES: Need = Need::Works {
    what: "network namespaces with nftables",
    script: "ns=wasmesh-probe-$$; ip netns add $ns || exit 1; ip netns exec $ns nft add table inet wasmesh; works=$?; \
             ip netns delete $ns; exit $works",
};

pub(crate) const RUNGS: &[Rung] = &[
    Rung {
        name: "lint",
        needs: &[],
        steps: &[
            Step::Cargo(&["fmt", "--all", "--check"]),
            // All features: else the tests of the higher rungs would be read by nobody on most machines.
            Step::Cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]),
            Step::CargoIfInstalled(&["deny", "check"]),
        ],
    },
    Rung { name: "mesh", needs: &[], steps: &[Step::Cargo(&["test", "--workspace", "--no-fail-fast"])] },
    Rung {
        name: "peers",
        needs: &[NGINX, CURL],
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
        name: "netns",
        needs: &[Need::Root, IP, NFT, IPTABLES, NGINX, CURL, NAMESPACES],
        steps: &[Step::Cargo(&[
            "test",
            "--package",
            "wasmesh-tests",
            "--features",
            "netns",
            "--test",
            "netns",
            "--no-fail-fast",
        ])],
    },
    Rung { name: "demo", needs: &[], steps: &[Step::Demo] },
];
