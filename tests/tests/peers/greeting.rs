//! Servers that speak first, and TLS, on ports that declare nothing.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
};

use tempfile::TempDir;
use wasmesh_tests::{Captured, Mesh, Service, fresh_ip, until};

use crate::python::{self, Server};

fn mesh_of(backend: SocketAddr) -> (Mesh, Captured) {
    let mesh = Mesh::of([Service::new("any").endpoint(backend).undeclared()]);
    let captured = Captured::to(mesh.http(), "any:80");
    (mesh, captured)
}

const MAIL_SERVER: &str = "
import asyncio, sys
from aiosmtpd.smtp import SMTP

class Handler:
    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode()
        return f'250 {envelope.mail_from} {len(envelope.rcpt_tos)} {len(text)}'

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), enable_SMTPUTF8=True), sys.argv[1], 0)
    address = server.sockets[0].getsockname()
    print(f'{address[0]}:{address[1]}', flush=True)
    await loop.create_future()

asyncio.run(main())
";

#[test]
fn mail() {
    let server = Server::start(MAIL_SERVER, &[&fresh_ip().to_string()]);
    let (_mesh, captured) = mesh_of(server.address());
    let script = "
import smtplib, statistics, sys, time
host, port = sys.argv[1].split(':')
delays = []
for round in range(200):
    start = time.monotonic()
    with smtplib.SMTP(host, int(port), local_hostname='client.example', timeout=20) as client:
        delays.append(time.monotonic() - start)
        if round % 20 == 0:
            refused = client.sendmail('a@example.com', ['b@example.com', 'c@example.com'], 'Subject: x\\r\\n\\r\\n' + 'hello\\r\\n' * 1000)
            assert refused == {}
        client.noop()
print(f'mail: greeted after {delays[0] * 1000:.1f} ms at first, {statistics.median(delays[1:]) * 1000:.1f} ms then')
";
    eprint!("{}", python::run(script, &[&captured.address().to_string()]));
}

const TLS_SERVER: &str = "
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
listener = socket.create_server((sys.argv[1], 0), backlog=256)
def serve(plain):
    try:
        with context.wrap_socket(plain, server_side=True) as connection:
            while data := connection.recv(65536):
                connection.sendall(data.upper())
    except OSError:
        pass
print('%s:%d' % listener.getsockname(), flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

#[test]
fn tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("certificate.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=any.example", "-addext", "subjectAltName=DNS:any.example"])
        .arg("-keyout")
        .arg(&certificate)
        .arg("-out")
        .arg(folder.path().join("only.pem"))
        .output()
        .expect("openssl: install it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let only = fs::read_to_string(folder.path().join("only.pem")).unwrap();
    fs::write(&certificate, fs::read_to_string(&certificate).unwrap() + &only).unwrap();
    let path = certificate.to_str().unwrap();
    let server = Server::start(TLS_SERVER, &[&fresh_ip().to_string(), path]);
    let (mesh, captured) = mesh_of(server.address());
    let script = "
import socket, ssl, sys
host, port = sys.argv[1].split(':')
context = ssl.create_default_context(cafile=sys.argv[2])
for round in range(200):
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname='any.example') as connection:
            connection.sendall(b'hello')
            assert connection.recv(5, ) == b'HELLO'
";
    let before = mesh.admin().metric("wasmesh_tcp_connections_opened_total", &[("service", "any")]);
    python::run(script, &[&captured.address().to_string(), path]);
    assert!(mesh.admin().metric("wasmesh_tcp_connections_opened_total", &[("service", "any")]) >= before + 200.0);
}

/// An sshd of its own; killed when dropped.
struct Sshd {
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

fn new_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.expect("ssh-keygen: install openssh-client").success());
}

impl Sshd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        new_key(&path("host"));
        new_key(&path("client"));
        let address = SocketAddr::from((fresh_ip(), 2222));
        let configuration = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n",
            path("host").display(),
            path("client.pub").display(),
        );
        fs::write(path("sshd_config"), configuration).unwrap();
        // Where it goes before it knows who comes; the package's own start makes it.
        let _ = fs::create_dir_all("/run/sshd");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-E"]).arg(path("log")).arg("-f").arg(path("sshd_config"));
        let process = command.spawn().expect("sshd: install openssh-server");
        let server = Self { address, process, folder };
        until("sshd listens", || TcpStream::connect(address).is_ok());
        server
    }

    /// Runs a command there.
    fn run(&self, at: SocketAddr, command: &str) -> String {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20", "-i"]);
        ssh.arg(self.folder.path().join("client")).args(["-p", &at.port().to_string(), &at.ip().to_string(), command]);
        let output = ssh.output().expect("ssh: install openssh-client");
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(output.status.success(), "{}{log}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn ssh() {
    let server = Sshd::start();
    let (_mesh, captured) = mesh_of(server.address);
    for _ in 0..5 {
        assert_eq!(server.run(captured.address(), "echo hello"), "hello\n");
    }
    let long = server.run(captured.address(), "head -c 3000000 /dev/zero | tr '\\0' x");
    assert_eq!(long.len(), 3_000_000);
}
