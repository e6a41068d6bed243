//! An HTTP/1.1 client of our own: it shows every byte, and shares no code with what it tests.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

use crate::PATIENCE;

/// One connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// A response, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1` or what it says.
    pub version: String,
    /// The status.
    pub status: u16,
    /// The fields in the order and case in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::from_stream(TcpStream::connect(address)?)
    }

    /// On a connection that is there already.
    ///
    /// # Errors
    /// When it is gone.
    pub fn from_stream(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        // It fails only on one that is gone already.
        let _ = set_socket_linger(self.stream.get_ref(), Some(Duration::ZERO));
    }

    /// Ends our direction.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(Shutdown::Write)
    }

    /// Another handle on the same socket, to write from another thread.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn writer(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    /// Exactly this many bytes.
    ///
    /// # Errors
    /// When they do not come.
    pub fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Everything up to the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends a request without a body and reads the response.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn request(&mut self, method: &str, target: &str, headers: &str) -> io::Result<Response> {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: given.example\r\n{headers}\r\n"))?;
        self.response(method)
    }

    /// Reads the response to a request with this method.
    ///
    /// # Errors
    /// When the connection breaks, also in the middle of the body.
    pub fn response(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.head()?;
        response.body = self.body(method, &response)?;
        Ok(response)
    }

    /// Reads the head of a response.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn head(&mut self) -> io::Result<Response> {
        let status_line = self.line()?;
        let mut words = status_line.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| invalid(format!("no status line: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { version, status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("no header: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, method: &str, head: &Response) -> io::Result<Vec<u8>> {
        if method == "HEAD" || head.status < 200 || matches!(head.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if head.header("transfer-encoding").is_some() {
            return self.chunks();
        }
        match head.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => self.read_exactly(length),
            None => self.read_to_end(),
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(mut chunk) = self.chunk()? {
            body.append(&mut chunk);
        }
        Ok(body)
    }

    /// One chunk of a chunked body; `None` for its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = size.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(size, 16).map_err(|_| invalid(format!("no chunk size: {size:?}")))?;
        if length == 0 {
            while !self.line()?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.read_exactly(length)?;
        self.line()?;
        Ok(Some(chunk))
    }

    /// One line, without its end.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let line = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }
}

impl Response {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Which backend answered.
    pub fn backend(&self) -> SocketAddr {
        self.header("backend")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no backend: {self:?}"))
    }

    /// The reason, if the proxy answered by itself.
    pub fn wasmesh_error(&self) -> Option<&str> {
        self.header("wasmesh-error")
    }

    fn is_last(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A client of an HTTP proxy that keeps its connection.
pub struct Client {
    proxy: SocketAddr,
    connection: Option<Connection>,
}

impl Client {
    /// A client of this proxy.
    pub fn of(proxy: SocketAddr) -> Self {
        Self { proxy, connection: None }
    }

    /// GETs a URL.
    ///
    /// # Panics
    /// When no response comes.
    #[track_caller]
    pub fn get(&mut self, url: &str) -> Response {
        self.try_get(url).unwrap_or_else(|error| panic!("GET {url}: {error}"))
    }

    /// GETs a URL.
    ///
    /// # Errors
    /// When no response comes.
    pub fn try_get(&mut self, url: &str) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.proxy)?,
        };
        let response = connection.request("GET", url, "")?;
        if !response.is_last() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// Whether the next request will use a connection that has served one before.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
