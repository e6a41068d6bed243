//! Connections that live long: an echo, and clients that notice every lost byte.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::LocalSet,
    time::timeout,
};
use wasmesh_tests::PATIENCE;

use crate::pod::Pod;

/// Sends everything back, on a thread of its own, for as long as the process runs.
pub(crate) fn echo(listener: TcpListener) {
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((mut connection, _)) = listener.accept().await else { continue };
                tokio::spawn(async move {
                    let (mut reader, mut writer) = connection.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
    });
}

/// What has become of connections.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) live: AtomicUsize,
    pub(crate) rounds: AtomicUsize,
    pub(crate) new: AtomicUsize,
    pub(crate) lost: AtomicUsize,
    stop: AtomicBool,
}

impl Count {
    pub(crate) fn get(count: &AtomicUsize) -> usize {
        count.load(Ordering::Relaxed)
    }

    fn add(count: &AtomicUsize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients of a pod that talk until they are stopped.
pub(crate) struct Clients {
    pub(crate) count: Arc<Count>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// `live` connections to each of these addresses that stay, and `newcomers` that are forever opening others.
    pub(crate) fn start(pod: &Pod, addresses: &[SocketAddr], live: usize, newcomers: usize) -> Self {
        let count = Arc::new(Count::default());
        let mut clients = Self { count, threads: Vec::new() };
        clients.add(pod, addresses, live, newcomers);
        clients
    }

    /// More of them.
    pub(crate) fn add(&mut self, pod: &Pod, addresses: &[SocketAddr], live: usize, newcomers: usize) {
        let (count, addresses) = (Arc::clone(&self.count), addresses.to_vec());
        // A thread that was started inside is inside.
        let thread = pod.netns.enter(move || {
            thread::spawn(move || {
                let tasks = LocalSet::new();
                for address in addresses {
                    (0..live).for_each(|_| drop(tasks.spawn_local(stay(address, Arc::clone(&count)))));
                    (0..newcomers).for_each(|_| drop(tasks.spawn_local(come_and_go(address, Arc::clone(&count)))));
                }
                runtime().block_on(tasks);
            })
        });
        self.threads.push(thread);
    }

    /// Stops and waits for all.
    pub(crate) fn stop(self) -> Arc<Count> {
        self.count.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("clients"));
        self.count
    }
}

async fn stay(address: SocketAddr, count: Arc<Count>) {
    let talk = async {
        let mut stream = connect(address).await?;
        Count::add(&count.live);
        while !count.stop.load(Ordering::Relaxed) {
            exchange(&mut stream).await?;
            Count::add(&count.rounds);
            // Not to wait for anything: it sets the pace.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        io::Result::Ok(())
    };
    note("a connection that stays", address, talk.await, &count);
}

async fn come_and_go(address: SocketAddr, count: Arc<Count>) {
    while !count.stop.load(Ordering::Relaxed) {
        let talk = async {
            let mut stream = connect(address).await?;
            exchange(&mut stream).await
        };
        let result = talk.await;
        Count::add(&count.new);
        note("a new connection", address, result, &count);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    within(socket.connect(address)).await
}

async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    let (said, mut heard) = ([7; 64], [0; 64]);
    within(stream.write_all(&said)).await?;
    within(stream.read_exact(&mut heard)).await?;
    if heard == said { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn note(what: &str, address: SocketAddr, result: io::Result<()>, count: &Count) {
    if let Err(error) = result {
        eprintln!("{what} to {address}: {error}");
        Count::add(&count.lost);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Where an echo must listen for all addresses.
pub(crate) fn everywhere(port: u16) -> [SocketAddr; 2] {
    ["0.0.0.0", "::"].map(|ip| SocketAddr::from((ip.parse::<IpAddr>().unwrap(), port)))
}
