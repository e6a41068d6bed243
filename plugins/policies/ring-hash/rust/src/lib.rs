//! Consistent hashing on a ring, as Ketama does it (libketama, 2007) and Envoy's `ring_hash` after it. Picks what the
//! built-in ring hash picks. `{"key": WORD}` says what to hash by, a word as in `Plan::keys`; by default the path.

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update, config,
    levels::{Levels, REASONS},
    ring::Ring,
};

#[derive(Default)]
struct RingHash {
    levels: Levels<Ring>,
}

const USAGE: &str = r#"{"key": WORD}"#;

impl Policy for RingHash {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let key = config::read(text, USAGE, |fields| fields.string("key"))?;
        let key = key.unwrap_or_else(|| "path".to_owned());
        Ok((Self::default(), Plan { keys: vec![key], ..Plan::with_reasons(&REASONS) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.levels = Levels::new(&update.endpoints);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        match self.levels.pick(request, &mut 0) {
            Some((index, reason)) => Decision::endpoint(index).because(reason as u32),
            None => Decision::fallback(),
        }
    }
}

wasmesh_policy::export!(RingHash);
