//! Bodies are passed on as they come, and no faster than the other side takes them.

use std::{
    io::{ErrorKind, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use wasmesh_tests::{Backend, Connection, Mesh, PATIENCE, Scripted, Service, until};

const MEGABYTE: usize = 1024 * 1024;

/// More than all socket buffers on the way can hold.
const TOO_MUCH_TO_BUFFER: usize = 300 * MEGABYTE;

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn a_response_begins_before_the_request_has_ended() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("POST http://web/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for text in ["one", "two", "three"] {
        client.send(chunk(text)).unwrap();
        if text == "one" {
            assert_eq!(client.head().unwrap().status, 200);
        }
        assert_eq!(client.chunk().unwrap().as_deref(), Some(text.as_bytes()));
    }
    client.send("0\r\n\r\n").unwrap();
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn large_bodies_pass_both_ways_whole() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    let mut writer = client.writer().unwrap();
    let uploading = std::thread::spawn(move || {
        let size = 16 * MEGABYTE;
        write!(writer, "POST http://web/echo HTTP/1.1\r\nContent-Length: {size}\r\n\r\n").unwrap();
        (0..16u8).for_each(|byte| writer.write_all(&vec![byte; MEGABYTE]).unwrap());
    });
    let body = client.response("POST").unwrap().body;
    uploading.join().unwrap();
    assert_eq!(body.len(), 16 * MEGABYTE);
    assert!(body.chunks(MEGABYTE).zip(0..).all(|(part, byte)| part.iter().all(|b| *b == byte)));
    assert_eq!(client.request("GET", "http://web/bytes/67108864", "").unwrap().body.len(), 64 * MEGABYTE);
}

/// Writes so much, or until the connection takes no more for a while; returns how much it took.
fn write_until_stuck(connection: &Connection, most: usize) -> usize {
    let mut writer = connection.writer().unwrap();
    writer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let block = vec![b'x'; 256 * 1024];
    let mut taken = 0;
    while taken < most {
        match writer.write(&block[..block.len().min(most - taken)]) {
            Ok(length) => taken += length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

#[test]
fn a_response_that_nobody_reads_is_not_collected() {
    let taken = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&taken);
    let backend = Scripted::start(move |mut connection| {
        connection.request_head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
        told.store(write_until_stuck(&connection, TOO_MUCH_TO_BUFFER), Ordering::SeqCst);
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    until("the backend is stuck", || taken.load(Ordering::SeqCst) > 0);
    assert!(taken.load(Ordering::SeqCst) < TOO_MUCH_TO_BUFFER);
}

#[test]
fn a_request_that_the_backend_does_not_read_is_not_collected() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        std::thread::park();
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("POST http://web/ HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    assert!(write_until_stuck(&client, TOO_MUCH_TO_BUFFER) < TOO_MUCH_TO_BUFFER);
}

/// Writes a body; says when it is stuck, and goes on.
fn write_body(connection: &Connection, length: usize, stuck: &Sender<()>) {
    let taken = write_until_stuck(connection, length);
    assert!(taken < length, "nobody reads it yet");
    stuck.send(()).unwrap();
    let mut writer = connection.writer().unwrap();
    writer.set_write_timeout(Some(PATIENCE)).unwrap();
    writer.write_all(&vec![b'x'; length - taken]).unwrap();
}

#[test]
fn bodies_that_were_stuck_in_both_directions_arrive_whole() {
    const LENGTH: usize = 64 * MEGABYTE;
    let ((request_stuck, until_request_stuck), (answer_stuck, until_answer_stuck)) = (channel(), channel());
    let until_request_stuck = Mutex::new(until_request_stuck);
    let backend = Scripted::start(move |mut connection| {
        connection.request_head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).unwrap();
        let (writing, stuck) = (Connection::from_stream(connection.writer().unwrap()).unwrap(), answer_stuck.clone());
        let answering = std::thread::spawn(move || write_body(&writing, LENGTH, &stuck));
        until_request_stuck.lock().unwrap().recv().unwrap();
        assert_eq!(connection.read_exactly(LENGTH).unwrap().len(), LENGTH);
        answering.join().unwrap();
        connection.request_head();
        connection.send("HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send(format!("POST http://web/ HTTP/1.1\r\nContent-Length: {LENGTH}\r\n\r\n")).unwrap();
    let writing = Connection::from_stream(client.writer().unwrap()).unwrap();
    let asking = std::thread::spawn(move || write_body(&writing, LENGTH, &request_stuck));
    assert_eq!(client.head().unwrap().status, 200);
    until_answer_stuck.recv().unwrap();
    assert_eq!(client.read_exactly(LENGTH).unwrap().len(), LENGTH);
    asking.join().unwrap();
    assert_eq!(client.request("GET", "http://web/", "").unwrap().status, 204, "and the connections go on");
}

#[test]
fn trailers_that_are_announced_pass() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
        );
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\nTE: trailers\r\nConnection: TE\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"ok"[..]));
    assert_eq!(client.line().unwrap(), "0");
    assert_eq!(client.line().unwrap().to_ascii_lowercase(), "x-sum: 7");
}

#[test]
fn a_server_sent_event_is_not_held_back() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        std::thread::park();
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    client.head().unwrap();
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"data: 1\n\n"[..]));
}
