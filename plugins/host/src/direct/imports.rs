//! The imports of a core module, answered natively.
#![allow(clippy::needless_pass_by_value, reason = "wasmtime hands a caller over by value")]

use wasmtime::{AsContext, Caller, Engine, Linker, Module, Trap};

use super::abi::{self, Abi};
use crate::{contract::Name, fault::BadAnswer, log::LogLevel, state::State};

type Result<T> = wasmtime::Result<T>;

/// A linker that has what a module imports.
pub(super) fn linker(engine: &Engine, module: &Module) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for import in module.imports() {
        let (interface, function) = (import.module(), import.name());
        let Name::Ours(name) = Name::parse(interface) else {
            continue;
        };
        // What is not known stays undefined, and instantiation says so.
        match (name, function) {
            ("stats", "in-flight") => linker.func_wrap(interface, function, in_flight)?,
            ("stats", "total-in-flight") => linker.func_wrap(interface, function, total_in_flight)?,
            ("stats", "latency-us") => linker.func_wrap(interface, function, latency_us)?,
            ("stats", "failure-rate") => linker.func_wrap(interface, function, failure_rate)?,
            ("stats", "available") => linker.func_wrap(interface, function, available)?,
            ("stats", "reported") => linker.func_wrap(interface, function, reported)?,
            ("stats", "peers") => linker.func_wrap(interface, function, peers)?,
            ("request-info", "text") => linker.func_wrap(interface, function, text)?,
            ("request-info", "body") => linker.func_wrap(interface, function, body)?,
            ("request-info", "deadline-ms") => linker.func_wrap(interface, function, deadline_ms)?,
            ("log", "write") => linker.func_wrap(interface, function, write)?,
            _ => continue,
        };
    }
    Ok(linker)
}

fn in_flight(caller: Caller<'_, State>, endpoint: u32) -> u32 {
    caller.data().in_flight(endpoint)
}

fn total_in_flight(caller: Caller<'_, State>) -> u32 {
    caller.data().total_in_flight()
}

fn latency_us(caller: Caller<'_, State>, endpoint: u32) -> u32 {
    caller.data().latency_us(endpoint)
}

fn failure_rate(caller: Caller<'_, State>, endpoint: u32) -> u32 {
    caller.data().failure_rate(endpoint)
}

fn available(caller: Caller<'_, State>, endpoint: u32) -> u32 {
    u32::from(caller.data().available(endpoint))
}

fn reported(caller: Caller<'_, State>, endpoint: u32, want: u32) -> u32 {
    caller.data().reported(endpoint, want)
}

fn peers(caller: Caller<'_, State>) -> u32 {
    caller.data().peers()
}

fn deadline_ms(caller: Caller<'_, State>) -> u32 {
    caller.data().deadline_ms()
}

/// `option<string>` at `answer`: whether there is one, a pointer, a length.
fn text(mut caller: Caller<'_, State>, want: u32, answer: u32) -> Result<()> {
    with_abi(&mut caller, |caller, abi| {
        // Taken out for as long as the guest's allocator runs, which might look at the request itself.
        let Some(text) = caller.data_mut().take_text(want) else {
            abi::area(abi.memory.data_mut(caller), answer, 4, 12)?[0] = 0;
            return Ok(());
        };
        let copied = charge(caller, text.len()).and_then(|()| abi.copy_in(caller, text.as_bytes()));
        caller.data_mut().put_text_back(want, text);
        let (pointer, len) = copied?;
        let area = abi::area(abi.memory.data_mut(caller), answer, 4, 12)?;
        area[0] = 1;
        write_pair(&mut area[4..], pointer, len);
        Ok(())
    })
}

/// `list<u8>` at `answer`: a pointer, a length.
fn body(mut caller: Caller<'_, State>, answer: u32) -> Result<()> {
    with_abi(&mut caller, |caller, abi| {
        let body = caller.data().body().clone();
        charge(caller, body.len())?;
        let (pointer, len) = abi.copy_in(caller, &body)?;
        write_pair(abi::area(abi.memory.data_mut(caller), answer, 4, 8)?, pointer, len);
        Ok(())
    })
}

fn write(mut caller: Caller<'_, State>, level: u32, pointer: u32, len: u32) -> Result<()> {
    let level = match level {
        0 => LogLevel::Error,
        1 => LogLevel::Warn,
        2 => LogLevel::Info,
        3 => LogLevel::Debug,
        _ => return Err(BadAnswer(format!("log level {level}")).into()),
    };
    if !caller.data().wants_log(level) {
        return Ok(());
    }
    with_abi(&mut caller, |caller, abi| {
        let line = abi::string(abi.memory.data(caller.as_context()), pointer, len)?;
        caller.data().log(level, line);
        charge(caller, len as usize)
    })
}

/// Takes fuel for bytes that the host moves for the guest: moving so many takes as long as one instruction.
const BYTES_PER_FUEL: u64 = 16;

fn charge(caller: &mut Caller<'_, State>, bytes: usize) -> Result<()> {
    match caller.get_fuel()?.checked_sub(bytes as u64 / BYTES_PER_FUEL) {
        Some(left) => caller.set_fuel(left),
        None => Err(Trap::OutOfFuel.into()),
    }
}

/// Lends what reaches into the guest's memory.
///
/// It is away while the guest's allocator runs on behalf of an import, so an allocator that calls imports of this kind
/// finds nothing there; the component model does not allow that either. Nor is it there while the module's start
/// function runs, which has no memory that anybody could know yet.
fn with_abi<'a>(
    caller: &mut Caller<'a, State>,
    run: impl FnOnce(&mut Caller<'a, State>, &Abi) -> Result<()>,
) -> Result<()> {
    let abi = caller.data_mut().abi.take();
    let abi = abi.ok_or_else(|| BadAnswer("an import is called at a time when that is not allowed".to_owned()))?;
    let answer = run(caller, &abi);
    caller.data_mut().abi = Some(abi);
    answer
}

fn write_pair(area: &mut [u8], pointer: u32, len: u32) {
    area[..4].copy_from_slice(&pointer.to_le_bytes());
    area[4..8].copy_from_slice(&len.to_le_bytes());
}
