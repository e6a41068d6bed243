//! Compiling in a child process: this test runs itself as the child.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::{fs, path::PathBuf, process::ExitCode};

use support::{about, wasm};
use wasmesh_policy_host::{
    CallPath, Calls, CompileLimits, Compiler, Host, HostOptions, ModuleError, Policy, Settings, compile_child_main,
};

/// A name, and what is tested under it.
type Test = (&'static str, fn());

const TESTS: [Test; 6] = [
    ("a_child_compiles_what_the_parent_runs", a_child_compiles_what_the_parent_runs),
    ("a_child_over_its_limits_takes_nobody_along", a_child_over_its_limits_takes_nobody_along),
    ("a_child_that_is_none_is_told", a_child_that_is_none_is_told),
    ("what_is_no_component_is_told_by_the_child", what_is_no_component_is_told_by_the_child),
    ("what_was_compiled_once_is_not_compiled_again", what_was_compiled_once_is_not_compiled_again),
    ("a_cache_that_is_not_ours_is_left_alone", a_cache_that_is_not_ours_is_left_alone),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("compile-policy") {
        return compile_child_main();
    }
    for (name, test) in TESTS {
        println!("test {name} ...");
        test();
    }
    println!("{} passed", TESTS.len());
    ExitCode::SUCCESS
}

fn child() -> HostOptions {
    let program = std::env::current_exe().unwrap();
    HostOptions::new(Compiler::Child { program, args: vec!["compile-policy".into()] })
}

fn a_child_compiles_what_the_parent_runs() {
    for (calls, path) in [(Calls::DirectIfPossible, CallPath::Direct), (Calls::AsComponents, CallPath::Component)] {
        let host = Host::start(HostOptions { calls, ..child() }).unwrap();
        let module = host.load(&wasm("rust/least-request")).unwrap();
        assert_eq!((module.path(), module.why_component().is_some()), (path, calls == Calls::AsComponents));
        Policy::prepare(&module, Settings::default(), &about()).unwrap();
    }
}

fn a_child_over_its_limits_takes_nobody_along() {
    let limited = |compile_limits| Host::start(HostOptions { compile_limits, ..child() }).unwrap();
    let no_time = limited(CompileLimits { cpu_seconds: 1, ..CompileLimits::default() });
    // With all of Go's run time in it.
    let error = no_time.load(&wasm("go/round-robin")).err().unwrap();
    assert!(error.to_string().contains("1 s of CPU time"), "{error}");
    let no_memory = limited(CompileLimits { address_space: 1 << 20, ..CompileLimits::default() });
    let error = no_memory.load(&wasm("rust/least-request")).err().unwrap();
    assert!(matches!(error, ModuleError::CompileLimit(_) | ModuleError::Compiler(_)), "{error}");
}

fn a_child_that_is_none_is_told() {
    let load = |program: &str| {
        let compiler = Compiler::Child { program: PathBuf::from(program), args: Vec::new() };
        Host::start(HostOptions::new(compiler)).unwrap().load(&wasm("rust/least-request")).err().unwrap().to_string()
    };
    assert!(load("/nowhere").contains("/nowhere"));
    assert!(load("/bin/true").contains("another version"));
    assert!(load("/bin/false").contains("exit code 1"));
    assert!(load("/bin/cat").contains("another version"));
}

fn what_is_no_component_is_told_by_the_child() {
    let host = Host::start(child()).unwrap();
    let mut broken = wasm("rust/least-request");
    let middle = broken.len() / 2;
    broken[middle..middle + 64].fill(0xff);
    let error = host.load(&broken).err().unwrap();
    assert!(matches!(error, ModuleError::Invalid(_)), "{error}");
}

fn what_was_compiled_once_is_not_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let load = |compiler| {
        let host = Host::start(HostOptions { cache: Some(cache.clone()), ..HostOptions::new(compiler) }).unwrap();
        assert_eq!(host.cache_problem(), None);
        host.load(&wasm("rust/least-request"))
    };
    let no_compiler = || Compiler::Child { program: PathBuf::from("/nowhere"), args: Vec::new() };
    assert!(load(no_compiler()).is_err());
    load(child().compiler).unwrap();
    let module = load(no_compiler()).unwrap();
    Policy::prepare(&module, Settings::default(), &about()).unwrap();
    // A broken file is compiled anew.
    let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(load(no_compiler()).is_err());
    load(child().compiler).unwrap();
    load(no_compiler()).unwrap();
}

fn a_cache_that_is_not_ours_is_left_alone() {
    let options = HostOptions { cache: Some(PathBuf::from("/tmp")), ..child() };
    let host = Host::start(options).unwrap();
    assert!(host.cache_problem().unwrap().contains("0700"));
    host.load(&wasm("rust/least-request")).unwrap();
}
