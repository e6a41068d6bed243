//! What policies cost: `cargo run --release -p wasmesh-policy-host --example pick -- FILE...`
#![allow(clippy::unwrap_used, reason = "a measurement stops where something is wrong")]

use std::{hint::black_box, path::Path, time::Instant};

use wasmesh_policy_host::{
    About, Calls, Compiler, EndpointView, Health, Host, HostOptions, Instance, Keys, NoSource, NoStats, Policy,
    Request, Settings,
};

fn main() {
    let files: Vec<_> = std::env::args().skip(1).collect();
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>11} {:>11} {:>9}",
        "policy", "path", "pick ns", "p99 ns", "compile ms", "rebuild us", "KiB"
    );
    for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
        let host = Host::start(HostOptions { calls, ..HostOptions::new(Compiler::InProcess) }).unwrap();
        for file in &files {
            measure(&host, Path::new(file));
        }
    }
}

fn measure(host: &Host, file: &Path) {
    let module = host.load(&std::fs::read(file).unwrap()).unwrap();
    let policy = Policy::prepare(&module, Settings::default(), &About::default()).unwrap();
    let mut instance = policy.instance(&About::default()).unwrap();
    update(&mut instance, 100);
    let (pick, slow) = picks(&mut instance);
    let rebuild = best(40, || update(&mut policy.instance(&About::default()).unwrap(), 1000)) / 1000.0;
    let revive = best(40, || {
        let snapshot = instance.snapshot();
        if let Some(snapshot) = snapshot {
            update(&mut policy.revive(&About::default(), &snapshot).unwrap(), 1000);
        }
    }) / 1000.0;
    let fresh = best(40, || drop(policy.instance(&About::default()).unwrap())) / 1000.0;
    let taken = best(40, || drop(instance.snapshot())) / 1000.0;
    let before = resident_kib();
    let many: Vec<_> = (0..64)
        .map(|_| {
            let mut instance = policy.instance(&About::default()).unwrap();
            update(&mut instance, 10);
            instance
        })
        .collect();
    let kib = (resident_kib() - before) / many.len() as f64;
    println!(
        "{:<24} {:>9} {pick:>9.1} {slow:>9.1} {:>11.1} {rebuild:>11.1} {kib:>9.1}  fresh {fresh:.1} us, snapshot {taken:.1} us, snapshot+revive+update {revive:.1} us",
        file.file_stem().unwrap_or_default().to_string_lossy(),
        module.path(),
        module.compile_time().as_secs_f64() * 1000.0,
    );
}

/// Median and 99th percentile of batches of picks, in nanoseconds a pick.
fn picks(instance: &mut Instance) -> (f64, f64) {
    let mut random = 1_u64;
    let mut batches: Vec<f64> = (0..400)
        .map(|_| {
            let begin = Instant::now();
            for number in 0..2000 {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let keys = Keys { hashes: [random, 0, 0, 0], present: 1 };
                let request = Request { keys, random, now_ms: number, ..Request::default() };
                black_box(instance.pick(&request, &NoSource).unwrap());
            }
            begin.elapsed().as_nanos() as f64 / 2000.0
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    (batches[200], batches[395])
}

/// Median of some runs, in nanoseconds.
fn best(runs: usize, mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_nanos() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn update(instance: &mut Instance, count: u32) {
    let endpoints: Vec<_> = (0..count).map(endpoint).collect();
    instance.update(1, 1, &endpoints, Box::new(NoStats)).unwrap();
}

fn endpoint(number: u32) -> EndpointView<'static> {
    let [_, high, middle, low] = number.to_be_bytes();
    EndpointView {
        id: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        address: ([10, high, middle, low], 8080).into(),
        weight: 1,
        priority: 0,
        zone: "eu-central-1a",
        node: "ip-10-0-0-1",
        health: Health::Healthy,
        ready_ms: 0,
        labels: &[],
    }
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}
