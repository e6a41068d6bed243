//! Questions over UDP.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{net::UdpSocket, task::spawn_local, time::sleep};

use super::{
    answer::Answerer,
    events::{self, Dealt},
    message::{Nonsense, Question, Transport},
};

/// No question is longer: what names and options there are fits.
const MAX_QUESTION: usize = 4096;

/// How long to wait after the socket has failed: whatever is wrong may be so for each call.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves for ever.
pub(super) async fn serve(socket: Rc<UdpSocket>, answerer: Rc<Answerer>) {
    let mut buffer = vec![0; MAX_QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                events::socket_failed("a question could not be received", &error);
                sleep(PAUSE).await;
                continue;
            }
        };
        let question = match Question::parse(&buffer[..length]) {
            Ok(question) => question,
            Err(nonsense) => {
                events::dealt(Dealt::Malformed);
                if let Nonsense::Refused(answer) = nonsense {
                    send(&socket, &answer, client);
                }
                continue;
            }
        };
        let (socket, answerer) = (Rc::clone(&socket), Rc::clone(&answerer));
        spawn_local(async move {
            if let Some(answer) = answerer.answer(&question).await {
                send(&socket, &question.encode(answer, Transport::Udp), client);
            }
        });
    }
}

/// A full buffer loses the answer, as the network might.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.try_send_to(answer, client)
        && error.kind() != io::ErrorKind::WouldBlock
    {
        events::socket_failed("an answer could not be sent", &error);
    }
}
