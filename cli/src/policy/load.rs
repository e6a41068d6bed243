//! From a file to a policy that may serve, with errors in the words of whoever has written it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, anyhow, bail, ensure};
use wasmesh_policy_host::{About, Calls, Compiler, Grants, Host, HostOptions, ModuleError, Policy, Settings};

/// Loads a policy as a sidecar does: compiled in a child process with limits, then tried. It may do whatever a policy
/// object could allow it.
pub(super) fn load(file: &Path, config: &str, calls: Calls) -> anyhow::Result<Arc<Policy>> {
    load_for(file, config, calls, Grants::ALL, 1)
}

/// The same with these permissions, for so many sidecars' instances.
pub(super) fn load_for(
    file: &Path,
    config: &str,
    calls: Calls,
    grants: Grants,
    sidecars: usize,
) -> anyhow::Result<Arc<Policy>> {
    load_with(file, Settings { config: config.to_owned(), grants, ..Settings::default() }, calls, sidecars, &about())
}

/// The same with these settings, tried at this place.
pub(super) fn load_with(
    file: &Path,
    settings: Settings,
    calls: Calls,
    sidecars: usize,
    about: &About,
) -> anyhow::Result<Arc<Policy>> {
    let wasm = read(file, HostOptions::DEFAULT_MAX_MODULE_BYTES)?;
    let program = std::env::current_exe().context("cannot find out where this binary is")?;
    let compiler = Compiler::Child { program, args: vec!["compile-policy".into()] };
    let max_memory_bytes = HostOptions::DEFAULT_MAX_MEMORY_BYTES.saturating_mul(sidecars);
    let host = Host::start(HostOptions { calls, max_memory_bytes, ..HostOptions::new(compiler) })?;
    let module = host.load(&wasm).map_err(|error| explained(file, &error))?;
    Policy::prepare(&module, settings, about).with_context(|| format!("{} may not serve", file.display()))
}

/// Where a policy on its author's desk is told to be.
pub(super) fn about() -> About {
    let here = [
        ("zone", "zone-a"),
        ("node", "node-1"),
        ("namespace", "default"),
        ("proxy", "desk"),
        ("worker", "0"),
        ("workers", "1"),
        ("service", "web.default"),
        ("port", "80"),
    ];
    About(here.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// The largest text that is read: a scenario, or cases.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Reads what an author has written.
///
/// # Errors
/// It cannot be read, or is too large to have been written by anybody.
pub(super) fn read_text(file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let mut text = String::new();
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    opened.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
    ensure!(text.len() as u64 <= MAX_TEXT_BYTES, "{name} is too large: more than {MAX_TEXT_BYTES} bytes");
    Ok(text)
}

/// No more than a byte over the limit is read: a file that was mistaken for a policy may be of any size.
fn read(file: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let name = file.display();
    let metadata = fs::metadata(file).with_context(|| format!("cannot read {name}"))?;
    ensure!(metadata.is_file(), "{name} is not a file: give the path of a policy, such as target/policy.wasm");
    let mut wasm = Vec::new();
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    opened.take(max as u64 + 1).read_to_end(&mut wasm).with_context(|| format!("cannot read {name}"))?;
    if wasm.len() > max {
        bail!(
            "{name} is too large: {} bytes, and sidecars take {max}. Build it for size, and strip names and debug \
             information",
            metadata.len()
        );
    }
    Ok(wasm)
}

fn explained(file: &Path, error: &ModuleError) -> anyhow::Error {
    let name = file.display();
    match error {
        ModuleError::CoreModule => anyhow!(
            "{name} is a core module, not a component: `wasmesh policy build {name} -o COMPONENT.wasm` makes one of it"
        ),
        ModuleError::ForeignImport { name: import } if import.starts_with("wasi:") => anyhow!(
            "{name}: {error}. `wasmesh policy build {name} -o COMPONENT.wasm` answers WASI inside, with constants"
        ),
        ModuleError::NotWasm { .. } => anyhow!("{name} is {error}"),
        _ => anyhow!("{name}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_too_large_is_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 10]).unwrap();
        assert_eq!(read(file.path(), 10).unwrap().len(), 10);
        let error = read(file.path(), 9).unwrap_err().to_string();
        assert!(error.contains("too large: 10 bytes, and sidecars take 9"), "{error}");
    }
}
