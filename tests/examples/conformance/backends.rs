//! What runs in a pod to be reached: nginx, and a teller for what is not HTTP.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Stdio},
    thread,
};

use tempfile::TempDir;
use wasmesh_tests::{Connection, netns::Netns, until};

use crate::family::Family;

/// Ports of each pod. On the first two it says who it is and then echoes.
pub(crate) const TELLER: u16 = 7000;
pub(crate) const TELLER_TOO: u16 = 7009;
/// Says who it is to each datagram.
pub(crate) const DATAGRAMS: u16 = 7001;
/// Changes to another protocol when it is asked to, and echoes then.
pub(crate) const UPGRADES: u16 = 7005;
/// nginx: HTTP/1.1, twice, and HTTP/2 with prior knowledge.
pub(crate) const WEB: u16 = 8080;
pub(crate) const WEB_TOO: u16 = 9090;
pub(crate) const WEB_H2: u16 = 8081;

/// An nginx; killed when dropped.
pub(crate) struct Nginx {
    process: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Starts one that answers with the pod's name and the address of who asks.
    pub(crate) fn start(netns: &Netns, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {place}/{what}; "))
            .collect();
        let listen: String = [(WEB, ""), (WEB_TOO, ""), (WEB_H2, " http2")]
            .iter()
            .map(|(port, options)| format!("listen {port}{options}; listen [::]:{port}{options} ipv6only=on; "))
            .collect();
        // One process: else killing it would leave the workers.
        let text = format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr emerg; events {{}}
             http {{ access_log off; {temporary}
               server {{ {listen} location / {{ return 200 \"{name} $remote_addr\\n\"; }} }} }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, text).expect("a configuration");
        let mut command = netns.command("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("nginx");
        let nginx = Self { process, _folder: folder };
        until("nginx listens", || netns.enter(|| TcpStream::connect((Family::V4.loopback(), WEB_H2))).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the teller and its like, on threads that live as long as the process.
pub(crate) fn tell(netns: &Netns, name: &'static str) {
    for family in Family::BOTH {
        for port in [TELLER, TELLER_TOO] {
            tell_on(netns.listen((family.any(), port).into()), name);
        }
        serve(netns.listen((family.any(), UPGRADES).into()), |connection, _| upgrade(connection));
        let datagrams = netns.enter(|| UdpSocket::bind((family.any(), DATAGRAMS))).expect("an address");
        thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok((_, peer)) = datagrams.recv_from(&mut bytes) {
                let _ = datagrams.send_to(name.as_bytes(), peer);
            }
        });
    }
}

/// Says who it is to everyone who connects there, and whom it sees, and echoes then.
pub(crate) fn tell_on(listener: TcpListener, name: &'static str) {
    serve(listener, move |mut connection, peer| {
        let local = connection.local_addr()?;
        connection.write_all(format!("{name} {} {local}\n", peer.ip()).as_bytes())?;
        echo(connection)
    });
}

fn serve(
    listener: TcpListener,
    answer: impl Fn(TcpStream, SocketAddr) -> std::io::Result<()> + Clone + Send + 'static,
) {
    thread::spawn(move || {
        while let Ok((connection, peer)) = listener.accept() {
            let answer = answer.clone();
            // Whoever goes away in the middle has its reasons.
            thread::spawn(move || drop(answer(connection, peer)));
        }
    });
}

fn echo(mut connection: TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let length = connection.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        connection.write_all(&bytes[..length])?;
    }
}

fn upgrade(connection: TcpStream) -> std::io::Result<()> {
    let mut http = Connection::from_stream(connection.try_clone()?)?;
    let head = http.request_head().unwrap_or_default();
    if !head.iter().any(|line| line.eq_ignore_ascii_case("upgrade: websocket")) {
        return http.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n");
    }
    http.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
    // The client has waited for that: nothing of what follows has been read with the head.
    echo(connection)
}
