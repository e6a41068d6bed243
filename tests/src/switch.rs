//! A wire that can be cut and plugged in elsewhere.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{fresh_ip, runtime::runtime};

/// A TCP relay with one address in front and a changing one behind, or none.
pub struct Switch {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    received: Arc<AtomicU64>,
}

impl Switch {
    /// Starts one that leads to `target`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn to(target: SocketAddr) -> Self {
        let listener = runtime().block_on(TcpListener::bind((fresh_ip(), 0))).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let target = watch::Sender::new(Some(target));
        let received = Arc::new(AtomicU64::new(0));
        runtime().spawn(accept(listener, target.subscribe(), Arc::clone(&received)));
        Self { address, target, received }
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
        self.received.swap(0, Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, target: watch::Receiver<Option<SocketAddr>>, received: Arc<AtomicU64>) {
    while let Ok((front, _)) = listener.accept().await {
        let (mut target, received) = (target.clone(), Arc::clone(&received));
        tokio::spawn(async move {
            let Some(behind) = *target.borrow_and_update() else { return };
            let Ok(behind) = TcpStream::connect(behind).await else { return };
            let (from_front, to_front) = front.into_split();
            let (from_behind, to_behind) = behind.into_split();
            let nobody = AtomicU64::new(0);
            tokio::select! {
                _ = target.changed() => {}
                () = copy(from_front, to_behind, &nobody) => {}
                () = copy(from_behind, to_front, &received) => {}
            }
        });
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: &AtomicU64) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(length as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
