//! Somebody who asks the sidecar for a name, over and over, through all that happens: DNS is no part of any phase, and no phase may
//! hurt it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle, time::sleep};

/// What is asked for.
pub(super) const NAME: &str = "podinfo.default.svc.cluster.local";

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a resolver waits, usually, before it asks again. Nothing is lost on loopback, so nothing is asked again here.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of the questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Asked {
    pub(super) questions: u64,
    /// Of these, without an address.
    pub(super) errors: u64,
}

/// Who asks.
pub(super) struct Asker {
    task: JoinHandle<Asked>,
    stop: watch::Sender<bool>,
}

impl Asker {
    /// Starts asking. Call it inside a runtime.
    pub(super) async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        socket.connect(server).await.with_context(|| format!("nobody answers for names at {server}"))?;
        let name = Name::from_ascii(format!("{NAME}."))?;
        let stop = watch::Sender::new(false);
        let stopping = stop.subscribe();
        let task = tokio::spawn(async move {
            let mut asked = Asked::default();
            for id in (0..=u16::MAX).cycle() {
                let answered = tokio::time::timeout(PATIENCE, ask(&socket, id, &name)).await;
                asked.questions += 1;
                asked.errors += u64::from(!matches!(answered, Ok(Ok(()))));
                if *stopping.borrow() {
                    break;
                }
                sleep(PAUSE).await;
            }
            asked
        });
        Ok(Self { task, stop })
    }

    /// Waits for the last answer.
    pub(super) async fn finish(self) -> anyhow::Result<Asked> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

async fn ask(socket: &UdpSocket, id: u16, name: &Name) -> anyhow::Result<()> {
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), RecordType::A));
    socket.send(&question.to_vec()?).await?;
    let mut bytes = [0; 512];
    let answer = loop {
        let length = socket.recv(&mut bytes).await?;
        let answer = Message::from_vec(&bytes[..length])?;
        // One that comes too late belongs to a question that has been counted already.
        if answer.metadata.id == id {
            break answer;
        }
    };
    ensure!(answer.metadata.response_code == ResponseCode::NoError, "{}", answer.metadata.response_code);
    if answer.answers.is_empty() {
        bail!("{NAME} has no address");
    }
    Ok(())
}
