//! From a request to its answer: no sockets here.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};

use super::lines::Lines;
use super::{Admin, Page, Query, Readiness};

pub(super) type Answer = Response<Either<Full<Bytes>, Lines>>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const JSON_LINES: &str = "application/jsonl";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Admin {
    /// hyper leaves the body of an answer to HEAD away by itself.
    pub(super) async fn answer(&self, method: &Method, uri: &Uri, peer: IpAddr) -> Answer {
        let known = matches!(uri.path(), "/livez" | "/readyz" | "/metrics") || self.pages.contains_key(uri.path());
        if known && !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{method} is not for this page\n"));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match uri.path() {
            "/livez" => answer(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => answer(StatusCode::OK, PROMETHEUS, self.metrics.render()),
            path => self.debug(method, path, uri.query().unwrap_or_default(), peer).await,
        }
    }

    fn ready(&self) -> Answer {
        match (self.readiness)() {
            Readiness::Ready => answer(StatusCode::OK, TEXT, "ok\n"),
            Readiness::NotReady(reason) => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n"))
            }
        }
    }

    async fn debug(&self, method: &Method, path: &str, query: &str, peer: IpAddr) -> Answer {
        let Some(page) = self.pages.get(path) else { return self.nothing_here(path) };
        // An IPv4 peer of a listener on [::] shows up as ::ffff:127.0.0.1.
        if !peer.to_canonical().is_loopback() {
            let why =
                format!("{path} is answered on loopback only, and you come from {peer}: use port-forward or exec\n");
            return answer(StatusCode::FORBIDDEN, TEXT, why);
        }
        let query = Query::parse(query);
        match page {
            Page::Text(page) => answer(StatusCode::OK, JSON, page(&query)),
            // Nothing begins for somebody who will not listen.
            Page::Stream(_) if *method == Method::HEAD => answer(StatusCode::OK, JSON_LINES, ""),
            Page::Stream(page) => match page(&query).await {
                Ok(lines) => made(StatusCode::OK, JSON_LINES, Either::Right(Lines(lines))),
                Err((status, why)) => answer(status, TEXT, format!("{why}\n")),
            },
        }
    }

    fn nothing_here(&self, path: &str) -> Answer {
        let pages: String = self.pages.keys().map(|page| format!("{page}\n")).collect();
        let text = format!("nothing at {path}; there are:\n/livez\n/readyz\n/metrics\n{pages}");
        answer(StatusCode::NOT_FOUND, TEXT, text)
    }
}

fn answer(status: StatusCode, content: &'static str, body: impl Into<Bytes>) -> Answer {
    made(status, content, Either::Left(Full::new(body.into())))
}

fn made(status: StatusCode, content: &'static str, body: Either<Full<Bytes>, Lines>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::{Method, StatusCode};
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::super::{Admin, Readiness};
    use crate::metrics;

    const HERE: &str = "127.0.0.1";
    const ELSEWHERE: &str = "10.1.2.3";

    #[track_caller]
    fn check(method: &Method, path: &str, peer: &str, status: u16, expected: &str) {
        let admin = Admin::new(metrics::install(), || Readiness::NotReady("no snapshot yet".into()))
            .page("/debug/snapshot", |query| json!({ "asked": query.get("q") }))
            .stream("/debug/story", |query| {
                let wanted = query.get("of").map(str::to_owned);
                Box::pin(async move {
                    let name = wanted.ok_or((StatusCode::BAD_REQUEST, "of whom?".to_owned()))?;
                    let (lines, told) = mpsc::channel(2);
                    lines.send(format!("{name} begins\n").into()).await.unwrap();
                    lines.send(format!("{name} ends\n").into()).await.unwrap();
                    Ok(told)
                })
            });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(admin.answer(method, &path.parse().unwrap(), peer.parse().unwrap()));
        assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap(), "{method} {path} from {peer}");
        let body = runtime.block_on(answer.collect());
        let body = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
        assert!(body.contains(expected), "{method} {path} from {peer}: {body:?} lacks {expected:?}");
    }

    #[test]
    fn probes_are_for_everyone() {
        check(&Method::GET, "/livez", ELSEWHERE, 200, "ok");
        check(&Method::GET, "/readyz", ELSEWHERE, 503, "not ready: no snapshot yet");
        check(&Method::GET, "/metrics", ELSEWHERE, 200, "");
    }

    #[test]
    fn debug_pages_are_for_loopback() {
        check(&Method::GET, "/debug/snapshot?q=1", HERE, 200, "\"asked\": \"1\"");
        check(&Method::GET, "/debug/snapshot", "::1", 200, "\"asked\": null");
        check(&Method::GET, "/debug/snapshot", "::ffff:127.0.0.1", 200, "\"asked\": null");
        check(&Method::GET, "/debug/snapshot", ELSEWHERE, 403, "loopback only, and you come from 10.1.2.3");
        check(&Method::GET, "/debug/snapshot", "::ffff:10.1.2.3", 403, "loopback only");
    }

    #[test]
    fn what_happens_is_told_to_its_end() {
        check(&Method::GET, "/debug/story?of=it", HERE, 200, "it begins\nit ends\n");
        check(&Method::GET, "/debug/story", HERE, 400, "of whom?");
        check(&Method::HEAD, "/debug/story?of=it", HERE, 200, "");
        check(&Method::GET, "/debug/story?of=it", ELSEWHERE, 403, "loopback only");
        check(&Method::POST, "/debug/story?of=it", HERE, 405, "POST");
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let there = "/livez\n/readyz\n/metrics\n/debug/snapshot\n/debug/story\n";
        for path in ["/", "/debug", "/debug/", "/debug/snapshot/", "/livez/", "//livez"] {
            check(&Method::GET, path, ELSEWHERE, 404, there);
        }
        check(&Method::POST, "/shutdown", HERE, 404, there);
    }

    #[test]
    fn nothing_is_changed_here() {
        check(&Method::POST, "/livez", HERE, 405, "POST");
        check(&Method::DELETE, "/debug/snapshot", HERE, 405, "DELETE");
    }
}
