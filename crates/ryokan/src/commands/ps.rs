//! `ryokan ps`.

use ryokan_api::instance::InstanceQuery;
use ryokan_api::model::instance::State;

use crate::Context;
use crate::environment::now;
use crate::failure::Outcome;
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::age;

/// List instances, stopped ones too.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Only names
    #[arg(short, long = "names")]
    q: bool,
    /// Only of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// All are listed anyway; for hands that are used to it
    #[arg(short, long, hide = true)]
    all: bool,
}

impl Ps {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let query = InstanceQuery { project: self.project, state: self.state, ..InstanceQuery::default() };
        let instances = cx.client()?.instances(&query).await?;
        if self.q {
            return instances.iter().try_for_each(|instance| cx.out.line(instance.name.as_str()));
        }
        if cx.out.json {
            return cx.out.json_list(instances);
        }
        if instances.is_empty() {
            cx.out.note("No instances. Try `ryokan run hello`.");
            return Ok(());
        }
        let now = now();
        let mut table = Table::new(&cx.out, &["NAME", "STATE", "SINCE", "AGE", "TEMPLATE", "PROJECT", "URL"]);
        for instance in instances {
            table.row([
                Column::from(instance.name.as_str()),
                Column::new(instance.state.as_str(), Tone::of(instance.state)),
                age(instance.since, now).into(),
                age(instance.created_at, now).into(),
                instance.addon.map_or(instance.template, |addon| addon.to_string()).into(),
                instance.project.into(),
                instance.url.into(),
            ]);
        }
        table.print(&cx.out)
    }
}
