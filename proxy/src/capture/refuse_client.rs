//! Tells the holder of the capture rules which destinations have nobody behind them.
//!
//! The proxy itself has no privilege. It works out the whole set from each world and sends it whenever it differs from
//! what the kernel has; how fast it is answered is how often it speaks. Nobody waits for any of this: while there is no
//! holder, the proxy refuses by itself, after the client's connect() has succeeded.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, sleep, timeout},
};
use wasmesh_core::{
    backoff::{Backoff, Jitter},
    capture::{
        RefuseSet,
        message::{HELLO, Refuse, Reply},
        refused_destinations,
    },
};

use super::events;
use crate::world::Worlds;

/// How long the holder may take to answer: it waits for the proxy's own listeners before it does anything.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// After how long a set that the kernel did not take is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// A connection that was answered and lived this long counts as a recovery.
const HEALTHY_AFTER: Duration = Duration::from_secs(1);

const CLOSED: &str = "capture has closed the connection";

/// Runs for ever.
pub async fn run(path: PathBuf, mut worlds: Worlds) {
    events::describe();
    let mut random = fastrand::Rng::new();
    let Ok(mut backoff) = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), Jitter::Equal) else {
        unreachable!("the bounds are constants in the right order");
    };
    let mut told = String::new();
    loop {
        let started = Instant::now();
        let (why, was_connected) = match UnixStream::connect(&path).await {
            Ok(stream) => Conversation::new(stream).hold(&path, &mut worlds).await,
            Err(error) => (format!("cannot connect to {}: {error}", path.display()), false),
        };
        events::disconnected(&why, was_connected, why != told);
        told = why;
        // A holder that is restarted was in order. One that throws its speaker out at once has another one, or is not.
        if was_connected && started.elapsed() > HEALTHY_AFTER {
            backoff.reset();
        }
        sleep(backoff.next(random.u64(..))).await;
    }
}

struct Conversation {
    replies: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    sequence: u64,
    answered: bool,
    /// What the kernel has.
    acknowledged: Option<RefuseSet>,
}

impl Conversation {
    fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { replies: BufReader::new(reader).lines(), writer, sequence: 0, answered: false, acknowledged: None }
    }

    /// Speaks until the connection ends; returns why it did, and whether there was ever an answer.
    async fn hold(mut self, path: &Path, worlds: &mut Worlds) -> (String, bool) {
        let why = self.speak(path, worlds).await;
        (why, self.answered)
    }

    async fn speak(&mut self, path: &Path, worlds: &mut Worlds) -> String {
        if let Err(error) = self.writer.write_all(format!("{HELLO}\n").as_bytes()).await {
            return error.to_string();
        }
        loop {
            let wanted = refused_destinations(&worlds.borrow_and_update().table);
            let up_to_date = self.acknowledged.as_ref() == Some(&wanted);
            if !up_to_date && let Err(why) = self.tell(wanted, path).await {
                return why;
            }
            tokio::select! {
                changed = worlds.changed() => if changed.is_err() {
                    return "the proxy is ending".to_owned();
                },
                said = self.replies.next_line() => return unasked(said),
                () = sleep(AGAIN), if self.acknowledged.is_none() => {}
            }
        }
    }

    async fn tell(&mut self, wanted: RefuseSet, path: &Path) -> Result<(), String> {
        self.sequence += 1;
        let message = Refuse { sequence: self.sequence, destinations: wanted };
        match timeout(REPLY_TIMEOUT, self.ask(&message)).await {
            Ok(Ok(Reply::Done(sequence))) if sequence == message.sequence => {
                if !std::mem::replace(&mut self.answered, true) {
                    events::connected(path);
                }
                events::acknowledged(&message.destinations);
                self.acknowledged = Some(message.destinations);
                Ok(())
            }
            Ok(Ok(Reply::Failed(sequence, why))) if sequence == message.sequence => {
                events::not_refused(&why);
                self.acknowledged = None;
                Ok(())
            }
            Ok(Ok(Reply::Error(why))) => Err(format!("capture does not understand: {why}")),
            Ok(Ok(reply)) => Err(format!("capture gives an answer to another question: {reply:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("capture does not answer within {REPLY_TIMEOUT:?}")),
        }
    }

    async fn ask(&mut self, message: &Refuse) -> io::Result<Reply> {
        self.writer.write_all(message.encode().as_bytes()).await?;
        let line = self.replies.next_line().await?.ok_or_else(|| io::Error::other(CLOSED))?;
        Reply::decode(&line).ok_or_else(|| io::Error::other(format!("capture answers {line:?}")))
    }
}

/// A line that nobody has asked for, or the end.
fn unasked(said: io::Result<Option<String>>) -> String {
    match said {
        Ok(None) => CLOSED.to_owned(),
        Ok(Some(line)) => format!("capture says {line:?} without having been asked"),
        Err(error) => error.to_string(),
    }
}
