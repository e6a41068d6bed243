//! What a policy has asked for in the answer of `init`: pure, checked once, used at each pick.

mod json;
mod keys;
mod word;

use std::fmt;

pub use keys::Keys;
pub use word::{MAX_BODY_BYTES, Word};

use crate::settings::Grants;

/// The most keys that a plan may have.
pub const MAX_KEYS: usize = 4;
/// The most wants that a plan may have.
pub const MAX_WANTS: usize = 16;
/// The most reasons that a plan may have.
pub const MAX_REASONS: usize = 16;
/// The longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 32;

/// The longest name of a report, in bytes.
const MAX_REPORT_BYTES: usize = 128;

/// A plan that was found good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What the host hashes for each pick, at most [`MAX_KEYS`].
    pub keys: Vec<Word>,
    /// What else the policy may ask for, at most [`MAX_WANTS`]; the index is what it asks by.
    pub wants: Vec<Want>,
    /// Names for [`crate::Decision::reason`], at most [`MAX_REASONS`]: lower-case letters, digits and hyphens.
    pub reasons: Vec<String>,
    grants: Grants,
}

/// Something that a policy may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Want {
    /// `string:WORD`: a string of the request. Never [`Word::Json`].
    Text(Word),
    /// `report:NAME`: a number that endpoints report of themselves.
    Report(String),
    /// `body:N`: so many bytes of the body's beginning, from 1 to [`MAX_BODY_BYTES`].
    Body(usize),
}

