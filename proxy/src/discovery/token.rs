//! The token that says who this pod is.

use std::{fs, path::PathBuf, sync::Arc};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

/// Tokens have one or two thousand bytes; a header may not have very many more.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A file with a token. Whoever has put it there replaces it before it expires, so it is read anew for each call.
#[derive(Debug, Clone)]
pub(super) struct TokenFile(Arc<PathBuf>);

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(path))
    }

    /// The header that presents the token. Its value is marked as one that is never to be logged.
    fn header(&self) -> Result<MetadataValue<Ascii>, String> {
        let path = self.0.display();
        let text = fs::read_to_string(&*self.0).map_err(|error| format!("cannot read the token {path}: {error}"))?;
        let token = text.trim();
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(format!("{path} has {} bytes, that is no token", token.len()));
        }
        // The error of the parser would quote the token.
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| format!("{path} has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Adds the token to each call, if there is one.
#[derive(Debug, Clone)]
pub struct Bearer(Option<TokenFile>);

impl Bearer {
    pub(super) fn new(token: Option<TokenFile>) -> Self {
        Self(token)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let header = token.header().map_err(|why| Status::unauthenticated(format!("{why} (--token)")))?;
            request.metadata_mut().insert("authorization", header);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_read_anew_for_each_call_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut bearer = Bearer::new(Some(TokenFile::new(path.clone())));
        let why = bearer.call(Request::new(())).unwrap_err();
        assert!(why.message().contains("cannot read the token"), "{why}");
        for token in ["one.two.three\n", "four"] {
            fs::write(&path, token).unwrap();
            let request = bearer.call(Request::new(())).unwrap();
            let header = request.metadata().get("authorization").unwrap();
            assert_eq!(header.to_str().unwrap(), format!("Bearer {}", token.trim()));
            assert!(!format!("{request:?} {bearer:?}").contains(token.trim()));
        }
        for nonsense in ["", "  \n", "a\u{1}secret", &"x".repeat(20_000)] {
            fs::write(&path, nonsense).unwrap();
            let why = bearer.call(Request::new(())).unwrap_err();
            assert!(!why.message().contains("secret"), "{why}");
        }
    }

    #[test]
    fn without_a_token_nothing_is_added() {
        let request = Bearer::new(None).call(Request::new(())).unwrap();
        assert!(request.metadata().is_empty());
    }
}
