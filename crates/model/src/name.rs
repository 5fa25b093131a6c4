//! Names of instances and projects: one DNS label, since an instance is reached at `NAME.ZONE`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::addon::Addon;

/// 1 to 40 characters, `a-z`, `0-9` and single `-` inside; not reserved. Short enough that `frontend-NAME` and
/// `postgres-NAME` are labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"))]
pub struct Name(String);

/// Labels of the zone that are ours, or that a browser or mail system gives a meaning.
const RESERVED: &[&str] = &[
    "admin",
    "api",
    "www",
    "auth",
    "ryokan",
    "localhost",
    "gateway",
    "mail",
    "ns",
    "wpad",
    "autoconfig",
    "latest",
];

pub const MAX_LEN: usize = 40;
const FRONTEND: &str = "frontend-";

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the frontend of the agent of this name is called.
    #[must_use]
    pub fn frontend(&self) -> Self {
        Self(format!("{FRONTEND}{}", self.agent().0))
    }

    /// The agent whose frontend this is, or itself.
    #[must_use]
    pub fn agent(&self) -> Self {
        Self(self.0.strip_prefix(FRONTEND).unwrap_or(&self.0).to_owned())
    }

    /// Whether only a deployment may give this name.
    pub fn is_frontend(&self) -> bool {
        self.0.starts_with(FRONTEND)
    }

    /// What the database of this kind beside the agent of this name is called.
    #[must_use]
    pub fn addon(&self, addon: Addon) -> Self {
        Self(format!("{addon}-{}", self.0))
    }

    /// The agent beside which the database of this name and kind is.
    #[must_use]
    pub fn beside(&self, addon: Addon) -> Self {
        let agent = self.0.strip_prefix(addon.as_str()).and_then(|rest| rest.strip_prefix('-'));
        Self(agent.unwrap_or(&self.0).to_owned())
    }

    /// Whether whoever asks for a name may have this one. Others are given by deployments only, so that nobody takes
    /// the place of an agent's frontend or database.
    pub fn may_be_asked_for(&self) -> Result<(), Invalid> {
        match given_to(&self.0) {
            None => Ok(()),
            Some((prefix, _)) => Err(Invalid::new(
                "name",
                format!("begins with `{prefix}`, which is reserved; choose another"),
            )),
        }
    }

    /// `agent-` and eight hexadecimal digits, as Crabshack generates them.
    pub fn generated(random: [u8; 4]) -> Self {
        Self(format!("agent-{:08x}", u32::from_be_bytes(random)))
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Err(Invalid::new("name", format!("`{}` {why}", clip(s))));
        // The parts of a deployment have the name of their agent behind these; who asks for a name is refused them.
        if let Some((_, agent)) = given_to(s)
            && agent.len() <= MAX_LEN
            && !agent.starts_with(FRONTEND)
            && agent.parse::<Self>().is_ok()
        {
            return Ok(Self(s.to_owned()));
        }
        if s.is_empty() || s.len() > MAX_LEN {
            return no("must have 1 to 40 characters");
        }
        if !s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return no("may hold only lower-case letters, digits and `-`");
        }
        if s.starts_with('-') || s.ends_with('-') {
            return no("must begin and end with a letter or digit");
        }
        if s.contains("--") {
            return no("must not hold `--`, which separates a port's name from the instance's");
        }
        if s.starts_with(FRONTEND) || RESERVED.contains(&s) {
            return no("is reserved; choose another");
        }
        // `instances/{name}` takes ids as well, so a name must not look like one.
        if uuid::Uuid::parse_str(s).is_ok() {
            return no("looks like an id; choose another");
        }
        Ok(Self(s.to_owned()))
    }
}

/// What of a name says that a deployment gave it, and to whose part.
fn given_to(s: &str) -> Option<(String, &str)> {
    let prefixes = Addon::ALL.into_iter().map(|addon| format!("{addon}-"));
    std::iter::once(FRONTEND.to_owned())
        .chain(prefixes)
        .find_map(|prefix| s.strip_prefix(prefix.as_str()).map(|rest| (prefix.clone(), rest)))
}

fn clip(s: &str) -> String {
    s.chars().take(60).collect()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_labels_and_refuses_the_rest() {
        for ok in ["a", "claw", "agent-a1b2c3d4", "x9", "0a"] {
            assert_eq!(ok.parse::<Name>().unwrap().as_str(), ok);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "admin",
            "api",
            "frontend-",
            "frontend-frontend-x",
            "frontend-admin",
            "a--b",
            "ü",
            "a b",
            "a/b",
            "latest",
            "01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!("a".repeat(40).parse::<Name>().is_ok());
        assert!("a".repeat(41).parse::<Name>().is_err());
        let agent: Name = "a".repeat(40).parse().unwrap();
        let frontend: Name = agent.frontend().as_str().parse().unwrap();
        assert!(frontend.is_frontend() && !agent.is_frontend() && frontend.agent() == agent);
        assert_eq!(frontend.frontend(), frontend);
        for addon in Addon::ALL {
            let database: Name = agent.addon(addon).as_str().parse().unwrap();
            assert_eq!(database.beside(addon), agent);
            assert!(database.may_be_asked_for().unwrap_err().problem.contains(addon.as_str()));
        }
        assert!(frontend.may_be_asked_for().is_err() && agent.may_be_asked_for().is_ok());
        // Instances may have had such names before databases did.
        assert!("redis-redis-x".parse::<Name>().is_ok() && "frontend-redis-x".parse::<Name>().is_ok());
        assert!(
            "redis-".repeat(7).parse::<Name>().is_err()
                && format!("{}x", "redis-".repeat(8)).parse::<Name>().is_err()
        );
        assert_eq!(Name::generated([0xa1, 0xb2, 0xc3, 0xd4]).as_str(), "agent-a1b2c3d4");
    }
}
