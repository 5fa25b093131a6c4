//! Names of instances and projects: one DNS label, since an instance is reached at `NAME.ZONE`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// 1 to 40 characters, `a-z`, `0-9` and single `-` inside; not reserved. Short enough that `frontend-NAME` is a label.
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

    /// `agent-` and eight hexadecimal digits, as Crabshack generates them.
    pub fn generated(random: [u8; 4]) -> Self {
        Self(format!("agent-{:08x}", u32::from_be_bytes(random)))
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Err(Invalid::new("name", format!("`{}` {why}", clip(s))));
        // The frontend of a deployment has the name of its agent behind this; who asks for a name is refused it.
        if let Some(agent) = s.strip_prefix(FRONTEND)
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
        assert_eq!(Name::generated([0xa1, 0xb2, 0xc3, 0xd4]).as_str(), "agent-a1b2c3d4");
    }
}
