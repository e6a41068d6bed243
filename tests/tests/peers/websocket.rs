//! WebSockets between the library `websockets` and itself.

use wasmesh_tests::{Captured, Mesh, Service, fresh_ip, until};

use crate::python::{self, Server};

const SERVER: &str = "
import asyncio, logging, sys
from websockets.asyncio.server import serve

# Clients that go away are part of the test.
logging.disable()

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    async with serve(echo, sys.argv[1], 0, max_size=None) as server:
        address = server.sockets[0].getsockname()
        print(f'{address[0]}:{address[1]}', flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
";

const CLIENT: &str = "
import asyncio, os, sys
from websockets.asyncio.client import connect

async def main():
    proxy = sys.argv[2] if len(sys.argv) > 2 else None
    async with connect(sys.argv[1], proxy=proxy, max_size=None) as socket:
        for message in ['hello', b'\\x00\\xff', '', 'ü' * 1000, os.urandom(3_000_000)]:
            await socket.send(message)
            assert await socket.recv() == message
        for _ in range(10):
            await asyncio.wait_for(await socket.ping(), 20)
        async def many():
            for number in range(1000):
                await socket.send(str(number))
        sending = asyncio.create_task(many())
        for number in range(1000):
            assert await socket.recv() == str(number)
        await sending
        await socket.close(4000, 'enough')
        assert socket.close_code == 4000 and socket.close_reason == 'enough', socket

asyncio.run(main())
";

fn mesh() -> (Server, Mesh) {
    let server = Server::start(SERVER, &[&fresh_ip().to_string()]);
    let mesh = Mesh::of([Service::new("chat").endpoint(server.address()).undeclared()]);
    (server, mesh)
}

#[test]
fn messages_pings_and_the_close_pass_on_a_captured_connection() {
    let (_server, mesh) = mesh();
    let captured = Captured::to(mesh.http(), "chat:80");
    python::run(CLIENT, &[&format!("ws://{}/", captured.address())]);
}

#[test]
fn the_library_finds_its_way_through_the_proxy_by_itself() {
    let (_server, mesh) = mesh();
    python::run(CLIENT, &["ws://chat/", &format!("http://{}", mesh.http())]);
}

/// Asks to upgrade and says what came of it.
fn upgrade(client: &mut wasmesh_tests::Connection, target: &str) -> u16 {
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    client
        .send(format!(
            "GET {target} HTTP/1.1\r\nHost: chat\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n{key}\r\n"
        ))
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    head.status
}

#[test]
fn an_open_websocket_is_the_endpoints_load() {
    let (_server, mesh) = mesh();
    let in_flight = || mesh.endpoints("default/chat")[0]["in_flight"].clone();
    let mut open: Vec<_> = (0..3)
        .map(|_| {
            let mut client = mesh.connect();
            assert_eq!(upgrade(&mut client, "http://chat/"), 101);
            // A masked text, and the same unmasked.
            client.send(b"\x81\x82\0\0\0\0hi").unwrap();
            assert_eq!(client.read_exactly(4).unwrap(), b"\x81\x02hi");
            client
        })
        .collect();
    for left in (0..=3).rev() {
        until("only what is open is in flight", || in_flight() == left);
        open.pop();
    }
}
