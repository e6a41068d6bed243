//! What the hostile policies share: they can be told to behave for a while, or nothing but a dry run would ever see them.
//!
//! `{"after": n}`: the first n times go well, by default none.

use wasmesh_policy::config;

/// Counts down to the time to misbehave.
#[derive(Debug)]
pub struct Late {
    left: u32,
}

impl Late {
    /// As configured.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(text: &str) -> Result<Self, String> {
        let after = config::read(text, r#"{"after": NUMBER}"#, |fields| fields.number("after"))?;
        Ok(Self { left: after.unwrap_or(0) })
    }

    /// Counts one time; whether it is one to misbehave.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_due
    }
}
