//! Routes: names of ours for models of providers, in the order in which they are tried.

use ryokan_model::models::{Candidate, check_model};
use ryokan_model::permission::Caller;
use serde_json::json;

use crate::system::operators;
use crate::{App, Error, Result, events};

const CANDIDATES: usize = 20;
const ROUTES: usize = 1_000;

impl App {
    pub async fn list_model_routes(&self, caller: &Caller) -> Result<Vec<(String, Vec<Candidate>)>> {
        operators(caller)?;
        Ok(self.store.read(|tx| tx.model_routes()).await?)
    }

    pub async fn put_model_route(
        &self,
        caller: &Caller,
        name: &str,
        candidates: Vec<Candidate>,
    ) -> Result<()> {
        operators(caller)?;
        check_model("name", name)?;
        if candidates.is_empty() || candidates.len() > CANDIDATES {
            return Err(Error::invalid("candidates", format!("must be from 1 to {CANDIDATES}")));
        }
        let (now, by, name) = (self.clock.now(), caller.clone(), name.to_owned());
        self.store
            .write(move |tx| {
                let known = tx.model_providers()?;
                for (at, candidate) in candidates.iter().enumerate() {
                    check_model("model", &candidate.model)
                        .map_err(|invalid| invalid.under(&format!("candidates[{at}]")))?;
                    if known.iter().all(|p| p.name != candidate.provider) {
                        let field = format!("candidates[{at}].provider");
                        return Err(Error::invalid(
                            field,
                            "is no provider; `ryokan providers ls` lists them",
                        ));
                    }
                }
                let routes = tx.model_routes()?;
                if routes.len() >= ROUTES && routes.iter().all(|(known, _)| *known != name) {
                    return Err(Error::QuotaExceeded(format!("there are {ROUTES} routes; remove one first")));
                }
                tx.put_model_route(&name, &candidates, now)?;
                let data = json!({"candidates": candidates});
                events::by_caller(tx, now, &by, None, "model_route.set", "model_route", &name, &name, data)
            })
            .await?;
        self.refresh_models().await
    }

    pub async fn delete_model_route(&self, caller: &Caller, name: &str) -> Result<()> {
        operators(caller)?;
        let (now, by, name) = (self.clock.now(), caller.clone(), name.to_owned());
        self.store
            .write(move |tx| {
                if !tx.delete_model_route(&name)? {
                    return Err(Error::not_found("route", &name));
                }
                events::by_caller(
                    tx,
                    now,
                    &by,
                    None,
                    "model_route.deleted",
                    "model_route",
                    &name,
                    &name,
                    json!({}),
                )
            })
            .await?;
        self.refresh_models().await
    }
}
