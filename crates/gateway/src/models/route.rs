//! Which provider answers, in which order, and why: a pure decision from the snapshot, what is asked, and how the
//! providers are doing. The same question at the same moment has the same answer.

use std::sync::Arc;

use ryokan_model::models::{Offer, Snapshot, Subject};

use super::asked::{Asked, Endpoint};
use super::fault::{Fault, Kind};

/// How a provider is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// No place is free, and others wait.
    Busy,
    /// It failed again and again; seconds until it is tried again.
    Down(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) offer: Arc<Offer>,
    pub(crate) reason: String,
}

/// Every offer that a name leads to, in order, and how it was named.
fn named(snapshot: &Snapshot, name: &str) -> (Vec<Arc<Offer>>, &'static str) {
    let of = |provider: &str, model: &str| {
        let offers = snapshot.offers.get(model)?;
        offers.iter().find(|offer| offer.provider.name == provider).cloned()
    };
    if let Some(candidates) = snapshot.routes.get(name) {
        return (candidates.iter().filter_map(|c| of(&c.provider, &c.model)).collect(), "route");
    }
    if let Some(offers) = snapshot.offers.get(name) {
        return (offers.clone(), "model");
    }
    let asked_for = name.split_once('/').and_then(|(provider, model)| of(provider, model));
    (asked_for.into_iter().collect(), "asked for")
}

/// Why an offer cannot serve the request.
fn cannot(offer: &Offer, asked: &Asked) -> Option<String> {
    let can = &offer.can;
    let needs = asked.input_guess.saturating_add(asked.max_output.unwrap_or(0));
    if asked.tools && can.tools == Some(false) {
        return Some("has no tools".into());
    }
    if asked.images && can.images == Some(false) {
        return Some("sees no images".into());
    }
    if asked.endpoint == Endpoint::Embeddings && can.embeddings == Some(false) {
        return Some("makes no embeddings".into());
    }
    if can.context.is_some_and(|context| needs > context) {
        return Some(format!("its context of {} tokens is too small", can.context.unwrap_or(0)));
    }
    None
}

