//! The project's chores, one command each: `cargo xtask test`, `cargo xtask demo`, `cargo xtask bench`, `cargo xtask drill`,
//! `cargo xtask fuzz`, `cargo xtask conformance`, `cargo xtask images`, `cargo xtask kube`, `cargo xtask policies`.

mod bench;
mod cargo;
mod conformance;
mod demo;
mod drill;
mod failures;
mod fuzz;
mod images;
mod kube;
mod options;
mod policies;
mod prerequisites;
mod rungs;
mod stream;
mod tally;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test [--allow-skips] [--rung NAME]...
    Sets up what is needed and runs every test, rung by rung:
      lint    format, clippy
      deny    licences, sources and advisories of what it is built from: cargo-deny, built once
      mesh    unit tests, property tests, whole meshes in one process
      guests  the example policies: their sources, and that the checked-in copies do the same
      peers   against real software: nginx, curl
      api     the real API server of Kubernetes, built once with Go
      netns   captured traffic in network namespaces (needs root)
      names   the resolvers of glibc, musl and Go, and dig, beside a real CoreDNS (needs root)
      rows    how Services behave: `cargo xtask conformance` (needs root)
      demo    the demo loses no request
      bench   every bench works; what it measures then means nothing (needs root)
      drill   the short drills: `cargo xtask drill short` (needs root)
      fuzz    each target for a minute: `cargo xtask fuzz all`
      cluster a whole cluster of one node; only by name (needs root)
    A rung that cannot run fails the whole, unless --allow-skips is given.
    --rung runs the named ones only.

cargo xtask demo [--release] [ARGS]...
    Builds the mesh and runs `wasmesh demo ARGS`; --json prints one JSON object as the last line.

cargo xtask conformance [--json] [--row N]...
    Checks every behaviour of Services (docs/services.md) in a cluster of network namespaces: two nodes, two zones, IPv4 and
    IPv6, captured by nftables and by iptables (needs root). --json prints one JSON object as the last line and the table on
    stderr; WASMESH_LOG=info shows what the mesh says.

cargo xtask drill NAME...|short|all [--json] [--seed N]
    Has things go wrong while a mesh of real processes is under load, and counts what is lost by it (needs root). Without a known
    name it lists them; --json prints one JSON object as the last line and the table on stderr.

cargo xtask soak [--minutes N]
    Has pods, policies and connections come and go for so long, by default 30 minutes, and looks whether anything grows (needs
    root). Prints one JSON object as the last line, and draws target/soak.svg.

cargo xtask fuzz NAME...|all [--seconds N]
    Makes up bytes for everything that reads bytes of strangers, each for a minute. What is found is written to target/fuzz.

cargo xtask images [--release]
    Builds the files of the container images into target/images, statically, and prints the folder.

cargo xtask kube [--node]
    Prints the folder of the API server and its like, for KUBEBUILDER_ASSETS; builds them with Go if need be.
    --node: what a node needs too, for the rung cluster.

cargo xtask policies [--update]
    Builds the example policies of plugins/policies as components, into target/policies/LANGUAGE/NAME.wasm.
    --update copies them to plugins/policies/built too, which is checked in.

cargo xtask bench http|grpc|tcp|memory [--json] [--seconds N] [--rounds N] [--connections N,...] [--proxy NAME]...
                  [--allow-missing] [--unpinned] [--quick]
    Measures us beside others, behind one redirect in a network namespace (needs root; docs/benchmarks.md):
      direct  nobody between client and backends
      copy    a relay that copies bytes
      nginx, haproxy, envoy, wasmesh, and wasmesh-wasm with the policy as a module
    What is missing is installed by the name of its package. --seconds are those of one cell, by default 2;
    --unpinned leaves it to the scheduler who runs on which CPU; --quick only shows that it works;
    --json prints one JSON object as the last line and the table on stderr.

cargo xtask bench start [--json] [--rounds N] [--quick]
    Measures how soon the sidecar is ready, and how large it is.

cargo xtask bench module [--json] [--quick]
    Measures what the traffic of a sidecar with 100m of CPU time and 64 MiB notices while a large module reaches it.

cargo xtask bench instructions [--json] [--seconds N] [--rounds N] [--connections N,...] [--quick]
    Counts the instructions of ours for a request, with the policy built in and as a module (valgrind's callgrind).

cargo xtask bench table [--json] [--quick]
    Measures the table of a proxy that knows 100,000 endpoints: a change, a lookup, memory.

cargo xtask bench charts FOLDER
    Draws FOLDER/cpu.svg, latency.svg, tail.svg and memory.svg from the last lines that `bench http`, `grpc` and `memory` have
    printed with --json, as FOLDER/http.json, grpc.json and memory.json.

cargo xtask bench control-plane [--json] [--services N] [--endpoints N] [--streams N] [--changes N] [--quick]
    Measures the control plane against a real API server: how far it is behind many writes, how fast it starts, how much
    memory it needs, how long a change takes to all streams.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first().map(|(task, rest)| (task.as_str(), rest)) {
        None | Some(("help" | "-h" | "--help", _)) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(("test", rest)) => options::Test::parse(rest).and_then(|options| test::run(&options)),
        Some(("policies", rest)) => policies::run(rest),
        Some(("conformance", rest)) => conformance::run(rest),
        Some(("drill", rest)) => drill::run(rest),
        Some(("soak", rest)) => drill::soak(rest),
        Some(("fuzz", rest)) => fuzz::run(rest),
        Some(("images", rest)) => images::run(rest),
        Some(("kube", rest)) => kube::run(rest),
        Some(("demo", rest)) => demo::run(&options::Demo::parse(rest)),
        Some(("bench", [what, rest @ ..])) if what == "control-plane" => bench::control_plane(rest),
        Some(("bench", [what, rest @ ..])) if what == "charts" => bench::charts(rest),
        Some(("bench", rest)) => bench::Bench::parse(rest).and_then(|options| bench::run(&options, rest)),
        Some(("bench-inside", rest)) => bench::inside(rest),
        Some((task, _)) => Err(anyhow::anyhow!("no task is named {task:?}; `cargo xtask` alone lists them")),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(2)
    })
}
