//! Errors, for people.

use std::error::Error;

/// An error with everything that is behind it, each thing said once: those of networks and libraries keep what matters in the last
/// of their causes, and many repeat a cause in their own words.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let said = cause.to_string();
        if text.is_empty() {
            text = said;
        } else if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
    }
    text
}

/// The error, what has caused it, what has caused that, and so on.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt};

    use super::with_causes;

    #[derive(Debug)]
    struct Failed(&'static str, Option<Box<Failed>>);

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let of = |texts: &[&'static str]| {
            let error = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Failed(text, cause))));
            with_causes(error.unwrap().as_ref())
        };
        assert_eq!(of(&["refused"]), "refused");
        assert_eq!(
            of(&["cannot connect", "tcp connect error", "refused"]),
            "cannot connect: tcp connect error: refused"
        );
        assert_eq!(
            of(&["cannot connect: refused", "refused", "again: refused"]),
            "cannot connect: refused: again: refused"
        );
    }
}
