//! gRPC methods, or any paths, go to those endpoints that have a label for them: reads to replicas, writes to the leader.
//!
//! `{"label": "role", "/shop.Orders/Get": "replica, leader", "/shop.Orders/*": "leader", "*": "*"}`: for a method, or for all
//! whose path begins with what is before a `*`, the values of the label to go to, the first one that has a usable endpoint;
//! `*` for any endpoint. The longest path that fits decides; `"*"` is for all others, and any endpoint without it. `label` is
//! `role` by default, and the policy object must name it in `endpointLabels`. Within a value it is the less loaded of two.
//!
//! Where none of them is usable the request is rejected with 503, which gRPC clients see as UNAVAILABLE: a write that goes to
//! a replica is worse than one that waits. The policy object must allow `Reject`, or the built-in policy sends it anywhere.

mod routes;

use wasmesh_policy::{
    Choice, Decision, Endpoint, Label, Plan, Policy, Request, Traits, Update, config, levels::Levels, request_info,
    two_choices::TwoChoices,
};

use routes::Routes;

const REASONS: [&str; 3] = ["routed", "second-choice", "nobody-for-it"];
const ROUTED: u32 = 0;
const SECOND_CHOICE: u32 = 1;
const NOBODY: u32 = 2;

const USAGE: &str = r#"{"label": NAME, PATH or PREFIX* or "*": "VALUE, VALUE, …", …}"#;

struct GrpcMethodRouting {
    label: String,
    routes: Routes,
    /// The endpoints of each value that routes name, by its number.
    groups: Vec<Levels<TwoChoices>>,
}

impl Policy for GrpcMethodRouting {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let (label, routes) = config::read(text, USAGE, |fields| {
            let label = fields.string("label")?;
            let routes = Routes::of(fields.strings()?)?;
            Ok((label.unwrap_or_else(|| "role".to_owned()), routes))
        })?;
        // The host hashes the path; it hands it out as a text only where hashes do not do.
        let wants = if routes.have_prefixes() { vec!["string:path".to_owned()] } else { Vec::new() };
        let policy = Self { label, routes, groups: Vec::new() };
        Ok((policy, Plan { keys: vec!["path".to_owned()], wants, ..Plan::with_reasons(&REASONS) }))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        let has = |endpoint: &Endpoint, value: &str| {
            value == "*" || endpoint.labels.iter().any(|label| label.name == self.label && label.value == value)
        };
        let group = |value: &String| Levels::among(&update.endpoints, &|endpoint| has(endpoint, value));
        self.groups = self.routes.values().iter().map(group).collect();
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if !request.traits.contains(Traits::KEY0) {
            // Of a connection that is TLS to us nobody knows the path.
            return Decision::fallback();
        }
        let usable = |group: &usize| Some(self.groups[*group].pick_usable(request, &mut 0)?.0);
        let mut order = self.routes.order(request.key0, || request_info::text(0)).iter();
        if let Some(index) = order.next().and_then(usable) {
            return Decision::endpoint(index).because(ROUTED);
        }
        match order.find_map(usable) {
            Some(index) => Decision::endpoint(index).because(SECOND_CHOICE),
            None => Decision::of(Choice::Reject(503)).because(NOBODY),
        }
    }
}

wasmesh_policy::export!(GrpcMethodRouting);
