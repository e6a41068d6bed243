//! What stands on the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use wasmesh_core::{afar::Pattern, capture::Cidr, policy::BuiltinPolicy};
use wasmesh_injection::Resources;
use wasmesh_policy_build::Language;

use crate::{admin::AdminAddr, kubernetes::PodRef};

/// Wasmesh: a service mesh whose load balancing you can write yourself.
///
/// Start with `wasmesh demo`.
#[derive(Debug, Parser)]
#[command(name = "wasmesh", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole mesh on this machine and watch it keep every request through fifteen changes
    Demo(Demo),
    /// Print the manifests of the mesh, for kubectl apply
    ///
    /// Without options these are the objects of deploy/, which `kubectl apply -k deploy/` applies as well.
    Install(Install),
    /// Print what kubectl delete removes
    Uninstall(Uninstall),
    /// Add the sidecars to the pods of manifests, as the webhook does when pods are made
    Inject(Box<Inject>),
    /// Look whether a cluster can have the mesh, or has it as it should, and say what to do about what is wrong
    ///
    /// Nothing is changed. It fails if there is an error among what it finds.
    Check(Check),
    /// Show what a proxy or a control plane knows and how it stands
    Status(Status),
    /// Show the endpoints of a service as a proxy balances over them
    Endpoints(Endpoints),
    /// For authors of policies: whether they may serve, and what they cost
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Compile a policy for the process that has started this one
    #[command(hide = true)]
    CompilePolicy,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Measure what a policy costs: a pick, a rebuild, an instance
    ///
    /// The policy is loaded, tried and called as in a sidecar, with live load of endpoints behind it, beside a built-in
    /// policy on the same endpoints: the one that the file is named after, such as round-robin.wasm, else least-request.
    ///
    /// Picks are timed in batches of a thousand, each pick with fresh random bits, and with the keys that the plan declares
    /// hashed from made-up requests. Median and 99th percentile are those of the batches. All that a policy object could
    /// allow is allowed. A rebuild is what a change of endpoints costs on each worker: a new instance, its init and update.
    /// Memory is the growth of this process with 200 further instances.
    Bench(Bench),
    /// Make a policy of sources, or of a module that a compiler has made, and look whether it may serve
    ///
    /// What the sources are in is told by their files: Cargo.toml, go.mod, policy.c, or a package.json that wants assemblyscript or
    /// componentize-qjs. Compilers are run, not installed, but for those of npm. The result imports nothing but the contract: what a
    /// language asks of WASI is answered inside, with constants.
    Build(BuildPolicy),
    /// Look whether a file may serve as a policy, and say what it is or what to do about it
    ///
    /// It is compiled and tried as in a sidecar: what it imports and exports, its version and size, its init, its plan, and a thousand
    /// picks. All that a policy object could allow is allowed. It fails if the policy may not serve.
    Check(CheckPolicy),
    /// Show the last picks of a policy in a running proxy: what it was given, whom it chose and why, and who was next
    ///
    /// The runner-up is whom the policy would choose now for the same request, were its choice to be avoided. Policies that read strings of
    /// requests are not asked again, because strings are not remembered.
    Explain(ExplainPolicy),
    /// Put a policy into a registry, and say how objects name it there
    ///
    /// It is checked first, as `check` does. It becomes an artefact of one layer (application/wasm), the same for the same file. Names and
    /// passwords are those of `docker login`.
    Push(PushPolicy),
    /// Record what a policy is given and decides, in a running proxy, for `replay`
    ///
    /// The proxy begins with a fresh instance on each worker, as after a restart, and writes down everything that it is given: lists of
    /// endpoints, requests with the hashes of their keys, answers about load, reports. Strings and bodies of requests are not
    /// written down. Traffic does not wait for it.
    Record(RecordPolicy),
    /// Play a recording to a policy, and compare what it decides
    ///
    /// The same module decides the same, bit for bit. With another one it shows what would have been different; what that one asks of load and
    /// the recorded one did not ask is answered by what was known last. It fails if anything differs.
    Replay(ReplayPolicy),
    /// Play a scenario with a policy and with others beside it, and compare latency, load and failures
    ///
    /// Clients, sidecars that each see their own requests only, and endpoints with lines in front of them are simulated; the policies are
    /// the real ones. Every policy meets the same requests, and the same seed gives the same bytes.
    Simulate(Simulate),
    /// Begin a policy: a folder with one that can be built and tested as it is
    ///
    /// The contract and the SDK come along, so that nothing has to be fetched but the language's own compiler and libraries.
    New(NewPolicy),
    /// Hold a policy against cases: these endpoints, this request, and who is to take it
    ///
    /// The file of cases is YAML; docs/policies/cases.md has the format. The same cases give the same picks. It fails if a case does.
    Test(TestPolicy),
}

/// What to explain.
#[derive(Debug, Args)]
pub(crate) struct ExplainPolicy {
    /// The service: NAME, NAMESPACE/NAME or NAME.NAMESPACE
    pub(crate) service: String,
    /// Its port, if several have policies
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// How many picks
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) last: u16,
    #[command(flatten)]
    pub(crate) from: From,
}

