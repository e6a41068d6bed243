//! A backend whose every byte a test decides.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Connection, PATIENCE, fresh_ip};

/// A TCP server that gives each connection to a script, on a thread of its own. It runs for as long as the process.
pub struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Scripted {
    /// Starts one. What is written to the script's connection goes to whoever has connected.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(script: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((fresh_ip(), 0)).expect("a listener");
        Self::on(listener, script)
    }

    /// On a listener that is there already.
    ///
    /// # Panics
    /// When its address cannot be told.
    pub fn on(listener: TcpListener, script: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, counter) = (Arc::new(script), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::Relaxed);
                let script = Arc::clone(&script);
                thread::spawn(move || serve(stream, &*script));
            }
        });
        Self { address, connections }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, script: &dyn Fn(Connection)) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    if let Ok(connection) = Connection::from_stream(stream) {
        script(connection);
    }
}

impl Connection {
    /// Reads the head of a request: its lines as they came, without the empty one. `None` at the end of the connection.
    pub fn request_head(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            match self.line() {
                Ok(line) if line.is_empty() => return Some(lines),
                Ok(line) => lines.push(line),
                Err(_) => return None,
            }
        }
    }
}
