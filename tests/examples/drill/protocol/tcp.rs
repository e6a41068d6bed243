//! Plain TCP: three rounds of talk, then both sides end.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

use super::{GARBAGE, broken, note, patiently};
use crate::{
    endpoint::{Mood, Shared},
    ledger::{Id, Ledger, Place},
};

const ROUNDS: usize = 3;

pub(super) async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut last = None;
    for round in 1.. {
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            // An answer is whole when its end is one.
            last.into_iter().for_each(|id| shared.ledger.answered(id, shared.place));
            return Ok(());
        }
        let id = line.trim().parse().map_err(io::Error::other)?;
        shared.ledger.got(id);
        shared.think().await;
        match shared.mood() {
            Mood::Closing => return Ok(()),
            Mood::Garbage => {
                writer.write_all(GARBAGE).await?;
                return Ok(());
            }
            Mood::Breaking => return Err(broken()),
            _ => writer.write_all(format!("{id} {}\n", shared.place).as_bytes()).await?,
        }
        last = (round == ROUNDS).then_some(id);
    }
    Ok(())
}

/// The numbers of the requests in these bytes.
pub(super) fn ids(bytes: &[u8]) -> Vec<Id> {
    String::from_utf8_lossy(bytes).lines().filter_map(|line| line.parse().ok()).collect()
}

pub(super) async fn ask(to: SocketAddr, pause: Duration, ledger: &Ledger) {
    while let Some(id) = ledger.begin() {
        note(ledger, id, patiently("TCP", exchange(to, id)).await);
        sleep(pause).await;
    }
}

async fn exchange(to: SocketAddr, id: Id) -> Result<Place, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut stream = BufReader::new(TcpStream::connect(to).await.map_err(failed("connect"))?);
    let _ = stream.get_ref().set_nodelay(true);
    let mut by = None;
    for _ in 0..ROUNDS {
        stream.write_all(format!("{id}\n").as_bytes()).await.map_err(failed("write"))?;
        let mut line = String::new();
        if stream.read_line(&mut line).await.map_err(failed("read"))? == 0 {
            return Err("closed in the middle".to_owned());
        }
        let place = super::place_of(&line, id)?;
        if *by.get_or_insert(place) != place {
            return Err("another endpoint in the middle".to_owned());
        }
    }
    stream.shutdown().await.map_err(failed("shutdown"))?;
    let rest = stream.read_to_end(&mut Vec::new()).await.map_err(failed("end"))?;
    match by {
        Some(by) if rest == 0 => Ok(by),
        _ => Err("more than was said".to_owned()),
    }
}
