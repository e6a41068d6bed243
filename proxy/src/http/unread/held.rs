//! The bodies in the account, and the streams of clients that they belong to.

use std::{cell::OnceCell, rc::Rc, task::Context};

use hyper::rt::Executor;
use tokio::{task::AbortHandle, time::Instant};

use super::{Body, Inlet, LITTLE};
use crate::http::request_body::Upload;

tokio::task_local! {
    /// The stream of a client whose task this is.
    static STREAM: Rc<ClientStream>;
}

/// A stream of a client.
struct ClientStream {
    connection: Rc<Inlet>,
    end: OnceCell<AbortHandle>,
}

/// A body in the account of what is unread.
pub(in crate::http) struct Held {
    inlet: Rc<Inlet>,
    key: usize,
    /// Where it goes, if that is a client.
    outlet: Option<Rc<Inlet>>,
}

impl Held {
    /// Has a body that comes in by a connection in the account, for as long as the stream of the client whose task this is lives. `None`
    /// if it is the task of none.
    pub(in crate::http) fn by(inlet: &Rc<Inlet>) -> Option<Self> {
        let stream = STREAM.try_with(Rc::clone).ok()?;
        let end = stream.end.get()?.clone();
        let body = Body { inlet: Rc::clone(inlet), since: Some(Instant::now()), taken: 0, end, upload: None };
        let key = inlet.unread().bodies.borrow_mut().insert(body);
        inlet.add_body();
        let outlet = Some(&stream.connection).filter(|client| !Rc::ptr_eq(client, inlet)).map(Rc::clone);
        Some(Self { inlet: Rc::clone(inlet), key, outlet })
    }

    /// The same for a body of the client itself.
    pub(in crate::http) fn by_client() -> Option<Self> {
        let connection = STREAM.try_with(|stream| Rc::clone(&stream.connection)).ok()?;
        Self::by(&connection)
    }

    /// Whether whoever reads takes nothing at the moment: more that is given to it now would be held there.
    pub(in crate::http) fn is_blocked(&self, cx: &Context<'_>) -> bool {
        let is_blocked = self.outlet.as_ref().is_some_and(|outlet| outlet.is_blocked(cx));
        if is_blocked {
            // There may be something by now, and it is not looked at.
            self.set_full(true);
        }
        is_blocked
    }

    /// Of a request: what has it end.
    pub(in crate::http) fn set_upload(&self, upload: Upload) {
        self.inlet.unread().bodies.borrow_mut()[self.key].upload = Some(upload);
    }

    /// So much was taken of it, and there may be more.
    pub(in crate::http) fn was_taken(&self, bytes: usize) {
        self.set_full(true);
        {
            let body = &mut self.inlet.unread().bodies.borrow_mut()[self.key];
            body.taken += bytes;
            // Drop by drop is not taken either.
            if body.taken > LITTLE {
                (body.since, body.taken) = (Some(Instant::now()), 0);
            }
        }
        self.inlet.was_taken(bytes);
    }

    /// So much of it was given to whoever reads.
    pub(in crate::http) fn was_given(&self, bytes: usize) {
        self.outlet.iter().for_each(|outlet| outlet.was_given(bytes));
    }

    /// Nothing is there to be taken.
    pub(in crate::http) fn is_empty(&self) {
        self.set_full(false);
    }

    fn set_full(&self, is_full: bool) {
        {
            let body = &mut self.inlet.unread().bodies.borrow_mut()[self.key];
            if body.since.is_some() == is_full {
                return;
            }
            (body.since, body.taken) = (is_full.then(Instant::now), 0);
        }
        self.inlet.set_full(is_full);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set_full(false);
        self.inlet.remove_body();
        self.inlet.unread().bodies.borrow_mut().remove(self.key);
    }
}

/// Spawns the streams of a client's connection onto the local set of this thread, so that each can be ended.
#[derive(Clone)]
pub(in crate::http) struct StreamExecutor(pub(in crate::http) Rc<Inlet>);

impl<F: Future<Output: 'static> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, task: F) {
        let stream = Rc::new(ClientStream { connection: Rc::clone(&self.0), end: OnceCell::new() });
        let spawned = tokio::task::spawn_local(STREAM.scope(Rc::clone(&stream), task));
        // Before its first turn.
        let _unset = stream.end.set(spawned.abort_handle());
    }
}
