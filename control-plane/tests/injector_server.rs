//! The injector's HTTPS server: what it answers to whom, whose connections it keeps, and that a renewed certificate is in the next
//! handshake.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wasmesh_control_plane::{
    certificates::{Bundle, ServerNames, ServingCertificate, issue, judge::judge, serving::Current},
    connections::Limits,
    injector::{
        ClientCa, clients,
        server::{Asked, LIMITS, Said, serve},
    },
};

const NAME: &str = "wasmesh-control-plane.wasmesh-system.svc";

fn names() -> ServerNames {
    ServerNames::of_service("wasmesh-control-plane", "wasmesh-system", "cluster.local")
}

fn current(bundle: &Bundle) -> Current {
    let key = judge(bundle, &names(), SystemTime::now()).usable.unwrap();
    Current { key, ca_bundle: bundle.ca_certificate.as_str().into() }
}

/// A server that says what it was asked, and the hand on its certificate.
struct Server {
    address: SocketAddr,
    certificate: watch::Sender<Current>,
    bundle: Bundle,
}

async fn server() -> Server {
    server_until(std::future::pending()).await
}

async fn server_until(end: impl Future<Output = ()> + Send + 'static) -> Server {
    server_with(LIMITS, None, end).await
}

async fn server_with(limits: Limits, ca: Option<ClientCa>, end: impl Future<Output = ()> + Send + 'static) -> Server {
    let bundle = issue::everything(&names(), SystemTime::now()).unwrap();
    let (certificate, follow) = watch::channel(current(&bundle));
    let tls = clients::server_config(&ServingCertificate::new(follow), ca.as_ref()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |asked: Asked, body: bytes::Bytes| async move {
        match &*body {
            b"question" => Said::Review(json!({ "asked": format!("{asked:?}") })),
            other => Said::NoQuestion(format!("{} bytes of nonsense", other.len())),
        }
    };
    tokio::spawn(serve(listener, watch::channel(tls).1, limits, answer, end));
    Server { address, certificate, bundle }
}

impl Server {
    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_as(None).await
    }

    /// Shows the certificate of this bundle, if there is one.
    async fn connect_as(&self, client: Option<&Bundle>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.bundle.ca_certificate.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some(bundle) => {
                let certificate = CertificateDer::from_pem_slice(bundle.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(bundle.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
    }

    async fn ask(&self, head: &str, body: &[u8]) -> String {
        ask(self.connect().await, head, body).await
    }
}

async fn ask(mut stream: TlsStream<TcpStream>, head: &str, body: &[u8]) -> String {
    let request =
        format!("{head} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    // A server that has heard enough does not read the rest.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn everyone_gets_an_answer() {
    let server = server().await;
    let too_large = vec![b'x'; 9 * 1024 * 1024];
    let cases: [(&str, &[u8], &str, &str); 7] = [
        ("POST /inject/pod", b"question", "200", r#"{"asked":"ForPod"}"#),
        ("POST /inject/namespace?timeout=5s", b"question", "200", r#"{"asked":"ForNamespace"}"#),
        ("POST /inject/pod", b"", "400", "0 bytes of nonsense"),
        ("POST /inject/pod", &too_large, "413", "8388608"),
        ("GET /inject/pod", b"", "405", "POST"),
        ("POST /inject", b"question", "404", "/inject/namespace"),
        ("POST /", b"question", "404", "/inject/namespace"),
    ];
    for (head, body, status, text) in cases {
        let answer = server.ask(head, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(text), "{head}: {answer}");
    }
}

#[tokio::test]
async fn whoever_speaks_no_tls_disturbs_nobody() {
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert!(server.ask("POST /inject/pod", b"question").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn whoever_is_leaving_answers_and_asks_for_no_more() {
    for (is_leaving, says) in [(false, false), (true, true)] {
        let server = server_until(async move {
            if !is_leaving {
                std::future::pending::<()>().await;
            }
        })
        .await;
        let mut stream = server.connect().await;
        let request = format!("POST /inject/pod HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 8\r\n\r\nquestion");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("connection: close"), says, "{answer}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_in_the_next_handshake() {
    let mut server = server().await;
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let first = shown(&server.connect().await);
    let later = SystemTime::now() + Duration::from_secs(60);
    server.bundle = issue::serving(&server.bundle, &names(), later).unwrap();
    server.certificate.send_replace(current(&server.bundle));
    assert_ne!(shown(&server.connect().await), first);
}

#[tokio::test]
async fn a_connection_at_rest_gives_way_to_one_that_asks() {
    let server = server_with(Limits { total: 3, ..LIMITS }, None, std::future::pending()).await;
    let mut resting = Vec::new();
    for _ in 0..3 {
        resting.push(server.connect().await);
    }
    for _ in 0..5 {
        assert!(server.ask("POST /inject/pod", b"question").await.starts_with("HTTP/1.1 200"));
    }
    // The first question has ended the oldest, and what it left was enough for all that came after it.
    let mut byte = [0];
    assert!(!matches!(resting[0].read(&mut byte).await, Ok(1..)));
    for mut stream in resting.drain(1..) {
        let request = format!("POST /inject/pod HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 8\r\n\r\nquestion");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn one_that_says_nothing_for_long_or_never_finishes_is_ended() {
    let soon = Duration::from_millis(100);
    let server = server_with(Limits { asking: soon, idle: soon, ..LIMITS }, None, std::future::pending()).await;
    let mut without_tls = TcpStream::connect(server.address).await.unwrap();
    let (mut silent, mut slow) = (server.connect().await, server.connect().await);
    let _ = slow.write_all(b"POST /inject/pod HTTP/1.1\r\nhost").await;
    let mut byte = [0];
    assert!(!matches!(without_tls.read(&mut byte).await, Ok(1..)));
    assert!(!matches!(silent.read(&mut byte).await, Ok(1..)));
    assert!(!matches!(slow.read(&mut byte).await, Ok(1..)));
}

#[tokio::test]
async fn who_has_to_show_a_certificate_is_asked_for_it() {
    let mut authority = issue::everything(&names(), SystemTime::now()).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let (key, signer) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::from_pem(&authority.ca_key).unwrap());
    let issuer = rcgen::Issuer::from_ca_cert_pem(&authority.ca_certificate, signer).unwrap();
    authority.certificate = params.signed_by(&key, &issuer).unwrap().pem();
    authority.key = key.serialize_pem();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &authority.ca_certificate).unwrap();

    let ca = ClientCa::read(file.path()).unwrap();
    let server = server_with(LIMITS, Some(ca), std::future::pending()).await;
    let stranger = issue::everything(&names(), SystemTime::now()).unwrap();
    for (client, is_let_in) in [(None, false), (Some(&stranger), false), (Some(&authority), true)] {
        let answer = ask(server.connect_as(client).await, "POST /inject/pod", b"question").await;
        assert_eq!(answer.starts_with("HTTP/1.1 200"), is_let_in, "{answer}");
    }
}
