//! What programs read: one JSON object at the end.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::Serialize;

use super::{judge, names::Asked, says::Said};

/// The whole demo.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    phases: Vec<PhaseReport>,
    /// Questions for a name, through all phases.
    dns: Asked,
    /// From the start of this program to the first answer that came through the mesh.
    seconds_to_first_request: Option<f64>,
}

#[derive(Debug, Serialize)]
struct PhaseReport {
    name: &'static str,
    /// All that were sent in the phase, requests, calls or connections: `errors` of them failed, the others are counted below.
    requests: u64,
    errors: u64,
    /// Answers to requests that began after the phase's change was acknowledged.
    endpoints: BTreeMap<SocketAddr, u64>,
    /// Answers to requests that began before, while the change was on its way.
    before_acknowledged: BTreeMap<SocketAddr, u64>,
    /// Where the phase is about testers: answers to their requests, which are in `endpoints` as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    testers: Option<BTreeMap<SocketAddr, u64>>,
    /// What the sidecar says of the policies of the user's own, where the phase is about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<Said>,
    /// What was not as it must be; the demo fails if there is any.
    problems: Vec<String>,
}

impl Report {
    pub(super) fn new(results: &[judge::Outcome], dns: Asked, to_first_request: Option<Duration>) -> Self {
        let phases = results.iter().map(|result| PhaseReport {
            name: result.name,
            requests: result.changing.sent + result.settled.sent,
            errors: result.changing.errors + result.settled.errors,
            endpoints: result.settled.answered.clone(),
            before_acknowledged: result.changing.answered.clone(),
            testers: result.testers.clone(),
            policies: result.policies.clone(),
            problems: result.complaints.clone(),
        });
        let rounded = |time: Duration| (time.as_secs_f64() * 1000.0).round() / 1000.0;
        Self { phases: phases.collect(), dns, seconds_to_first_request: to_first_request.map(rounded) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::Report;
    use crate::demo::{judge, names::Asked, protocol::Protocol, says::Said, tally::Tally};

    #[test]
    fn the_report_keeps_its_shape() {
        let backend = "127.0.1.16:9898".parse().unwrap();
        let changing = Tally { sent: 2, errors: 1, answered: [(backend, 1)].into(), ..Tally::default() };
        let settled = Tally { sent: 3, answered: [(backend, 3)].into(), ..Tally::default() };
        let complaints = vec!["lost".to_owned()];
        let result = judge::Outcome {
            name: "balanced",
            protocol: Protocol::Http,
            changing,
            settled,
            testers: None,
            policies: Vec::new(),
            complaints,
        };
        let said = Said { module: "c/round-robin".to_owned(), picks: 7, ..Said::default() };
        let testers = Some([(backend, 1)].into());
        let with_policy = judge::Outcome { name: "policy", testers, policies: vec![said], ..result.clone() };
        let report = Report::new(
            &[result, with_policy],
            Asked { questions: 9, errors: 1 },
            Some(Duration::from_micros(212_345)),
        );
        let mut report = serde_json::to_value(report).unwrap();
        let policy = report["phases"].as_array_mut().unwrap().remove(1);
        assert_eq!(policy["testers"], json!({ "127.0.1.16:9898": 1 }));
        assert_eq!(
            policy["policies"],
            json!([{
                "service": "", "module": "c/round-robin", "trial": false, "phase": "", "picks": 7, "fallbacks": 0,
                "faults": {}, "reason": "",
            }])
        );
        assert_eq!(
            report,
            json!({
                "phases": [{
                    "name": "balanced",
                    "requests": 5,
                    "errors": 1,
                    "endpoints": { "127.0.1.16:9898": 3 },
                    "before_acknowledged": { "127.0.1.16:9898": 1 },
                    "problems": ["lost"],
                }],
                "dns": { "questions": 9, "errors": 1 },
                "seconds_to_first_request": 0.212,
            })
        );
    }
}
