//! Of two endpoints chosen by chance, the one with fewer requests under way.

use wasmesh_policy::{
    Decision, Endpoint, Label, Plan, Policy, Request, Update, config,
    levels::{Chooser, Levels, REASONS},
    members::Members,
    random::{below, mix},
    stats,
};

#[derive(Default)]
struct LessLoaded {
    /// Priorities, and somebody else when the chosen endpoint cannot take the request.
    levels: Levels<OfTwo>,
}

impl Policy for LessLoaded {
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

wasmesh_policy::export!(LessLoaded);

struct OfTwo;

impl Chooser for OfTwo {
    fn new(_members: &Members, _endpoints: &[Endpoint]) -> Self {
        Self
    }

    fn choose(&self, members: &Members, request: &Request, _cursor: &mut u64) -> Result<usize, usize> {
        let count = members.len() as u64;
        let one = below(request.random, count) as usize;
        let other = below(mix(request.random), count) as usize;
        let load = |position| stats::in_flight(members.index(position));
        let chosen = if load(other) < load(one) { other } else { one };
        if members.is_usable(chosen, request) { Ok(chosen) } else { Err(chosen) }
    }
}
