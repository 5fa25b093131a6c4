//! `explain`: what would be decided, and why. Nothing is recorded, since nothing is done.

use ryokan_model::permission::{Caller, Role};
use ryokan_model::policy::{Action, AgentRole, Explanation, Request, Resource, Who};
use ryokan_model::{Millis, TaskId};

use crate::{App, Result};

/// What somebody wants explained.
#[derive(Debug, Clone, Default)]
pub struct Supposed {
    /// The caller itself, in its own name, where there is none.
    pub instance: Option<String>,
    pub role: Option<AgentRole>,
    pub task: Option<TaskId>,
    pub tainted: bool,
    pub budgets: std::collections::BTreeMap<String, u64>,
    /// Now, where there is none.
    pub at: Option<Millis>,
    /// To which addresses the name leads, as the asker supposes.
    pub addresses: Option<Vec<std::net::IpAddr>>,
}

impl App {
    pub async fn explain_policy(
        &self,
        caller: &Caller,
        action: Action,
        resource: &str,
        supposed: Supposed,
    ) -> Result<Explanation> {
        let mut resource = Resource::parse(action, resource)?;
        if let Resource::Network(target) = &mut resource {
            target.addresses = supposed.addresses;
        }
        let who = match supposed.instance {
            Some(instance) => {
                let row = self.instance_as(caller, Role::Viewer, &instance).await?;
                Who {
                    project: Some(row.project),
                    instance: Some(row.id),
                    role: supposed.role,
                    task: supposed.task,
                    ..Who::default()
                }
            }
            None => self.who(caller),
        };
        let request = Request {
            tainted: supposed.tainted,
            budgets: supposed.budgets,
            ..Request::new(who, action, resource, supposed.at.unwrap_or_else(|| self.clock.now()))
        };
        Ok(self.policies().explain(&request))
    }

    /// A person, as the policy sees it.
    pub fn who(&self, caller: &Caller) -> Who {
        Who {
            user: Some(caller.user),
            groups: self.identity().groups_of(caller.user),
            project: caller.only_project,
            role: Some(AgentRole::User),
            ..Who::default()
        }
    }
}
