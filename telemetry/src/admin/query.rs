//! The query of a debug page's address.

use percent_encoding::percent_decode_str;

/// What stands after the `?`: names and values, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// The first value given for `name`; `Some("")` for a name without one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Reads any text: what is not valid percent-encoding stands for itself, what is no UTF-8 is replaced.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self { pairs: pairs.collect() }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[track_caller]
    fn check(text: &str, name: &str, expected: Option<&str>) {
        assert_eq!(Query::parse(text).get(name), expected, "{name} of {text:?}");
    }

    #[test]
    fn any_text_is_a_query() {
        check("", "service", None);
        check("service=shop", "service", Some("shop"));
        check("a=1&service=shop%2Fweb&service=no", "service", Some("shop/web"));
        check("verbose&&x=1", "verbose", Some(""));
        check("q=a+b%20c", "q", Some("a b c"));
        check("q=100%", "q", Some("100%"));
        check("q=%ff", "q", Some("\u{fffd}"));
        check("=", "", Some(""));
    }
}
