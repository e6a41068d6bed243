//! Questions over TCP (RFC 7766).

use std::{io, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    answer::Answerer,
    events::{self, Dealt},
    message::{Nonsense, Question, Transport},
};

/// How long a client may take for its next question, and for taking an answer.
const IDLE: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted: out of descriptors it is so for each call.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves for ever; connections past the slots are closed at once.
pub(super) async fn serve(listener: TcpListener, answerer: Rc<Answerer>, slots: Rc<Semaphore>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                events::socket_failed("a connection could not be accepted", &error);
                sleep(PAUSE).await;
                continue;
            }
        };
        let (answerer, slots) = (Rc::clone(&answerer), Rc::clone(&slots));
        spawn_local(async move {
            let Ok(_slot) = slots.try_acquire() else { return events::connection_dropped() };
            // However it ends: the client has what it asked for, or sees that it has not.
            let _ = converse(stream, &answerer).await;
        });
    }
}

async fn converse(mut stream: TcpStream, answerer: &Answerer) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut bytes = vec![0; length.into()];
        timeout(IDLE, stream.read_exact(&mut bytes)).await??;
        let answer = match Question::parse(&bytes) {
            Ok(question) => match answerer.answer(&question).await {
                Some(answer) => question.encode(answer, Transport::Tcp),
                None => return Ok(()),
            },
            Err(nonsense) => {
                events::dealt(Dealt::Malformed);
                match nonsense {
                    Nonsense::Refused(answer) => answer,
                    Nonsense::Ignored => return Ok(()),
                }
            }
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        timeout(IDLE, stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())).await??;
    }
}
