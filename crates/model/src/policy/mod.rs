//! May this subject do this action to this resource? One pure function answers, [`PolicySet::judge`]; proxy, model
//! gateway, tools, fetching and git all ask it.
//!
//! What must always hold: no rule, no leave; a `deny` that fits refuses whatever else there is; a level allows only inside
//! what every level above it allows or delegates; the order of the rules never matters. Whatever cannot be told for
//! certain fits every rule that refuses or asks, and none that allows. Nothing here does IO or reads a clock.

mod action;
mod address;
mod compiled;
mod conditions;
mod explain;
mod glob;
mod host;
mod path;
mod reach;
mod request;
mod resources;
mod rule;
mod set;
mod subject;
mod window;

pub use action::{Action, ActionPattern, Kind};
pub use address::{Network, is_public};
pub use conditions::{Budget, Conditions};
pub use explain::{Explanation, LevelView, MatchedRule};
pub use glob::Glob;
pub use host::{Host, HostPattern};
pub use path::{Path, PathPattern};
pub use request::{Http, Request, Resource, Target, Who};
pub use resources::{PortRange, Resources, Scheme};
pub use rule::{Effect, Level, Rule, RuleBody, Scope};
pub use set::{Decision, PolicySet, Verdict};
pub use subject::{AgentRole, Subject};
pub use window::{Day, Window};

/// Gives a type with `Display` and `FromStr` one text form on the wire.
macro_rules! text_form {
    ($name:ident, $example:literal) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?
                    .parse()
                    .map_err(|invalid: crate::Invalid| serde::de::Error::custom(invalid.problem))
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .examples([serde_json::Value::from($example)])
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                concat!("Policy", stringify!($name)).into()
            }
        }
    };
}
pub(crate) use text_form;
