//! Compiling in a process of its own, whose end is nobody else's.
//!
//! The child gets limits and module through its standard input, and answers through its standard output with the
//! artefact or with what is wrong; its exit code says which. So nothing has to be written anywhere for it, nothing is
//! left behind when it is killed, and nobody can put anything else in the artefact's place.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitCode, Output, Stdio},
    sync::mpsc,
    thread,
};

use wasmtime::Engine;

use super::{
    Artefact, Calls, CompileLimits, compile,
    container::Container,
    limits,
    warden::{Warden, Watch},
};
use crate::{engine, error::ModuleError, text};

/// Exit codes of the child, apart from 0.
const INVALID: u8 = 10;
const CONTRACT: u8 = 11;
const FAILED: u8 = 12;

/// The longest text of an error, in bytes.
const MAX_WORDS_BYTES: usize = 4096;
/// Address space, CPU seconds, bytes of the module, how it is to be called.
const HEADER: usize = 25;

/// Machine code is at most so many times as large as the module that it is made of, as a rule.
const MACHINE_CODE: usize = 4;

/// Signals, by their numbers on Linux.
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// Compiles in a child process and waits for it.
pub(crate) fn compile_in_child(
    engine: &Engine,
    (program, args): (&Path, &[OsString]),
    wasm: &[u8],
    calls: Calls,
    limits: CompileLimits,
) -> Result<Artefact, ModuleError> {
    let (limits, room) = within_room(wasm.len(), limits)?;
    let failed = |error: io::Error| ModuleError::Compiler(format!("{}: {error}", program.display()));
    let (output, watch) = run(program, args, &header(calls, limits, wasm.len()), wasm).map_err(failed)?;
    if watch == Watch::OutOfMemory {
        let available_mib = room.unwrap_or_default() >> 20;
        return Err(ModuleError::NoRoom { available_mib, needed_mib: available_mib + 1 });
    }
    if !output.status.success() {
        return Err(failure(&output, limits));
    }
    Artefact::from_bytes(output.stdout, engine::compatibility(engine)).ok_or_else(|| {
        let program = program.display();
        ModuleError::Compiler(format!("{program} answered something else than an artefact: is it another version?"))
    })
}

/// The whole life of a compiling process: reads a module from standard input, writes an artefact to standard output.
///
/// Puts limits on its own process first, so nothing else can be done in it afterwards.
pub fn compile_child_main() -> ExitCode {
    let (code, words) = match serve(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(ModuleError::Contract(words)) => (CONTRACT, words),
        Err(ModuleError::Invalid(words)) => (INVALID, words),
        Err(error) => (FAILED, error.to_string()),
    };
    // If nobody reads it, the exit code has to do.
    let _ = io::stdout().write_all(text::cut(&words, MAX_WORDS_BYTES).as_bytes());
    ExitCode::from(code)
}

fn serve(input: &mut impl Read, output: &mut impl Write) -> Result<(), ModuleError> {
    let failed = |error: io::Error| ModuleError::Compiler(error.to_string());
    let mut header = [0; HEADER];
    input.read_exact(&mut header).map_err(failed)?;
    let (calls, limits, length) = read_header(&header);
    limits.impose().map_err(failed)?;
    // No more than it needs: memory that grows by doubling is half of it for nothing.
    let mut wasm = Vec::with_capacity(length);
    input.read_to_end(&mut wasm).map_err(failed)?;
    let engine = engine::engine().map_err(|error| ModuleError::Compiler(format!("{error:#}")))?;
    let artefact = compile(&engine, wasm.into(), calls)?;
    artefact.write_to(output, engine::compatibility(&engine)).map_err(failed)
}

fn header(calls: Calls, limits: CompileLimits, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&limits.address_space.to_le_bytes());
    header[8..16].copy_from_slice(&limits.cpu_seconds.to_le_bytes());
    header[16..24].copy_from_slice(&(length as u64).to_le_bytes());
    header[24] = u8::from(calls == Calls::AsComponents);
    header
}

fn read_header(header: &[u8; HEADER]) -> (Calls, CompileLimits, usize) {
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let calls = if header[24] == 1 { Calls::AsComponents } else { Calls::DirectIfPossible };
    (calls, CompileLimits { address_space: number(0), cpu_seconds: number(8) }, number(16) as usize)
}

