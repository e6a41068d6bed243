//! What people want to see: recordings, and the last picks.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use wasmesh_policy_host::{Choice, Decision, NoSource, Request, Want};
use wasmesh_policy_recording::{Head, Progress, Recorder, Sink};

use super::{Office, Post, Ready, SNAPSHOT_TIMEOUT, Wanted, wanted};
use crate::{
    clock::now_us,
    policy::{
        explain::{Context, RunnerUp, explained},
        notes::{Copied, Last, Order, Place},
        past::{Past, Said},
        record::Role,
        recording::{self, UnderWay},
        wishes::{Meant, Refused, Wish},
    },
    world::World,
};

impl Office {
    /// Grants a wish, or says why not. Who had it may have left.
    pub(super) async fn grant(&mut self, world: &World, proxy: &str, wish: Wish) {
        match wish {
            Wish::Record { order, pieces, reply } => {
                if let Err(Ok(progress)) = reply.send(self.record(world, proxy, &order, pieces)) {
                    progress.end("who asked has left");
                }
            }
            Wish::Explain { meant, last, reply } => {
                let _ = reply.send(self.explain(world, &meant, last).await);
            }
        }
    }

    /// Begins a recording, with fresh instances in all places.
    fn record(
        &mut self,
        world: &World,
        proxy: &str,
        order: &recording::Order,
        pieces: mpsc::Sender<Bytes>,
    ) -> Result<Arc<Progress>, Refused> {
        let service = &order.meant.service;
        let (post, port) = self.meant(world, &order.meant)?;
        let ready = self.posts.get_mut(&post).and_then(|held| held.present.as_mut());
        let ready = ready.ok_or_else(|| Refused::NotThere(nothing_there(world, &order.meant)))?;
        if ready.recording.as_ref().is_some_and(|recording| recording.until().is_some()) {
            return Err(Refused::NotNow(format!("{service} is being recorded already: wait until that has ended")));
        }
        let head = Head::of(&ready.policy, &ready.declared.policy, service.as_str(), port, proxy);
        let sink: Sink = Arc::new(move |piece| pieces.try_send(piece).is_ok());
        let recorder = Recorder::begin(head, order.picks.min(recording::MAX_PICKS), sink);
        let progress = Arc::clone(recorder.progress());
        ready.recording = Some(UnderWay::new(recorder, order.time));
        // Who is not known to sit anywhere is replaced by somebody fresh.
        let cells: Vec<_> = of_post(world, &post).map(|wanted| wanted.cell).collect();
        self.seats.retain(|place, _| place.role != post.role || !cells.contains(&place.cell));
        Ok(progress)
    }

