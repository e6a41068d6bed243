//! Logs: one compact line per event, on stderr, because stdout belongs to what a command prints for its caller.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The environment variable with the filter, in the syntax of `tracing`: `debug`, `info,wasmesh_proxy=trace`, …
pub const FILTER_VARIABLE: &str = "WASMESH_LOG";

/// Starts logging, with `default` as the filter where `WASMESH_LOG` says nothing.
///
/// A second call, or one after a test has set up its own logs, changes nothing. A filter that does not parse is
/// reported and `default` serves: a typo in a variable must not keep a sidecar from starting.
pub fn init(default: &str) {
    let (filter, mistake) = filter(std::env::var(FILTER_VARIABLE).ok().as_deref(), default);
    let started = tracing_subscriber::fmt()
        .compact()
        .with_writer(std::io::stderr)
        .with_ansi(colours())
        .with_env_filter(filter)
        .try_init()
        .is_ok();
    if let (true, Some(mistake)) = (started, mistake) {
        tracing::warn!("{FILTER_VARIABLE} is ignored, {default} is used: {mistake}");
    }
}

/// Colours are for people: on a terminal, unless they asked for none (<https://no-color.org>).
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

fn filter(wish: Option<&str>, default: &str) -> (EnvFilter, Option<ParseError>) {
    match wish.filter(|wish| !wish.trim().is_empty()).map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(mistake)) => (EnvFilter::new(default), Some(mistake)),
        None => (EnvFilter::new(default), None),
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[track_caller]
    fn check(wish: Option<&str>, expected: &str, reported: bool) {
        let (filter, mistake) = filter(wish, "info");
        assert_eq!((filter.to_string().as_str(), mistake.is_some()), (expected, reported));
    }

    #[test]
    fn the_variable_decides_and_a_mistake_falls_back() {
        check(None, "info", false);
        check(Some(""), "info", false);
        check(Some("debug"), "debug", false);
        check(Some("warn,wasmesh_proxy=trace"), "wasmesh_proxy=trace,warn", false);
        check(Some("wasmesh=loud"), "info", true);
    }
}
