//! Requests over HTTP/2 that a client takes back in one breath with making them.
//!
//! A client that opens streams and resets them at once costs whoever serves them (rapid reset, CVE-2023-44487), and an endpoint that is made to
//! pay for it ends the connection, which is that of other clients as well. So a request waits for one turn, after which the library
//! has read whether it is still wanted, and nobody else hears of those that are not. Who does little else is cut off.

use std::{cell::Cell, future::poll_fn, mem::replace, task::Poll};

use tokio::sync::Notify;

/// So many requests a connection must have made before it is judged by how many of them it took back. What Envoy says (its
/// `overload.premature_reset_total_stream_count`).
const ENOUGH: u64 = 500;

/// How the client of one connection deals with its requests.
#[derive(Default)]
pub(super) struct Takebacks {
    made: Cell<u64>,
    taken_back: Cell<u64>,
    too_many: Notify,
}

/// A request that is taken back if this is dropped.
struct New<'a>(Option<&'a Takebacks>);

impl Takebacks {
    /// Ends when a new request is known to be meant.
    pub(super) async fn is_meant(&self) {
        self.made.set(self.made.get() + 1);
        let mut new = New(Some(self));
        let mut has_waited = false;
        poll_fn(|cx| {
            if replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        new.0 = None;
    }

    /// Ends when more than half of many requests were taken back.
    pub(super) async fn too_many(&self) {
        self.too_many.notified().await;
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        let Some(takebacks) = self.0 else { return };
        let (made, taken_back) = (takebacks.made.get(), takebacks.taken_back.get() + 1);
        takebacks.taken_back.set(taken_back);
        if made >= ENOUGH && taken_back > made / 2 {
            takebacks.too_many.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn makes(takebacks: &Takebacks, takes_back: bool) {
        let mut request = pin!(takebacks.is_meant());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(request.as_mut().poll(&mut cx).is_pending());
        assert!(takes_back || request.poll(&mut cx).is_ready());
    }

    #[test]
    fn who_does_little_else_is_found_out() {
        let takebacks = Takebacks::default();
        (0..ENOUGH - 1).for_each(|_| makes(&takebacks, true));
        assert!(!is_ready(takebacks.too_many()));
        makes(&takebacks, true);
        assert!(is_ready(takebacks.too_many()));
    }

    #[test]
    fn some_is_not_too_many() {
        let takebacks = Takebacks::default();
        (0..10 * ENOUGH).for_each(|number| makes(&takebacks, number % 2 == 1));
        assert!(!is_ready(takebacks.too_many()));
    }
}