/// The limits, lowered to what the container has left: a child that is denied memory gives up, one that takes more than
/// there is has the kernel end the whole container.
fn within_room(module_bytes: usize, limits: CompileLimits) -> Result<(CompileLimits, Option<u64>), ModuleError> {
    let needed = limits::needed(module_bytes);
    let room = Container::of_this_process().memory_left();
    match room {
        Some(available) if available < needed => {
            Err(ModuleError::NoRoom { available_mib: available >> 20, needed_mib: needed >> 20 })
        }
        Some(available) => Ok((CompileLimits { address_space: limits.address_space.min(available), ..limits }, room)),
        None => Ok((limits, None)),
    }
}

/// Runs the child to its end.
fn run(program: &Path, args: &[OsString], header: &[u8], wasm: &[u8]) -> io::Result<(Output, Watch)> {
    let mut command = Command::new(program);
    // What the allocator keeps for later, a third of all, is given back at once: there is no later.
    command.env("MIMALLOC_PURGE_DELAY", "0");
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    let warden = Warden::of(&child);
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        let watching = warden.map(|warden| scope.spawn(move || warden.run(&is_done)));
        // Written from beside: a child that talks before it has read everything must not wait for us while we wait for it.
        scope.spawn(|| {
            if let Some(mut stdin) = stdin {
                // A child that does not want to read more has a reason, and says it.
                let _ = stdin.write_all(header).and_then(|()| stdin.write_all(wasm));
            }
        });
        let heard = listen(&mut child, MACHINE_CODE * wasm.len());
        drop(done);
        // A warden that has failed has ended nobody. It ends before the child is waited for: then its number may be somebody else's.
        let watch = watching.and_then(|watching| watching.join().ok()).unwrap_or(Watch::Over);
        let status = child.wait()?;
        let (stdout, stderr) = heard?;
        let output = Output { status, stdout, stderr };
        Ok((output, watch))
    })
}

/// All that a child says on both of its outputs, to their ends. Nothing is copied while there are no more bytes of it than expected.
fn listen(child: &mut Child, expected: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let errors = scope.spawn(move || {
            let mut errors = Vec::new();
            stderr.map(|mut stderr| stderr.read_to_end(&mut errors)).transpose().map(|_| errors)
        });
        // What is not written to is no memory yet.
        let mut answer = Vec::with_capacity(expected);
        let read = stdout.map(|mut stdout| stdout.read_to_end(&mut answer)).transpose();
        let errors = errors.join().unwrap_or_else(|_| Ok(Vec::new()));
        read?;
        Ok((answer, errors?))
    })
}

/// What the end of a child means that has not compiled.
fn failure(output: &Output, limits: CompileLimits) -> ModuleError {
    let words = |bytes: &[u8]| text::line(String::from_utf8_lossy(bytes).trim(), MAX_WORDS_BYTES);
    let CompileLimits { address_space, cpu_seconds } = limits;
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) if code == i32::from(INVALID) => ModuleError::Invalid(words(&output.stdout)),
        (Some(code), _) if code == i32::from(CONTRACT) => ModuleError::Contract(words(&output.stdout)),
        (Some(code), _) if code == i32::from(FAILED) => ModuleError::Compiler(words(&output.stdout)),
        (_, Some(SIGXCPU)) => ModuleError::CompileLimit(format!("{cpu_seconds} s of CPU time")),
        (_, Some(SIGABRT)) => ModuleError::CompileLimit(format!("{} MiB of address space", address_space >> 20)),
        (_, Some(SIGKILL)) => ModuleError::CompileLimit("killed, as a rule because memory is short".to_owned()),
        (code, signal) => {
            let end = code.map_or_else(|| format!("signal {signal:?}"), |code| format!("exit code {code}"));
            ModuleError::Compiler(format!("the compiling process ended with {end}: {}", words(&output.stderr)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_were_written() {
        let limits = CompileLimits { address_space: 123 << 40, cpu_seconds: 7 };
        for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
            assert_eq!(read_header(&header(calls, limits, 5)), (calls, limits, 5));
        }
    }
}
