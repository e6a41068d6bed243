//! Many connections that stand still, so that what they need of a proxy's memory can be read.
//!
//! Prints `idle` when each of them has had an answer and nothing is asked on it, `active` when a request is under way on
//! each, `answered` when these have been answered, and waits for a line before each next step. It ends with stdin.

use std::{
    io::{self, BufRead, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::load::{answer::Answer, answer::Shape, say};

/// Nobody needs as long as this for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where connections go to, and who holds their requests there.
pub(crate) fn run(to: &[SocketAddr], backends: &[SocketAddr], connections: usize) -> Result<()> {
    let mut streams = Vec::with_capacity(connections);
    for to in to.iter().cycle().take(connections) {
        let mut stream = connect(*to)?;
        exchange(&mut stream, "/").with_context(|| format!("connection {} to {to}", streams.len() + 1))?;
        streams.push(stream);
    }
    wait_after("idle")?;
    streams.iter_mut().try_for_each(|stream| ask(stream, "/hold"))?;
    until_held(backends, connections)?;
    wait_after("active")?;
    for backend in backends {
        exchange(&mut connect(*backend)?, "/release")?;
    }
    streams.iter_mut().try_for_each(|stream| answered(stream).map(drop))?;
    wait_after("answered")
}

fn wait_after(what: &str) -> Result<()> {
    say(what)?;
    ensure!(io::stdin().lock().read_line(&mut String::new())? > 0, "nobody says how to go on");
    Ok(())
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, path: &str) -> Result<()> {
    Ok(stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?)
}

fn exchange(stream: &mut TcpStream, path: &str) -> Result<()> {
    ask(stream, path)?;
    answered(stream)
}

fn answered(stream: &mut TcpStream) -> Result<()> {
    let mut answer = Answer::new(Shape::Http { body: 1024 });
    let mut scratch = [0; 4096];
    loop {
        let length = stream.read(&mut scratch)?;
        ensure!(length > 0, "closed before the answer was complete");
        if answer.feed(&scratch[..length]).map_err(anyhow::Error::msg)?.is_some() {
            return Ok(());
        }
    }
}

/// Until all requests have reached the backends.
fn until_held(backends: &[SocketAddr], all: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let held = backends.iter().map(|backend| held(*backend)).sum::<Result<usize>>()?;
        if held == all {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("{held} of {all} requests have reached the backends");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn held(backend: SocketAddr) -> Result<usize> {
    let mut stream = connect(backend)?;
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    let text = String::from_utf8_lossy(&answer[..length]);
    let (_, number) = text.split_once("\r\n\r\n").context("no answer")?;
    Ok(number.parse()?)
}
