//! Refuses each list of endpoints but for the first k: `{"after": k}`, by default 0.

use serde::Deserialize;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update, config};

struct RefuseUpdate {
    after: u32,
    taken: u32,
}

const USAGE: &str = r#"{"after": NUMBER}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    after: Option<u32>,
}

impl Policy for RefuseUpdate {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let config: Config = config::read(text, USAGE)?;
        Ok((Self { after: config.after.unwrap_or(0), taken: 0 }, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        if self.taken == self.after {
            return Err(format!("{} lists are enough", self.after));
        }
        self.taken += 1;
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(RefuseUpdate);