/// Why a plan is refused. Names what of it and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A list is too long.
    #[error("plan.{list} has {len} entries: at most {max} are allowed")]
    TooMany {
        /// `keys`, `wants` or `reasons`.
        list: &'static str,
        /// How many there are.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// An entry is wrong.
    #[error("plan.{list}[{index}], {word:?}, {why}")]
    BadWord {
        /// `keys`, `wants` or `reasons`.
        list: &'static str,
        /// Where in the list.
        index: usize,
        /// The entry, cut if it is very long.
        word: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A plan as the guest gave it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPlan {
    pub(crate) keys: Vec<String>,
    pub(crate) wants: Vec<String>,
    pub(crate) reasons: Vec<String>,
}

impl Plan {
    /// Checks a plan.
    ///
    /// What it asks for without having the grant for it is no error: it reads as nothing.
    pub(crate) fn check(raw: &RawPlan, grants: Grants) -> Result<Self, PlanError> {
        let wants = each("wants", &raw.wants, MAX_WANTS, parse_want)?;
        let bodies = |want: &&Want| matches!(want, Want::Body(_));
        if wants.iter().filter(bodies).count() > 1 {
            let index = wants.iter().rposition(|want| bodies(&want)).unwrap_or_default();
            let why = "is a second body: at most one can be asked for".to_owned();
            return Err(bad_word("wants", index, &raw.wants[index], why));
        }
        Ok(Self {
            keys: each("keys", &raw.keys, MAX_KEYS, Word::parse)?,
            wants,
            reasons: each("reasons", &raw.reasons, MAX_REASONS, parse_reason)?,
            grants,
        })
    }

    /// How much of a body the host has to see before a pick, in bytes; `None` if the policy asks for no body or may not
    /// have it.
    ///
    /// For a `json:` key it is [`MAX_BODY_BYTES`] however short the key is, because the value may stand anywhere.
    pub fn body_prefix(&self) -> Option<usize> {
        if !self.grants.body {
            return None;
        }
        let by_keys = self.keys.iter().filter(|key| key.is_of_body()).map(|_| MAX_BODY_BYTES);
        by_keys.chain(self.body_want()).max()
    }

    /// The name at an index that the policy gave; `None` if there is none.
    pub fn reason(&self, index: u32) -> Option<&str> {
        self.reasons.get(index as usize).map(String::as_str)
    }

    /// Which keys a request can have at all: those that were asked for and may be had, a bit each.
    pub(crate) fn possible_keys(&self) -> u8 {
        let keys = self.keys.iter().enumerate().filter(|(_, key)| self.grants.allow(key));
        keys.fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// How much of the body the policy itself may read.
    pub(crate) fn body_want(&self) -> Option<usize> {
        let asked = self.wants.iter().find_map(|want| match want {
            Want::Body(bytes) => Some(*bytes),
            _ => None,
        });
        asked.filter(|_| self.grants.body)
    }

    /// The strings that the policy asks for and may have, and their indexes.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (usize, &Word)> {
        self.wants.iter().enumerate().filter_map(|(index, want)| match want {
            Want::Text(word) if self.grants.allow(word) => Some((index, word)),
            _ => None,
        })
    }

    /// The name of the report at this index of the wants.
    pub(crate) fn report(&self, want: u32) -> Option<&str> {
        match self.wants.get(want as usize) {
            Some(Want::Report(name)) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Want {
    /// As a plan has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(word) => write!(f, "string:{word}"),
            Self::Report(name) => write!(f, "report:{name}"),
            Self::Body(bytes) => write!(f, "body:{bytes}"),
        }
    }
}

fn parse_want(text: &str) -> Result<Want, String> {
    match text.split_once(':') {
        Some(("string", word)) => match Word::parse(word)? {
            word if word.is_of_body() => Err("cannot be had as a string, only as a key".to_owned()),
            word => Ok(Want::Text(word)),
        },
        Some(("report", name)) if name.is_empty() || name.len() > MAX_REPORT_BYTES => {
            Err(format!("does not name a report: expected 1 to {MAX_REPORT_BYTES} bytes"))
        }
        Some(("report", name)) => Ok(Want::Report(name.to_owned())),
        Some(("body", bytes)) => word::byte_count(bytes).map(Want::Body),
        _ => Err("is not known: expected string:WORD, report:NAME or body:BYTES".to_owned()),
    }
}

/// Reasons are values of a metric's label and words of a command line.
fn parse_reason(text: &str) -> Result<String, String> {
    let is_right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > MAX_REASON_BYTES || !text.bytes().all(is_right) {
        return Err(format!("is no reason: expected 1 to {MAX_REASON_BYTES} lower-case letters, digits and hyphens"));
    }
    Ok(text.to_owned())
}

/// Reads every entry of a list.
fn each<T>(
    list: &'static str,
    texts: &[String],
    max: usize,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, PlanError> {
    if texts.len() > max {
        return Err(PlanError::TooMany { list, len: texts.len(), max });
    }
    let read = |(index, text): (usize, &String)| read(text).map_err(|why| bad_word(list, index, text, why));
    texts.iter().enumerate().map(read).collect()
}

fn bad_word(list: &'static str, index: usize, word: &str, why: String) -> PlanError {
    PlanError::BadWord { list, index, word: crate::text::cut(word, 64).to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(keys: &[&str], wants: &[&str], reasons: &[&str]) -> RawPlan {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        RawPlan { keys: owned(keys), wants: owned(wants), reasons: owned(reasons) }
    }

    fn refusal(keys: &[&str], wants: &[&str], reasons: &[&str]) -> String {
        Plan::check(&raw(keys, wants, reasons), Grants::ALL).unwrap_err().to_string()
    }

    #[test]
    fn a_good_plan_is_read() {
        let wants = ["string:header:X-Canary", "report:vllm:kv_cache", "body:16384", "string:path"];
        let plan = Plan::check(&raw(&["header:x-tenant", "path"], &wants, &["canary", "no-1"]), Grants::ALL).unwrap();
        assert_eq!(plan.keys, [Word::Header("x-tenant".to_owned()), Word::Path]);
        assert_eq!(plan.wants[2], Want::Body(16_384));
        assert_eq!(plan.report(1), Some("vllm:kv_cache"));
        assert_eq!((plan.report(0), plan.report(9)), (None, None));
        assert_eq!((plan.reason(1), plan.reason(2)), (Some("no-1"), None));
        assert_eq!(plan.texts().map(|(index, _)| index).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(Plan::check(&RawPlan::default(), Grants::default()), Ok(Plan::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (told, expected) in [
            (refusal(&["path"; 5], &[], &[]), "plan.keys has 5 entries: at most 4"),
            (refusal(&[], &["string:path"; 17], &[]), "plan.wants has 17 entries: at most 16"),
            (refusal(&[], &[], &["a"; 17]), "plan.reasons has 17 entries: at most 16"),
            (refusal(&["path", "host"], &[], &[]), "plan.keys[1], \"host\", is not known"),
            (refusal(&["string:path"], &[], &[]), "plan.keys[0], \"string:path\", is not known"),
            (refusal(&[], &["path"], &[]), "plan.wants[0], \"path\", is not known"),
            (refusal(&[], &["string:host"], &[]), "plan.wants[0], \"string:host\", is not known"),
            (refusal(&[], &["string:json:/a#1"], &[]), "only as a key"),
            (refusal(&[], &["report:"], &[]), "does not name a report"),
            (refusal(&[], &["body:0"], &[]), "from 1 to 65536"),
            (refusal(&[], &["body:1", "sni", "body:2"], &[]), "plan.wants[1], \"sni\""),
            (refusal(&[], &["body:1", "string:sni", "body:2"], &[]), "plan.wants[2], \"body:2\", is a second body"),
            (refusal(&[], &[], &[""]), "plan.reasons[0], \"\", is no reason"),
            (refusal(&[], &[], &["ok", "Not OK"]), "plan.reasons[1], \"Not OK\", is no reason"),
            (refusal(&[], &[], &[&"x".repeat(33)]), "is no reason"),
        ] {
            assert!(told.contains(expected), "{told} does not say {expected}");
        }
        assert!(refusal(&[], &[], &[&"x".repeat(10_000)]).len() < 300, "a huge word is not repeated whole");
    }

    #[test]
    fn what_is_not_granted_is_not_there() {
        let raw = raw(&["json:/a#5"], &["string:cookie:a", "string:header:authorization", "body:7"], &[]);
        let plan = Plan::check(&raw, Grants::default()).unwrap();
        assert_eq!((plan.body_prefix(), plan.body_want(), plan.texts().count()), (None, None, 0));
        let plan = Plan::check(&raw, Grants::ALL).unwrap();
        assert_eq!((plan.body_prefix(), plan.body_want(), plan.texts().count()), (Some(MAX_BODY_BYTES), Some(7), 2));
    }
}
