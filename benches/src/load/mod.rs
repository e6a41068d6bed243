//! A closed loop: each connection has one exchange under way, and begins the next when the answer is there, whole and
//! right. Or an open one: exchanges begin at their moments, on any free connection. Between the phases nothing is under
//! way, so that what the proxy used is exactly what the exchanges cost.

pub(crate) mod answer;
mod driver;
mod schedule;
mod tally;

use std::io::{self, BufRead, Read, Write};

use anyhow::{Result, ensure};

use crate::{Exchange, Load};
use driver::{Driver, Script};
use schedule::Pace;

const BULK: u32 = 64 * 1024;
const PING: u32 = 16;

/// Warms up, waits for the word, loads, reports, and keeps the connections until stdin ends.
pub(crate) fn run(load: &Load) -> Result<()> {
    ensure!(load.connections > 0, "no load without connections");
    let mut driver = Driver::new(script(load.exchange), &load.to, load.connections)?;
    let pace = load.rate.map_or(Pace::Closed, Pace::Open);
    driver.run(load.warm_up, pace)?;
    say("ready")?;
    io::stdin().lock().read_line(&mut String::new())?;
    let tally = driver.run(load.seconds, pace)?;
    say(&tally.report().to_string())?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn script(exchange: Exchange) -> Script {
    match exchange {
        Exchange::Http => Script {
            request: b"GET /bench HTTP/1.1\r\nHost: bench.default.svc.cluster.local\r\nUser-Agent: bench\r\n\
                Accept: */*\r\n\r\n"
                .to_vec(),
            answer: answer::Shape::Http { body: 1024 },
            fresh: false,
        },
        Exchange::Bulk => Script { request: message(BULK), answer: answer::Shape::Message(BULK), fresh: false },
        Exchange::Connect => Script { request: message(PING), answer: answer::Shape::Message(PING), fresh: true },
    }
}

fn message(length: u32) -> Vec<u8> {
    let mut message = vec![b'x'; length as usize];
    message[..4].copy_from_slice(&length.to_be_bytes());
    message
}

pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
