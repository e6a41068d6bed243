//! What a proxy changes in a message's head, and nothing else: hop-by-hop fields and the form of the target. Pure.

use hyper::{
    HeaderMap, Uri,
    header::{
        CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    http::uri::PathAndQuery,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Removes the fields that concern one connection only (RFC 9110, section 7.6.1). Returns the protocol that the message
/// asks to upgrade to, if it does; `h2c` is not offered on, since nobody would translate.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = upgrade_of(headers);
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    let accepts_trailers = headers.get_all(TE).iter().any(has_token("trailers"));
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, UPGRADE, HTTP2_SETTINGS, TE] {
        headers.remove(name);
    }
    if accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // With a transfer coding the length is not a length; a recipient that believed it would read another message
    // (RFC 9112, section 6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if let Some(protocol) = &upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    upgrade
}

fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers.get_all(CONNECTION).iter().any(has_token("upgrade"));
    let protocol = headers.get(UPGRADE).filter(|protocol| asks && !has_token("h2c")(protocol))?;
    Some(protocol.clone())
}

fn has_token(token: &'static str) -> impl Fn(&HeaderValue) -> bool {
    move |value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Framing and routing fields stay even if a client names them in Connection: removing them would change the message.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE, TRAILER, UPGRADE].contains(name)).collect()
}

/// Removes what a client says to its proxy and not to the server.
pub fn strip_proxy_fields(headers: &mut HeaderMap) {
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(PROXY_AUTHENTICATE);
}

/// Turns an absolute-form target into origin-form and its authority into `Host` (RFC 9112, section 3.2.2).
pub fn to_origin_form(uri: &mut Uri, headers: &mut HeaderMap) {
    if let Some(host) =
        uri.authority().and_then(|authority| HeaderValue::from_str(without_userinfo(authority.as_str())).ok())
    {
        headers.insert(HOST, host);
    }
    // `OPTIONS http://host`, which asks about the server as a whole, cannot be told from `OPTIONS http://host/`: the HTTP
    // library's URLs all have a path.
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *uri = Uri::from(path);
}

fn without_userinfo(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Writes the framing of a request as everybody understands it, or says why some may understand it otherwise than the library does,
/// which takes whatever ends with `chunked` for chunks.
///
/// # Errors
/// When the end of its body is in doubt.
pub fn settle_framing(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return Ok(()) };
    if !first.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
        return Err("its Transfer-Encoding is not just `chunked`, so where it ends is in doubt");
    }
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn check(given: &[(&'static str, &'static str)], expected: &[(&'static str, &'static str)]) {
        let mut stripped = headers(given);
        strip_hop_by_hop(&mut stripped);
        assert_eq!(stripped, headers(expected), "{given:?}");
    }

    #[test]
    fn fields_of_one_connection_are_not_passed_on() {
        check(&[("connection", "close, X-Private"), ("x-private", "1"), ("x-public", "2")], &[("x-public", "2")]);
        check(&[("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"), ("te", "gzip")], &[]);
        check(&[("te", "gzip, Trailers"), ("connection", "te")], &[("te", "trailers")]);
    }

    #[test]
    fn upgrades_are_passed_on_but_h2c_is_not() {
        let websocket = [("connection", "upgrade"), ("upgrade", "websocket")];
        check(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], &websocket);
        check(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")], &[]);
        check(&[("upgrade", "websocket")], &[]);
    }

    #[test]
    fn framing_survives_a_client_that_calls_it_hop_by_hop() {
        check(
            &[("connection", "content-length, host"), ("content-length", "3"), ("host", "a")],
            &[("content-length", "3"), ("host", "a")],
        );
        check(&[("transfer-encoding", "chunked"), ("content-length", "3")], &[("transfer-encoding", "chunked")]);
    }

    #[test]
    fn absolute_targets_become_origin_targets() {
        for (given, path, host) in [
            ("http://web.shop:81/a?b=c", "/a?b=c", "web.shop:81"),
            ("http://web", "/", "web"),
            ("http://user:secret@web/x", "/x", "web"),
        ] {
            let (mut uri, mut fields) = (given.parse::<Uri>().unwrap(), headers(&[("host", "other")]));
            to_origin_form(&mut uri, &mut fields);
            assert_eq!((uri.to_string().as_str(), fields[HOST].to_str().unwrap()), (path, host), "{given}");
        }
    }
}
