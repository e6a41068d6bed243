//! What a registry wants before it gives anything out.

use http_auth::ChallengeParser;
use hyper::{HeaderMap, header::WWW_AUTHENTICATE};

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password.
    Basic,
    /// A token.
    Bearer {
        /// Where it is had.
        realm: String,
        /// For whom it is.
        service: String,
    },
}

impl Challenge {
    /// The first that is known here.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        texts.find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        for challenge in ChallengeParser::new(text) {
            // What follows something unreadable cannot be read either.
            let challenge = challenge.ok()?;
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped()).unwrap_or_default()
                };
                return Some(Self::Bearer { realm: parameter("realm"), service: parameter("service") });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_challenge_is_answered() {
        let check = |text: &str, expected: Option<Challenge>| assert_eq!(Challenge::parse(text), expected, "{text}");
        check(r#"Basic realm="r""#, Some(Challenge::Basic));
        check(r#"Negotiate, basic realm="r""#, Some(Challenge::Basic));
        let bearer = || Some(Challenge::Bearer { realm: "https://t/token".to_owned(), service: "s \"x\"".to_owned() });
        check(r#"Bearer realm="https://t/token",service="s \"x\"",scope="repository:x:pull""#, bearer());
        check("Digest realm=\"r\"", None);
        check("", None);
        check("\"", None);
    }
}
