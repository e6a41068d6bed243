//! Talks too much and asks for everything: a mebibyte of log and every string of the request, in each pick. With
//! `{"lists": n}` it refuses all lists but for the first n, with a mebibyte of words.

use wasmesh_policy::{
    Decision, Label, Plan, Policy, Request, Update, config,
    log::{self, Level},
    request_info,
};

const WANTS: [&str; 6] = [
    "string:path",
    "string:authority",
    "string:source-address",
    "string:header:user-agent",
    "string:query:q",
    "body:65536",
];

struct HugeStrings {
    speech: String,
    lists: Option<u32>,
}

impl Policy for HugeStrings {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let lists = config::read(text, r#"{"lists": NUMBER}"#, |fields| fields.number("lists"))?;
        let wants = WANTS.map(str::to_owned).to_vec();
        Ok((Self { speech: "bla\u{1b}[2J\n".repeat(1 << 17), lists }, Plan { wants, ..Plan::default() }))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        match &mut self.lists {
            Some(0) => Err(self.speech.clone()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        log::write(Level::Error, &self.speech);
        let heard: usize = (0..64).filter_map(request_info::text).map(|text| text.len()).sum();
        std::hint::black_box(heard + request_info::body().len());
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(HugeStrings);