/// The offers to try, the best first.
pub(crate) fn plan(
    snapshot: &Snapshot,
    subject: &Subject,
    asked: &Asked,
    may: impl Fn(&Offer) -> Result<(), String>,
    state: impl Fn(&Offer) -> State,
) -> Result<Vec<Choice>, Fault> {
    let (offers, how) = named(snapshot, &asked.model);
    if offers.is_empty() {
        let message =
            format!("there is no model `{}` here; `GET /v1/models` lists those there are", asked.model);
        return Err(Fault { param: Some("model".into()), ..Fault::new(Kind::NotFound, message) });
    }
    let external = snapshot.rules_of(subject.project).external;
    let (mut ready, mut busy, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    let (mut forbidden, mut wait) = (None, None);
    // Local ones first; otherwise in the order that was given.
    let (local, outside): (Vec<_>, Vec<_>) = offers.into_iter().partition(|offer| offer.provider.local);
    for offer in local.into_iter().chain(outside) {
        let mut skip = |why: &str| skipped.push(format!("{}: {why}", offer.provider.name));
        let allowed = if offer.provider.local || external {
            may(&offer)
        } else {
            Err("the project's calls may not leave this installation".to_owned())
        };
        if let Err(why) = allowed {
            skip("not allowed");
            forbidden = Some(why);
        } else if let Some(why) = cannot(&offer, asked) {
            skip(&why);
        } else {
            match state(&offer) {
                State::Ready => ready.push(offer),
                State::Busy => {
                    skip("busy");
                    busy.push(offer);
                }
                State::Down(seconds) => {
                    skip("down");
                    wait = Some(wait.map_or(seconds, |least: u64| least.min(seconds)));
                }
            }
        }
    }
    // Those that are busy come last: a call waits there only when nobody else can answer.
    ready.append(&mut busy);
    if ready.is_empty() {
        return Err(refusal(&asked.model, forbidden, wait, &skipped));
    }
    Ok(ready
        .into_iter()
        .map(|offer| {
            let place = if offer.provider.local { "local" } else { "external" };
            let mut reason = format!("{how}, {place}");
            for why in &skipped {
                reason.push_str("; ");
                reason.push_str(why);
            }
            reason.truncate(reason.floor_char_boundary(300));
            Choice { offer, reason }
        })
        .collect())
}

fn refusal(model: &str, forbidden: Option<String>, wait: Option<u64>, skipped: &[String]) -> Fault {
    if let Some(seconds) = wait {
        let message = format!("nobody who has `{model}` answers at the moment; try again in {seconds} s");
        return Fault::new(Kind::Overloaded, message).after(seconds);
    }
    if let Some(why) = forbidden {
        return Fault::new(Kind::Forbidden, why);
    }
    let why = skipped.join("; ");
    Fault {
        param: Some("model".into()),
        ..Fault::new(Kind::Invalid, format!("`{model}` cannot do this: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ryokan_model::ProjectId;
    use ryokan_model::models::{Candidate, Capabilities, Provider, ProviderKind, Rules};

    use super::*;

    fn offer(provider: &str, local: bool, model: &str, can: Capabilities) -> Arc<Offer> {
        let provider = Provider {
            name: provider.into(),
            kind: ProviderKind::Openai,
            base_url: "http://127.0.0.1".into(),
            key: None,
            enabled: true,
            local,
            options: ryokan_model::models::ProviderOptions::default(),
        };
        Arc::new(Offer {
            provider: Arc::new(provider),
            model: model.into(),
            can,
            price_version: None,
            prices: ryokan_model::models::TokenPrices::default(),
        })
    }

    fn snapshot() -> Snapshot {
        let small = Capabilities { tools: Some(false), context: Some(100), ..Capabilities::default() };
        let mut offers = BTreeMap::new();
        offers.insert(
            "m".to_owned(),
            vec![offer("home", true, "m", small), offer("out", false, "m", Capabilities::default())],
        );
        offers.insert("big".to_owned(), vec![offer("out", false, "big", Capabilities::default())]);
        let step = |provider: &str, model: &str| Candidate { provider: provider.into(), model: model.into() };
        let routes =
            [("smart".to_owned(), vec![step("out", "big"), step("home", "m"), step("gone", "x")])].into();
        Snapshot { offers, routes, ..Snapshot::default() }
    }

    fn subject() -> Subject {
        let project = "00000000-0000-0000-0000-000000000001".parse::<ProjectId>().unwrap();
        Subject { project, user: None, instance: None }
    }

    fn asked(body: &str) -> Asked {
        Asked::parse(Endpoint::Chat, body.as_bytes()).unwrap()
    }

    fn chosen(
        snapshot: &Snapshot,
        body: &str,
        state: impl Fn(&Offer) -> State,
    ) -> Result<Vec<(String, String)>, Fault> {
        let choices = plan(snapshot, &subject(), &asked(body), |_| Ok(()), state)?;
        Ok(choices.into_iter().map(|c| (c.offer.provider.name.clone(), c.reason)).collect())
    }

    #[test]
    fn local_first_and_external_with_a_reason() {
        let snapshot = snapshot();
        let ready = |_: &Offer| State::Ready;
        let plain = r#"{"model":"m","messages":[]}"#;
        let both = chosen(&snapshot, plain, ready).unwrap();
        assert_eq!(both[0], ("home".into(), "model, local".into()));
        assert_eq!(both[1].0, "out");
        let tools = chosen(&snapshot, r#"{"model":"m","tools":[{}],"messages":[]}"#, ready).unwrap();
        assert_eq!(tools, [("out".into(), "model, external; home: has no tools".into())]);
        let long = format!(r#"{{"model":"m","messages":[{{"content":"{}"}}]}}"#, "x".repeat(1000));
        assert_eq!(chosen(&snapshot, &long, ready).unwrap()[0].0, "out");
        let busy = |offer: &Offer| if offer.provider.local { State::Busy } else { State::Ready };
        let order = chosen(&snapshot, plain, busy).unwrap();
        assert_eq!((order[0].0.as_str(), order[1].0.as_str()), ("out", "home"));
        assert_eq!(order[0].1, "model, external; home: busy");
        let down = |offer: &Offer| if offer.provider.local { State::Down(7) } else { State::Ready };
        assert_eq!(
            chosen(&snapshot, plain, down).unwrap(),
            [("out".into(), "model, external; home: down".into())]
        );
        let asked_for = chosen(&snapshot, r#"{"model":"out/m"}"#, ready).unwrap();
        assert_eq!(asked_for, [("out".into(), "asked for, external".into())]);
        // A route's order holds among those that are alike; what is local comes first.
        let route = chosen(&snapshot, r#"{"model":"smart"}"#, ready).unwrap();
        assert_eq!((route[0].0.as_str(), route[1].0.as_str()), ("home", "out"));
    }

    #[test]
    fn what_nobody_can_answer_is_refused_with_the_reason() {
        let mut snapshot = snapshot();
        let kind = |body: &str, snapshot: &Snapshot, state: State| {
            chosen(snapshot, body, |_| state).unwrap_err().kind
        };
        assert_eq!(kind(r#"{"model":"none"}"#, &snapshot, State::Ready), Kind::NotFound);
        assert_eq!(kind(r#"{"model":"home/m","tools":[{}]}"#, &snapshot, State::Ready), Kind::Invalid);
        let down = chosen(&snapshot, r#"{"model":"m"}"#, |_| State::Down(9)).unwrap_err();
        assert_eq!((down.kind, down.retry_after), (Kind::Overloaded, Some(9)));
        snapshot.rules.insert(subject().project, Rules { external: false, ..Rules::default() });
        assert_eq!(kind(r#"{"model":"big"}"#, &snapshot, State::Ready), Kind::Forbidden);
        assert_eq!(chosen(&snapshot, r#"{"model":"smart"}"#, |_| State::Ready).unwrap().len(), 1);
    }
}
