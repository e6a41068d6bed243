//! `Expect: 100-continue`: the client holds its body back until it is told to go on, and so do we.
//!
//! The HTTP library tells the client to go on as soon as its body is read. So the body is not read before the endpoint
//! has told us; an endpoint that refuses by a final answer then never causes the client to send anything.

use std::{sync::Arc, time::Duration};

use hyper::{Request, StatusCode, ext::on_informational, header::EXPECT, http::request::Parts};
use tokio::{sync::Notify, time::timeout};

use super::request_body::Gate;

/// How long an endpoint may be silent before the body is sent all the same: not every server knows the expectation. curl
/// waits as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What holds the body of this request back; `None` if its client does not wait.
pub(super) fn continue_gate(head: &mut Parts) -> Option<Gate> {
    let waits = head.headers.get(EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !waits {
        return None;
    }
    let told = Arc::new(Notify::new());
    let tell = Arc::clone(&told);
    // The callback goes with the extensions, which each attempt copies.
    let mut carrier = Request::new(());
    on_informational(&mut carrier, move |response| {
        if response.status() == StatusCode::CONTINUE {
            tell.notify_one();
        }
    });
    head.extensions.extend(std::mem::take(carrier.extensions_mut()));
    Some(Box::pin(async move {
        let _ = timeout(PATIENCE, told.notified()).await;
    }))
}
