//! `capture run`: holds the rules for as long as the pod lives.
//!
//! Everything here fails open. The rules stand only while there is a proxy behind them: they are installed once it
//! answers, and drained when it has gone away, until it answers again. That it has gone is noticed by the end of its
//! connection to the socket, so a proxy without `--capture-socket` is not watched. What it wanted refused is forgotten
//! when it stays away: a Service may have got endpoints meanwhile, and to refuse what is alive is worse than to accept
//! and reset what is not. A proxy that merely reconnects is given time, since it says the same again.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, sleep_until, timeout},
};
use wasmesh_core::capture::{
    Plan, RefuseSet,
    message::{Refuse, Reply},
};

use super::{
    backend::{self, Rules},
    events,
    options::Hold,
    ready::ReadyFile,
    session::{Session, SessionEnd},
    socket::CaptureSocket,
};

/// How long what a proxy wanted refused outlives its connection.
const KEEP_REFUSED: Duration = Duration::from_secs(5);

/// How often a proxy that is not there is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How often a proxy that has disconnected is looked after: each look is a connection that the proxy counts as refused.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How often the wait for the proxy is mentioned.
const MENTION: Duration = Duration::from_secs(10);

/// A listener in this namespace answers within microseconds; one with a full queue does not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Linux's number of EAFNOSUPPORT: there is no such family in this kernel.
const NO_SUCH_FAMILY: i32 = 97;

/// Runs until `stop`, then drains. It is `ready` when the rules are in for the first time.
///
/// # Errors
/// When the options make no sense, the socket cannot be listened on, or the kernel does not take the rules.
pub(super) async fn run(options: &Hold, ready: &ReadyFile, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let plan = options.plan.plan()?;
    let socket = CaptureSocket::bind(&options.socket, plan.proxy_uid())?;
    let mut stop = pin!(stop);
    if !silent_listeners(&plan).await.is_empty() {
        // A predecessor may have left rules that lead nowhere now.
        backend::drain(options.system.backend).context("the rules that were there cannot be drained")?;
    }
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = proxy_answers(&plan) => {}
        }
        let rules = Rules::install(&plan, options.system.backend, &RefuseSet::new())
            .context("the rules cannot be installed; nothing is captured")?;
        events::installed(&rules);
        ready.mark();
        let mut holder = Holder { plan: &plan, rules: &rules, refused: RefuseSet::new() };
        let stopped = tokio::select! {
            () = &mut stop => true,
            () = holder.until_the_proxy_is_gone(&socket) => false,
        };
        rules.drain().context("the rules cannot be drained")?;
        events::drained(rules.backend());
        if stopped {
            return Ok(());
        }
    }
}

struct Holder<'a> {
    plan: &'a Plan,
    rules: &'a Rules,
    refused: RefuseSet,
}

impl Holder<'_> {
    /// Does as the proxy says. Of two who speak the later one is the proxy: the other one is what is left of a former.
    async fn until_the_proxy_is_gone(&mut self, socket: &CaptureSocket) {
        let mut session: Option<Session> = None;
        let mut silent_since: Option<Instant> = None;
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                accepted = socket.accept() => {
                    events::proxy_speaks();
                    (session, silent_since) = (Some(accepted), None);
                }
                said = next(&mut session) => {
                    if let Err(end) = said.and_then(|(session, message)| self.obey(session, message)) {
                        farewell(session.as_ref(), &end);
                        (session, silent_since, look_at) = (None, Some(Instant::now()), Instant::now());
                    }
                }
                () = sleep_until(look_at), if silent_since.is_some() => {
                    if !silent_listeners(self.plan).await.is_empty() {
                        return events::proxy_gone();
                    }
                    look_at = Instant::now() + LOOK_AFTER;
                    if silent_since.is_some_and(|since| since.elapsed() >= KEEP_REFUSED) {
                        self.forget();
                    }
                }
            }
        }
    }

    fn obey(&mut self, session: &Session, message: Refuse) -> Result<(), SessionEnd> {
        let Refuse { sequence, destinations } = message;
        let reply = match self.rules.refuse(&destinations) {
            Ok(()) => {
                events::refused(destinations.len());
                self.refused = destinations;
                Reply::Done(sequence)
            }
            Err(error) => {
                events::refuse_failed(&error.to_string());
                Reply::Failed(sequence, error.to_string())
            }
        };
        Ok(session.reply(&reply)?)
    }

    fn forget(&mut self) {
        if self.refused.is_empty() {
            return;
        }
        match self.rules.refuse(&RefuseSet::new()) {
            Ok(()) => {
                self.refused.clear();
                events::forgotten();
            }
            Err(error) => events::refuse_failed(&error.to_string()),
        }
    }
}

/// The next message of the session, if there is one; else waits for ever.
async fn next(session: &mut Option<Session>) -> Result<(&Session, Refuse), SessionEnd> {
    match session {
        Some(session) => {
            let message = session.next().await?;
            Ok((session, message))
        }
        None => std::future::pending().await,
    }
}

fn farewell(session: Option<&Session>, end: &SessionEnd) {
    events::proxy_silent(end);
    if let (Some(session), SessionEnd::Protocol(error)) = (session, end) {
        // Whether it is heard is all the same: the connection ends.
        let _ = session.reply(&Reply::Error(error.to_string()));
    }
}

/// Waits until everything that the rules lead to answers.
async fn proxy_answers(plan: &Plan) {
    let mut mention_at = Instant::now();
    loop {
        let silent = silent_listeners(plan).await;
        if silent.is_empty() {
            return;
        }
        if Instant::now() >= mention_at {
            events::waiting_for(&silent);
            mention_at = Instant::now() + MENTION;
        }
        sleep(LOOK).await;
    }
}

async fn silent_listeners(plan: &Plan) -> Vec<SocketAddr> {
    let mut silent = Vec::new();
    for listener in plan.listeners() {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(listener)).await {
            Ok(Ok(_)) => {}
            // Without that family there is nothing to redirect either.
            Ok(Err(error)) if has_no_such_family(&error) => {}
            Ok(Err(_)) | Err(_) => silent.push(listener),
        }
    }
    silent
}

fn has_no_such_family(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable)
        || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}
