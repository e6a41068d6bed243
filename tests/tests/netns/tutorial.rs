//! docs/policies/tutorial.md, word for word: its commands, in a namespace where its ports are free.

use std::{fs, path::Path, process::Command};

use wasmesh_tests::{
    netns::Netns,
    process::{binary, command_line},
};

/// What stands between the fences of shell commands.
fn commands(page: &str) -> Vec<&str> {
    page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_tutorial_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/policies/tutorial.md")).expect("the tutorial");
    let folder = tempfile::tempdir().expect("a folder");
    let work = folder.path().join("tutorial").display().to_string();
    // Each binary is built once, here, and stands where the page would have it.
    let programs = binary("wasmesh-proxy").parent().expect("a folder").to_owned();
    assert_eq!(command_line().parent(), Some(&*programs));
    fetch_what_a_project_needs(&command_line(), folder.path());
    let steps = commands(&page);
    assert!(steps.len() >= 9, "{} steps", steps.len());
    let mut script = "set -m\n".to_owned();
    for (number, step) in steps.into_iter().enumerate() {
        let step = step
            .replace("cargo build -p wasmesh -p wasmesh-proxy -p wasmesh-control-plane\n", "")
            .replace("$PWD/target/debug", &programs.display().to_string())
            .replace("/tmp/tutorial", &work);
        script += &format!("echo \"== {}\"\n{step}\n", number + 1);
    }
    // Whatever it has begun ends with the namespace of processes.
    let netns = Netns::default();
    let mut shell = netns.command("unshare");
    shell.args(["--pid", "--fork", "--mount-proc", "timeout", "600", "bash", "-c", &script]).current_dir(&root);
    shell.env("CARGO_NET_OFFLINE", "true");
    let output = shell.output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let step =
        |number: usize| said.split("== ").find(|part| part.starts_with(&format!("{number}\n"))).unwrap_or_default();
    let lines = |number: usize, line: &str| step(number).lines().filter(|said| *said == line).count();
    let check = |holds: bool, what: &str| assert!(holds, "{what}: {said}\n{errors}");

    let answers = |number| ["small-1", "small-2", "large-1"].map(|name| lines(number, name));
    check(answers(2).iter().sum::<usize>() == 6 && lines(2, "large-1") < 6, "the built-in policy answers from all");
    check(step(3).contains("5 cases, 0 failed"), "the policy to begin with holds its cases");
    check(step(5).contains("3 cases, 0 failed") && step(5).contains("It may serve."), "one's own policy does too");
    check(step(6).contains("ns"), "a pick has a cost");
    check(answers(7)[2] == 3 && answers(7)[0] + answers(7)[1] == 3, "gold gets the large one, others the small ones");
    check(step(8).contains("header:x-plan=17b642") && step(8).contains("gold"), "picks are explained");
    check(step(9).contains(r#"reason="gold"} "#), "reasons are metrics");
    check(step(10).contains("20 picks, all decided the same"), "a recording replays");
    check(
        answers(11).iter().sum::<usize>() == 6 && step(11).contains("quarantined"),
        "a policy that traps costs nothing",
    );
}

/// There is no network in the namespace.
fn fetch_what_a_project_needs(wasmesh: &Path, folder: &Path) {
    let ran = |command: &mut Command| assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
    ran(Command::new(wasmesh).args(["policy", "new", "fetched", "--lang", "rust"]).current_dir(folder));
    ran(Command::new("cargo").args(["fetch", "--quiet"]).current_dir(folder.join("fetched")));
}

#[test]
fn a_page_has_its_commands() {
    assert_eq!(commands("a\n```sh\nb\nc\n```\n```yaml\nd\n```\n```sh\ne\n```"), ["b\nc\n", "e\n"]);
}
