//! Of two endpoints drawn by chance, the one with fewer requests under way. Picks what the built-in least-request picks.

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update, config,
    levels::{Levels, REASONS},
    two_choices::TwoChoices,
};

#[derive(Default)]
struct LeastRequest {
    levels: Levels<TwoChoices>,
}

impl Policy for LeastRequest {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        config::read(config, "{}", |_| Ok(()))?;
        Ok((Self::default(), Plan::with_reasons(&REASONS)))
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

wasmesh_policy::export!(LeastRequest);