/// What to put where.
#[derive(Debug, Args)]
pub(crate) struct PushPolicy {
    /// The policy: a WebAssembly component
    pub(crate) file: PathBuf,
    /// Where to: oci://HOST[:PORT]/REPOSITORY:TAG
    pub(crate) target: String,
    /// What its `init` gets when it is checked: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: String,
    /// The registry has no TLS
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Certificate of an authority (PEM) that is trusted besides those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Docker's configuration with the registry's name and password [default: config.json in $DOCKER_CONFIG or ~/.docker]
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
}

/// What to record.
#[derive(Debug, Args)]
pub(crate) struct RecordPolicy {
    /// The service: NAME, NAMESPACE/NAME or NAME.NAMESPACE
    pub(crate) service: String,
    /// Its port, if several have policies
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// How many picks
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) picks: u64,
    /// For how long, if there are fewer
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Where to write it
    #[arg(long, short = 'f', value_name = "FILE", default_value = "recording.jsonl")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) whom: Whom,
}

/// What to play to whom.
#[derive(Debug, Args)]
pub(crate) struct ReplayPolicy {
    /// The policy: a WebAssembly component
    pub(crate) file: PathBuf,
    /// What `wasmesh policy record` has written
    pub(crate) recording: PathBuf,
    /// What the policy's `init` gets, in place of what it got when it was recorded: a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(crate) config: Option<String>,
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to begin.
#[derive(Debug, Args)]
pub(crate) struct NewPolicy {
    /// What it is called, and the folder that is made
    #[arg(value_parser = crate::policy::new::name)]
    pub(crate) name: String,
    /// What it is written in: rust, c, assemblyscript, go or javascript
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) lang: Language,
}

/// What to build.
#[derive(Debug, Args)]
pub(crate) struct BuildPolicy {
    /// A folder of sources, or a file: a core module, or a component that wants WASI
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    pub(crate) from: PathBuf,
    /// Where the component goes [default: in the folder of the sources, called as that is]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What its `init` gets when it is tried: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: String,
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to hold against what.
#[derive(Debug, Args)]
pub(crate) struct TestPolicy {
    /// The policy: a WebAssembly component
    pub(crate) file: PathBuf,
    /// The cases
    pub(crate) cases: PathBuf,
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to play.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The policy: a WebAssembly component. Without one only the others play
    pub(crate) file: Option<PathBuf>,
    /// What happens: docs/policies/scenarios.md has the format
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: PathBuf,
    /// Built-in policies that play too, separated by commas
    #[arg(long, value_name = "POLICIES", value_delimiter = ',', default_value = "least-request")]
    pub(crate) against: Vec<BuiltinPolicy>,
    /// What the policy's `init` gets: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: String,
    /// In place of the scenario's own
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Draw a picture of it: an SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct CheckPolicy {
    /// The policy: a WebAssembly component
    pub(crate) file: PathBuf,
    /// What its `init` gets: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: String,
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The policies: WebAssembly components. Of several a table is made
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// How many endpoints it balances over
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) endpoints: u32,
    /// What its `init` gets: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) config: String,
    /// Call it as a component even if its core module can be called directly
    #[arg(long)]
    pub(crate) component: bool,
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) images: Images,
    /// How many replicas of the control plane run
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) replicas: u32,
    /// What becomes of a pod when no injector answers: it is made without the mesh, or it is not made
    #[arg(long, value_enum, default_value_t = FailurePolicy::Ignore)]
    pub(crate) failure_policy: FailurePolicy,
    /// A range in which Services have their addresses; may be given more than once, and must be before Kubernetes 1.33
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) service_cidr: Vec<Cidr>,
    /// Domain under which the cluster's names live
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// What sidecars ask for, unless annotations of their pod say otherwise: proxy-cpu-request=50m,proxy-memory-limit=512Mi for
    /// instance. NAME=QUANTITY each, of proxy or capture, cpu or memory, request or limit
    #[arg(long, value_name = "LIST", value_parser = resources)]
    pub(crate) sidecar_resources: Option<String>,
    #[command(flatten)]
    pub(crate) modules: Modules,
}

/// Where policies may have their modules from.
#[derive(Debug, Args)]
pub(crate) struct Modules {
    /// Where policies may have their modules from: oci://HOST/PATH/* or https://HOST/PATH/*, or one repository or URL without the *;
    /// oci+http:// and http:// for servers without TLS. May be given more than once; without it nothing is fetched
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow_modules: Vec<Pattern>,
    /// Where servers that modules come from may redirect to and have their tokens: https://HOST/PATH/* or one URL; policies cannot name
    /// these. May be given more than once
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::of_urls)]
    pub(crate) allow_module_redirects: Vec<Pattern>,
    /// Let policies name Secrets of their namespace with a registry's credentials. Whoever governs a namespace still has to bind the
    /// role wasmesh-pull-secrets in it
    #[arg(long)]
    pub(crate) module_pull_secrets: bool,
    /// Certificates of authorities (PEM) for servers that modules come from, besides those that browsers trust
    #[arg(long, value_name = "FILE")]
    pub(crate) module_ca: Option<PathBuf>,
    /// Public key of cosign (PEM): only images that it has signed are taken, and nothing from URLs
    #[arg(long, value_name = "FILE")]
    pub(crate) module_cosign_key: Option<PathBuf>,
}

