//! Copies bytes both ways until both sides have ended.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// How many bytes went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// From the client to the backend.
    pub sent: u64,
    /// From the backend to the client.
    pub received: u64,
}

/// Copies both ways. The end of one direction is passed on and the other goes on, so half-closed connections work.
///
/// # Errors
/// When either side breaks.
pub async fn relay(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    backend: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Transfer> {
    let (sent, received) = copy_bidirectional(client, backend).await?;
    Ok(Transfer { sent, received })
}
