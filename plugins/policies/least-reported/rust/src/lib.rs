//! Of two endpoints drawn by chance, the one that reports less of something, such as the requests in its queue. The other
//! is tried next if that one cannot be connected to.
//!
//! `{"report": NAME}` says what: a name in the `endpoint-load-metrics` header of the endpoints' answers.
//!
//! An endpoint that reports nothing is taken for an idle one: it is asked, and its answer says how it is.

use wasmesh_policy::{
    Decision, Endpoint, Label, Plan, Policy, Request, Update, config, draw::Draw, members::Members, stats,
};

const REASONS: [&str; 3] = ["less-reported", "nothing-reported", "only-one-usable"];
const LESS: u32 = 0;
const NOTHING: u32 = 1;
const ONLY_ONE: u32 = 2;

/// What the host answers where there is no report.
const NO_REPORT: u32 = u32::MAX;

struct LeastReported {
    members: Members,
    draw: Draw,
}

const USAGE: &str = r#"{"report": NAME}"#;

impl LeastReported {
    fn of(endpoints: &[Endpoint]) -> Self {
        let members = Members::among(endpoints, &|_| true);
        let draw = Draw::new(&members);
        Self { members, draw }
    }
}

impl Policy for LeastReported {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let report = config::read(text, USAGE, |fields| fields.string("report"))?;
        let report =
            report.ok_or_else(|| format!("config: report must say what to go by; this policy takes {USAGE}"))?;
        Ok((Self::of(&[]), Plan { wants: vec![format!("report:{report}")], ..Plan::with_reasons(&REASONS) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        *self = Self::of(&update.endpoints);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if self.members.is_empty() {
            return Decision::fallback();
        }
        let (a, b) = self.draw.pair(request.random);
        let usable = |position: usize| self.members.is_usable(position, request);
        let (best, other, reason) = match (usable(a), usable(b)) {
            (true, true) => self.compared(a, b),
            (true, false) => (a, None, ONLY_ONE),
            (false, true) => (b, None, ONLY_ONE),
            (false, false) => return Decision::fallback(),
        };
        let alternate = other.map(|position| self.members.index(position));
        Decision { alternate, ..Decision::endpoint(self.members.index(best)).because(reason) }
    }
}

impl LeastReported {
    fn compared(&self, a: usize, b: usize) -> (usize, Option<usize>, u32) {
        let report = |position: usize| match stats::reported(self.members.index(position), 0) {
            NO_REPORT => (0, NOTHING),
            value => (value, LESS),
        };
        let ((of_a, reason), (of_b, reason_b)) = (report(a), report(b));
        if of_b < of_a { (b, Some(a), reason_b) } else { (a, Some(b), reason) }
    }
}

wasmesh_policy::export!(LeastReported);
