//! Requests over HTTP/2 that a client takes back in one breath with making them.
//!
//! A client that opens streams and resets them at once costs whoever serves them (rapid reset, CVE-2023-44487). The library looks after the first
//! turn of a request whether it is still wanted, and by then no endpoint has heard of it; but where the reset comes a moment later one has, and
//! an endpoint that is made to pay for many of them ends the connection, which is that of other clients as well. So who does little else is
//! cut off.

use std::{cell::Cell, future::poll_fn, pin::pin};

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

/// A request that has been taken back if this is dropped.
struct New<'a>(Option<&'a Takebacks>);

impl Takebacks {
    /// Answers a new request, if it is meant.
    pub(super) async fn answered<A: Future>(&self, answer: A) -> A::Output {
        self.made.set(self.made.get() + 1);
        let (mut new, mut had_a_turn) = (New(Some(self)), false);
        let mut answer = pin!(answer);
        poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            if had_a_turn || answered.is_ready() {
                new.0 = None;
            }
            had_a_turn = true;
            answered
        })
        .await
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
        future::pending,
        task::{Context, Waker},
    };

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn makes(takebacks: &Takebacks, takes_back: bool) {
        let mut request = pin!(takebacks.answered(pending::<()>()));
        let turns = if takes_back { 1 } else { 2 };
        (0..turns).for_each(|_| assert!(!is_ready(request.as_mut())));
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
