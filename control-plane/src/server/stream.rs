//! One stream: moves messages between a connection and its session.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use wasmesh_proto::{
    session::server::{Reaction, ServerSession, SessionError},
    wire,
};

use super::{shared::Shared, streams::Entry};
use crate::{
    events,
    published::{Latest, Published},
};

/// How long a proxy may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Stream {
    shared: Arc<Shared>,
    latest: Latest,
    inbox: Streaming<wire::FromProxy>,
    outbox: mpsc::Sender<Result<wire::ToProxy, Status>>,
    session: ServerSession,
    entry: Option<Entry>,
}

/// How a stream ended.
enum End {
    /// The proxy has closed it or is gone.
    Left(String),
    /// We end it and say why.
    Ended(&'static str, Status),
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: Streaming<wire::FromProxy>,
        outbox: mpsc::Sender<Result<wire::ToProxy, Status>>,
    ) -> Self {
        let session = ServerSession::new(shared.name.clone());
        let latest = shared.latest.clone();
        Self { shared, latest, inbox, outbox, session, entry: None }
    }

    /// Runs until either side ends the stream.
    pub(super) async fn run(mut self) {
        let (reason, detail) = match self.converse().await {
            End::Left(detail) => ("left", detail),
            End::Ended(reason, status) => {
                let detail = status.message().to_owned();
                // Nobody may be there any more to hear it.
                let _ = self.outbox.send(Err(status)).await;
                (reason, detail)
            }
        };
        if self.entry.take().is_some() {
            events::stream_closed(self.session.node(), reason, &detail);
        } else {
            events::stream_ended("", reason, &detail);
        }
    }

    async fn converse(&mut self) -> End {
        let mut stopping = self.shared.stopping.clone();
        let stop = async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        tokio::select! {
            end = self.exchange() => end,
            () = stop => End::Ended("shutdown", Status::unavailable("this control plane is shutting down")),
        }
    }

    async fn exchange(&mut self) -> End {
        let mut published = match self.latest.wait_for(Option::is_some).await {
            Ok(first) => first.clone(),
            Err(_) => return End::Ended("shutdown", Status::unavailable("this control plane is shutting down")),
        };
        match tokio::time::timeout(HELLO_TIMEOUT, self.inbox.message()).await {
            Err(_) => return End::Ended("silent", Status::deadline_exceeded("no Hello came within 10 s")),
            Ok(message) => {
                if let Err(end) = self.take(message, published.as_deref()).await {
                    return end;
                }
            }
        }
        events::stream_opened(self.session.node());
        self.entry = Some(self.shared.streams.enter(self.session.node().clone()));
        loop {
            if let Some(latest) = &published
                && let Err(end) = self.bring_up_to_date(latest).await
            {
                return end;
            }
            tokio::select! {
                message = self.inbox.message() => {
                    if let Err(end) = self.take(message, published.as_deref()).await {
                        return end;
                    }
                }
                changed = self.latest.changed() => match changed {
                    Ok(()) => published = self.latest.borrow_and_update().clone(),
                    Err(_) => return End::Ended("shutdown", Status::unavailable("this control plane is shutting down")),
                },
            }
        }
    }

    async fn bring_up_to_date(&mut self, latest: &Published) -> Result<(), End> {
        let update = self.session.poll(&latest.snapshot, &self.shared.encoder);
        if !update.is_empty() {
            events::update_sent();
        }
        for part in update {
            self.send(part).await?;
        }
        if self.session.is_current(&latest.snapshot) {
            self.note_current(latest);
        }
        Ok(())
    }

    fn note_current(&self, latest: &Published) {
        let Some(entry) = &self.entry else { return };
        let now = (latest.sequence, latest.version);
        entry.update(|status| {
            if status.acknowledged.replace(now) != Some(now) {
                events::acknowledged(&self.shared.metrics, latest);
            }
            status.subscriptions = self.session.subscriptions().len();
            status.rejected.clone_from(self.session.rejected());
        });
    }

    async fn take(
        &mut self,
        message: Result<Option<wire::FromProxy>, Status>,
        published: Option<&Published>,
    ) -> Result<(), End> {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Err(End::Left("closed by the proxy".to_owned())),
            // Too large or no message at all: the proxy is still there and should hear why.
            Err(status) if matches!(status.code(), Code::OutOfRange | Code::Internal | Code::Unimplemented) => {
                return Err(End::Ended("malformed", status));
            }
            Err(status) => return Err(End::Left(status.message().to_owned())),
        };
        let nothing = Default::default();
        let latest = published.map_or(&nothing, |published| &published.snapshot);
        let Reaction { replies, rejected, acknowledged: _ } =
            self.session.on_message(message, latest).map_err(|error| end_of(&error))?;
        for (name, why) in &rejected {
            events::rejected(self.session.node(), name, why);
        }
        for reply in replies {
            self.send(reply).await?;
        }
        Ok(())
    }

    async fn send(&self, message: wire::ToProxy) -> Result<(), End> {
        self.outbox.send(Ok(message)).await.map_err(|_| End::Left("the connection is gone".to_owned()))
    }
}

fn end_of(error: &SessionError) -> End {
    let text = error.to_string();
    match error {
        SessionError::Protocol(_) => End::Ended("protocol", Status::failed_precondition(text)),
        SessionError::OutOfTurn(_) | SessionError::Malformed(_) => {
            End::Ended("malformed", Status::invalid_argument(text))
        }
        SessionError::TooMany => End::Ended("overload", Status::resource_exhausted(text)),
        SessionError::Diverged => End::Ended("diverged", Status::data_loss(text)),
    }
}