    /// Ends what has been recorded. Returns when the next recording ends at the latest.
    pub(super) fn end_recordings(&mut self, wanted: &[Wanted<'_>]) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut ended = Vec::new();
        for (post, held) in &mut self.posts {
            let Some(ready) = &mut held.present else { continue };
            let Some(recording) = &ready.recording else { continue };
            match recording.until() {
                Some(until) => next = next.into_iter().chain([until]).min(),
                None => {
                    ready.recording = None;
                    ended.push(post.clone());
                }
            }
        }
        for wanted in wanted.iter().filter(|wanted| ended.contains(&wanted.post(Role::Serving))) {
            for worker in 0..self.workers.len() {
                let place = Place { worker, cell: wanted.cell.clone(), role: Role::Serving };
                self.order(worker, Order::EndRecording(place));
            }
        }
        next
    }

    /// The last picks of all workers, the newest first.
    async fn explain(&self, world: &World, meant: &Meant, last: usize) -> Result<Value, Refused> {
        let (post, port) = self.meant(world, meant)?;
        let ready = self.posts.get(&post).and_then(|held| held.present.as_ref());
        let ready = ready.ok_or_else(|| Refused::NotThere(nothing_there(world, meant)))?;
        let trial = Post { role: Role::Trial, ..post.clone() };
        let trial = self.posts.get(&trial).and_then(|held| held.present.as_ref());
        let now_us = now_us();
        let cells: Vec<_> = of_post(world, &post).collect();
        // All are asked before anybody is waited for.
        let mut asked = Vec::new();
        for wanted in &cells {
            for worker in 0..self.workers.len() {
                let place = Place { worker, cell: wanted.cell.clone(), role: Role::Serving };
                let (reply, answer) = oneshot::channel();
                self.order(worker, Order::Explain(place.clone(), reply));
                asked.push((wanted, place, answer));
            }
        }
        let (mut picks, mut copies, mut silent) = (Vec::new(), HashMap::new(), 0);
        for (wanted, place, answer) in asked {
            let Ok(answer) = timeout(SNAPSHOT_TIMEOUT, answer).await else {
                silent += 1;
                continue;
            };
            // Where nothing has been picked, there is no seat.
            let Ok(Some(Last { picks: of_place, copied })) = answer else { continue };
            picks.extend(of_place.into_iter().map(|past| (past, place.clone(), wanted)));
            copies.insert(place, copied);
        }
        picks.sort_by_key(|(past, ..)| std::cmp::Reverse(past.at_us));
        picks.truncate(last);
        let explained = picks.iter().map(|(past, place, wanted)| {
            let context = Context {
                candidates: wanted.balancer.candidates(),
                serving: ready.policy.plan(),
                trial: trial.map(|trial| trial.policy.plan()),
                now_us,
            };
            let copied = copies.get(place).and_then(Option::as_ref);
            let runner_up = copied.and_then(|copied| self.runner_up(wanted, ready, copied, (past, place), &context));
            let mut pick = explained(past, runner_up, &context);
            pick["worker"] = json!(place.worker);
            pick["family"] = json!(place.cell.family.to_string());
            pick
        });
        let explained: Vec<_> = explained.collect();
        let counts = ready.record.counts();
        Ok(json!({
            "service": meant.service.as_str(),
            "port": port,
            "policy": ready.declared.policy,
            "module": ready.declared.program.module.to_string(),
            "decided": counts.picks,
            "fallbacks": counts.fallbacks,
            "reads_strings": reads_strings(ready),
            "copyable": copies.values().any(Option::is_some) || copies.is_empty(),
            "silent_workers": silent,
            "picks": explained,
        }))
    }

    /// Whom a policy would choose in place of whom it has chosen: a copy of the instance is asked the same once more, with that one to be
    /// avoided. Nobody where strings are read, which are not remembered, and for a policy that chooses the same again.
    fn runner_up(
        &self,
        wanted: &Wanted<'_>,
        ready: &Ready,
        copied: &Copied,
        (past, place): (&Past, &Place),
        context: &Context<'_>,
    ) -> Option<RunnerUp> {
        let Said::Endpoint { role: Role::Serving, chosen, .. } = past.said else { return None };
        if reads_strings(ready) {
            return None;
        }
        let chosen = context.candidates.iter().position(|candidate| candidate.endpoint.id == chosen)?;
        let request =
            Request { avoid: Some(u32::try_from(chosen).ok()?), now_ms: context.now_us / 1_000, ..past.request? };
        let fitting = wanted.fitting(place, ready, None);
        let mut instance = self.fitter.fit(&fitting, Some(copied)).ok()?.instance?;
        match instance.pick(&request, &NoSource).ok()? {
            Decision { choice: Choice::Endpoint(index), reason, .. } if index as usize != chosen => {
                Some(RunnerUp { index: index as usize, reason })
            }
            _ => None,
        }
    }

    /// Which post is meant, and its port's number.
    fn meant(&self, world: &World, meant: &Meant) -> Result<(Post, u16), Refused> {
        let service = &meant.service;
        let ports = world.table.get(service).map_or(&[][..], |held| &held.entry.value.spec.ports);
        let mut posts = self.posts.iter().filter_map(|(post, held)| {
            let is_meant = post.service == *service && post.role == Role::Serving && held.present.is_some();
            let number = ports.iter().find(|port| port.name == post.port).map(|port| port.port);
            Some((post, number.filter(|number| is_meant && meant.port.is_none_or(|port| port == *number))?))
        });
        let (post, port) = posts.next().ok_or_else(|| Refused::NotThere(nothing_there(world, meant)))?;
        if let Some((_, other)) = posts.next() {
            let why = format!("{service} has policies on several ports, {port} and {other} among them: say which port");
            return Err(Refused::NotThere(why));
        }
        Ok((post.clone(), port))
    }
}

/// The cells of a post.
fn of_post<'a>(world: &'a World, post: &Post) -> impl Iterator<Item = Wanted<'a>> {
    wanted(world).into_iter().filter(move |wanted| wanted.post(post.role) == *post)
}

fn reads_strings(ready: &Ready) -> bool {
    ready.policy.plan().wants.iter().any(|want| matches!(want, Want::Text(_) | Want::Body(_)))
}

/// Why there is nothing to see of a Service, and what to do about it.
fn nothing_there(world: &World, meant: &Meant) -> String {
    let service = &meant.service;
    let Some(held) = world.table.get(service) else {
        return format!("this proxy knows no Service {service}");
    };
    let ports = &held.entry.value.spec.ports;
    let with_policy: Vec<_> =
        ports.iter().filter(|port| port.policy.wasm().is_some()).map(|port| port.port.to_string()).collect();
    match (with_policy.as_slice(), meant.port) {
        ([], _) => {
            format!("{service} has no policy of its own: of the built-in ones there is nothing to record or to explain")
        }
        (ports, Some(port)) if !ports.contains(&port.to_string()) => {
            format!("port {port} of {service} has no policy of its own, port {} has", ports.join(", "))
        }
        _ => format!(
            "the policy of {service} does not serve here yet: send a request to it through this proxy, and see its state at \
             /debug/policies"
        ),
    }
}
