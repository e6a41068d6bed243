//! A wire that can be cut and plugged in elsewhere.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use crate::{fresh_ip, runtime::runtime};

/// A TCP relay with one address in front and a changing one behind, or none.
pub struct Switch {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    wire: Arc<Wire>,
}

/// What all connections have in common.
struct Wire {
    /// Bytes that have come from behind.
    received: AtomicU64,
    /// How many more may come before all is cut.
    left: AtomicU64,
    delay_ms: AtomicU64,
}

/// So many that it never comes to it.
const NO_END: u64 = u64::MAX;

impl Switch {
    /// Starts one that leads to `target`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn to(target: SocketAddr) -> Self {
        let listener = runtime().block_on(TcpListener::bind((fresh_ip(), 0))).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let target = watch::Sender::new(Some(target));
        let (received, left, delay_ms) = (0.into(), NO_END.into(), 0.into());
        let wire = Arc::new(Wire { received, left, delay_ms });
        runtime().spawn(accept(listener, target.subscribe(), Arc::clone(&wire)));
        Self { address, target, wire }
    }

    /// The address in front, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections. New ones lead to `target`, or are closed at once if there is none.
    pub fn turn(&self, target: Option<SocketAddr>) {
        self.target.send_replace(target);
    }

    /// How many bytes have come from behind since the last call.
    pub fn take_received(&self) -> u64 {
        self.wire.received.swap(0, Ordering::SeqCst)
    }

    /// Cuts the connection when so many more bytes have come from behind, wherever that is in what is being said.
    pub fn cut_after(&self, bytes: u64) {
        self.wire.left.store(bytes, Ordering::SeqCst);
    }

    /// What comes from behind is late by so much, from now on.
    pub fn delay(&self, delay: Duration) {
        self.wire.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, target: watch::Receiver<Option<SocketAddr>>, wire: Arc<Wire>) {
    while let Ok((front, _)) = listener.accept().await {
        let (mut target, wire) = (target.clone(), Arc::clone(&wire));
        tokio::spawn(async move {
            let Some(behind) = *target.borrow_and_update() else { return };
            let Ok(behind) = TcpStream::connect(behind).await else { return };
            let (mut from_front, mut to_front) = front.into_split();
            let (from_behind, mut to_behind) = behind.into_split();
            tokio::select! {
                _ = target.changed() => {}
                _ = tokio::io::copy(&mut from_front, &mut to_behind) => {}
                () = wire.deliver(from_behind, &mut to_front) => {}
            }
        });
    }
}

impl Wire {
    /// Until there is nothing more, or it is cut.
    async fn deliver(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay_ms = self.delay_ms.load(Ordering::SeqCst);
            if delay_ms > 0 {
                sleep(Duration::from_millis(delay_ms)).await;
            }
            self.received.fetch_add(length as u64, Ordering::SeqCst);
            let left = self.left.load(Ordering::SeqCst);
            let delivered = length.min(usize::try_from(left).unwrap_or(length));
            let is_cut = delivered as u64 == left;
            if to.write_all(&buffer[..delivered]).await.is_err() {
                return;
            }
            if is_cut {
                self.left.store(NO_END, Ordering::SeqCst);
                return;
            }
            if left != NO_END {
                self.left.store(left - delivered as u64, Ordering::SeqCst);
            }
        }
    }
}