/// What becomes of a pod when no injector answers, in the words of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum FailurePolicy {
    Ignore,
    Fail,
}

impl FailurePolicy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Delete the definition of policies too, and with it every policy that anybody has written
    #[arg(long)]
    pub(crate) crds: bool,
}

/// Documents without pods, and pods that are left alone, are printed as they are. Which these are, and why, is on stderr.
#[derive(Debug, Args)]
pub(crate) struct Inject {
    /// Manifests, YAML or JSON; - is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(crate) filename: PathBuf,
    /// Certificate (PEM) of the mesh; without it the cluster is asked: the configuration of the webhook wasmesh-injector, or else
    /// ca.crt of Secret wasmesh-ca in the namespace wasmesh-system
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Context of the kubeconfig, for asking a cluster; by default the current one
    #[arg(long, value_name = "NAME", conflicts_with = "ca_bundle")]
    pub(crate) context: Option<String>,
    /// A range in which Services have their addresses (kubectl get servicecidrs); may be given more than once. Without any,
    /// connections are not captured
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) service_cidr: Vec<Cidr>,
    /// Where sidecars find the control plane [default: https://wasmesh-control-plane.wasmesh-system.svc.DOMAIN:19010]
    #[arg(long, value_name = "URL")]
    pub(crate) control_plane: Option<String>,
    /// Domain under which the cluster's names live
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// What sidecars ask for, unless annotations of their pod say otherwise, as for `wasmesh install`
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub(crate) sidecar_resources: Resources,
    #[command(flatten)]
    pub(crate) images: Images,
}

/// Which images run.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Where the images of the mesh are
    #[arg(long, value_name = "REGISTRY", default_value = "ghcr.io/wasmesh")]
    pub(crate) registry: String,
    /// Their tag
    #[arg(long, value_name = "TAG", default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) image_tag: String,
}

impl Images {
    /// The image of this name.
    pub(crate) fn of(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.registry, self.image_tag)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Look whether the mesh can be installed
    #[arg(long)]
    pub(crate) pre: bool,
    /// Context of the kubeconfig; by default the current one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// For people or for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) from: From,
    /// Ask every replica of the cluster's control plane
    #[arg(long, conflicts_with_all = ["admin", "pod"])]
    pub(crate) control_plane: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Endpoints {
    /// The service: NAME, NAMESPACE/NAME or NAME.NAMESPACE
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) from: From,
}

/// Whom to ask and how to print the answer.
#[derive(Debug, Args)]
pub(crate) struct From {
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// For people or for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// Admin address of a proxy or a control plane, as it prints it at its start: `listening admin ADDR`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19020")]
    pub(crate) admin: AdminAddr,
    /// Ask the sidecar of this pod of the cluster: NAME, or NAMESPACE/NAME
    #[arg(long, value_name = "POD", conflicts_with = "admin")]
    pub(crate) pod: Option<PodRef>,
    /// Context of the kubeconfig, for asking a cluster; by default the current one
    #[arg(long, value_name = "NAME", conflicts_with = "admin")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

/// It needs no root and no cluster: control plane, sidecar and backends run on loopback, and end with the demo.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Print one JSON object as the last line of stdout; what people read goes to stderr
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each phase is watched
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) seconds_per_phase: Duration,
    /// Leave everything running at the end, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Shorter phases prove nothing, longer ones are a slip of the finger.
const PHASE_SECONDS: std::ops::RangeInclusive<f64> = 0.1..=600.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 2 or 0.5".to_owned())?;
    if !PHASE_SECONDS.contains(&seconds) {
        return Err(format!("expected {} to {} seconds", PHASE_SECONDS.start(), PHASE_SECONDS.end()));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// What is printed is what was written: whatever it does not name may change with the version.
fn resources(text: &str) -> Result<String, String> {
    text.parse::<Resources>().map(|_| text.to_owned())
}

fn json_object(text: &str) -> Result<String, String> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(text.to_owned()),
        Ok(_) => Err("expected a JSON object, such as {\"key\": \"path\"}".to_owned()),
        Err(error) => Err(format!("expected a JSON object, such as {{\"key\": \"path\"}}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, json_object, seconds};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_configuration_is_an_object() {
        assert_eq!(json_object(r#"{"a": [1]}"#).unwrap(), r#"{"a": [1]}"#);
        for text in ["", "1", "[]", "{", "path"] {
            assert!(json_object(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn phases_have_a_sensible_length() {
        assert_eq!(seconds("0.5").unwrap().as_millis(), 500);
        for text in ["", "0", "-1", "601", "NaN", "inf", "soon"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }
}
