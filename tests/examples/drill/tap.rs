//! Writes down who was on the way to a pod, by the packets: where it takes nothing any more it cannot say so itself.

use std::{
    io::Read,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, Protocol as Number, SockFilter, Socket, Type};

use crate::{
    ledger::Ledger,
    protocol::{self, Protocol},
};

/// Frames of IPv4, as `packet(7)` wants to be told: in network order.
const ETH_P_IP: u16 = 0x0800;
/// Of a frame of Ethernet, which loopback has as well.
const FRAME_HEADER: usize = 14;
const TCP: u8 = 6;

/// Listens until it is dropped.
pub(crate) struct Tap {
    is_over: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
}

impl Tap {
    pub(crate) fn new(pod: Ipv4Addr, ledger: &Arc<Ledger>) -> Self {
        let number = i32::from(ETH_P_IP.to_be());
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Number::from(number))).expect("a packet socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        socket.attach_filter(&only_to(pod)).expect("a filter");
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, ledger) = (Arc::clone(&is_over), Arc::clone(ledger));
        let watching = thread::spawn(move || watch(&socket, pod, &ended, &ledger));
        Self { is_over, watching: Some(watching) }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.watching.take().map(JoinHandle::join);
    }
}

/// A program of the kernel's packet filter (bpf(4)): everything else would crowd out what is looked for.
fn only_to(pod: Ipv4Addr) -> [SockFilter; 4] {
    const LOAD_WORD_AT: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const DESTINATION: u32 = FRAME_HEADER as u32 + 16;
    [
        SockFilter::new(LOAD_WORD_AT, 0, 0, DESTINATION),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, pod.to_bits()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn watch(mut socket: &Socket, pod: Ipv4Addr, is_over: &AtomicBool, ledger: &Ledger) {
    let mut frame = vec![0; 1 << 17];
    while !is_over.load(Ordering::Relaxed) {
        let Ok(length) = socket.read(&mut frame) else { continue };
        if let Some((protocol, payload)) = sent_to(pod, &frame[..length]) {
            protocol::ids(protocol, payload).into_iter().for_each(|id| ledger.got(id));
        }
    }
}

/// What a frame carries to a pod, and to which of its ports.
fn sent_to(pod: Ipv4Addr, frame: &[u8]) -> Option<(Protocol, &[u8])> {
    let packet = frame.get(FRAME_HEADER..)?;
    let is_it = packet.get(9)? == &TCP && packet.get(16..20)? == pod.octets();
    // RFC 791 and RFC 9293: both headers say in words of four bytes how long they are.
    let words = |byte: u8| usize::from(byte) * 4;
    let segment = packet.get(words(packet.first()? & 15)..)?;
    let port = u16::from_be_bytes([*segment.get(2)?, *segment.get(3)?]);
    let payload = segment.get(words(segment.get(12)? >> 4)..)?;
    let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.port() == port)?;
    is_it.then_some((protocol, payload))
}
