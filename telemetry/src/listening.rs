//! How whoever starts a binary with port 0 learns its ports: one line per listener, `listening NAME ADDR`, on stdout.
//!
//! The line is a contract: tests, the demo and scripts read it. Nothing else that a long-running binary prints on
//! stdout starts with `listening`.

use std::io::{self, Write};
use std::net::SocketAddr;

const VERB: &str = "listening";

/// Says that `name` (one word: `admin`, `discovery`, `outbound`, …) now listens on `addr`.
///
/// Call it once connections are accepted by the kernel, that is after `bind` and `listen`. A closed stdout is no error:
/// then nobody wanted to know.
pub fn announce(name: &str, addr: SocketAddr) {
    debug_assert!(!name.contains(char::is_whitespace), "the name of a listener is one word: {name:?}");
    if let Err(error) = print(&mut io::stdout().lock(), name, addr) {
        tracing::debug!("could not announce {name} on stdout: {error}");
    }
}

/// Reads such a line; `None` if it is any other.
#[must_use]
pub fn parse(line: &str) -> Option<(&str, SocketAddr)> {
    let mut words = line.split_whitespace();
    let (verb, name, addr) = (words.next()?, words.next()?, words.next()?);
    let sentence = verb == VERB && words.next().is_none();
    sentence.then_some(name).zip(addr.parse().ok())
}

/// Flushed at once: behind a pipe stdout may keep the line until the process ends.
fn print(out: &mut impl Write, name: &str, addr: SocketAddr) -> io::Result<()> {
    writeln!(out, "{VERB} {name} {addr}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::{parse, print};

    #[test]
    fn what_is_announced_is_what_is_parsed() {
        for addr in ["127.0.0.1:19020", "[::1]:19001", "[fe80::1%2]:80"] {
            let addr = addr.parse().unwrap();
            let mut line = Vec::new();
            print(&mut line, "admin", addr).unwrap();
            assert_eq!(parse(std::str::from_utf8(&line).unwrap()), Some(("admin", addr)));
        }
    }

    #[test]
    fn other_lines_are_not_ports() {
        for line in ["", "listening", "listening admin", "listening admin soon", "listening admin 1.2.3.4:5 now"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
        assert_eq!(parse("heard admin 127.0.0.1:1"), None);
    }
}
