//! Control planes and sidecars of different versions: a field or a kind of message that one side does not know is passed over.

use std::net::SocketAddr;

use bytes::BufMut;
use hyper::http::uri::PathAndQuery;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};
use wasmesh_proto::wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy};
use wasmesh_tests::{
    Backend, ControlPlane, FakeControlPlane, Folder, Proxy, Service, core_service, fresh_vip, hello, item, runtime,
};

/// A field of the future, at the end of a message: number 3000, a text.
fn with_more(mut message: Vec<u8>) -> Vec<u8> {
    encode_key(3000, WireType::LengthDelimited, &mut message);
    encode_varint(6, &mut message);
    message.put_slice(b"future");
    message
}

fn field(number: u32, content: &[u8], message: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, message);
    encode_varint(content.len() as u64, message);
    message.put_slice(content);
}

/// The body of an item as a newer control plane would write it: with more in it, and in everything in it.
fn newer_body(body: &[u8]) -> Vec<u8> {
    let wire::ItemBody { entry, endpoints } = wire::ItemBody::decode(body).unwrap();
    let mut newer = Vec::new();
    if let Some(mut entry) = entry {
        let ports = std::mem::take(&mut entry.ports);
        let mut bytes = with_more(entry.encode_to_vec());
        ports.iter().for_each(|port| field(4, &with_more(port.encode_to_vec()), &mut bytes));
        field(1, &bytes, &mut newer);
    }
    if let Some(mut delta) = endpoints {
        let upserts = std::mem::take(&mut delta.upserts);
        let mut bytes = with_more(delta.encode_to_vec());
        upserts.iter().for_each(|endpoint| field(3, &with_more(endpoint.encode_to_vec()), &mut bytes));
        field(2, &bytes, &mut newer);
    }
    with_more(newer)
}

#[test]
fn a_newer_control_plane_says_more_and_an_older_sidecar_serves_what_it_knows() {
    let (control_plane, backend) = (FakeControlPlane::start(), Backend::start());
    let proxy = Proxy::start(&control_plane.url(), &[]);
    let mut stream = control_plane.accept();
    stream.welcome();
    stream.send_unknown();
    let service = core_service("default/web", SocketAddr::from((fresh_vip(), 80)), &[backend.address()]);
    let newer = |with_endpoints| {
        let item = item(&service, with_endpoints);
        wire::Item { body: newer_body(&item.body).into(), ..item }
    };
    assert_eq!(stream.update(vec![newer(false)], &[]).rejected, []);
    let mut client = proxy.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.expect_subscribe().add, ["default/web"]);
    assert_eq!(stream.update(vec![newer(true)], &[]).rejected, []);
    assert_eq!(client.response("GET").unwrap().backend(), backend.address());
}

/// Says more than it should.
#[derive(Default)]
struct Newer;

impl Codec for Newer {
    type Encode = wire::FromProxy;
    type Decode = wire::ToProxy;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Newer {
    type Item = wire::FromProxy;
    type Error = Status;

    fn encode(&mut self, message: wire::FromProxy, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&with_more(message.encode_to_vec()));
        Ok(())
    }
}

impl Decoder for Newer {
    type Item = wire::ToProxy;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<wire::ToProxy>, Status> {
        wire::ToProxy::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[test]
fn a_newer_sidecar_says_more_and_an_older_control_plane_serves_it() {
    let folder = Folder::default();
    folder.put(&[Service::new("web")]);
    let control_plane = ControlPlane::start(folder.path());
    let endpoint = Endpoint::from_shared(format!("http://{}", control_plane.discovery())).unwrap();
    runtime().block_on(async {
        let mut client = Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let (outbox, messages) = tokio::sync::mpsc::channel(4);
        let node = wire::Node { proxy: "newer".to_owned(), version: "99.1.0".to_owned(), ..Default::default() };
        let hello = wire::Hello { node: Some(node), ..hello("newer", &["default/web"]) };
        let say = |message| wire::FromProxy { message };
        outbox.send(say(Some(FromProxy::Hello(hello)))).await.unwrap();
        // A kind of message that is not known.
        outbox.send(say(None)).await.unwrap();
        let path = PathAndQuery::from_static("/wasmesh.discovery.v1.Discovery/Stream");
        let answer = client.streaming(Request::new(ReceiverStream::new(messages)), path, Newer).await.unwrap();
        let mut inbox = answer.into_inner();
        let mut names = Vec::new();
        while names.is_empty() {
            match inbox.message().await.unwrap().unwrap().message {
                Some(ToProxy::Update(update)) => names = update.items.into_iter().map(|item| item.name).collect(),
                Some(ToProxy::Welcome(welcome)) => assert_eq!(welcome.protocol, wasmesh_proto::PROTOCOL),
                other => assert!(matches!(other, Some(ToProxy::Peers(_))), "{other:?}"),
            }
        }
        assert_eq!(names, ["default/web"]);
    });
}
