//! What may be asked for: a closed list of dotted names, and patterns over it.

use std::fmt;
use std::str::FromStr;

use super::text_form;
use crate::Invalid;

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident;)*) => {
        /// One thing to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What kind of resource it is done to.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }
        }
    };
}

actions! {
    /// A connection to a host and a port, into which nobody looks.
    EgressConnect = "egress.connect", Network;
    /// One HTTP request.
    EgressRequest = "egress.request", Network;
    /// A page for reading: fetched and cleaned by us.
    WebFetch = "web.fetch", Network;
    /// A query to a search engine, by the engine's name.
    WebSearch = "web.search", Named;
    /// A credential put in by us, by its name.
    CredentialUse = "credential.use", Named;
    /// A model, by its name.
    ModelCall = "model.call", Named;
    /// A tool, by its name.
    ToolInvoke = "tool.invoke", Named;
    /// An operation of a registered API, as `API.OPERATION`.
    ApiCall = "api.call", Named;
    /// A repository, as `HOST/OWNER/NAME`; so for all of git.
    GitClone = "git.clone", Named;
    GitPush = "git.push", Named;
    GitPrCreate = "git.pr.create", Named;
    /// An image, as it is pulled.
    ImageUse = "image.use", Named;
}

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A host and a port, for some with what is asked there.
    Network,
    /// Something with a name.
    Named,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| unknown("is no action"))
    }
}

text_form!(Action, "egress.request");

fn unknown(why: &str) -> Invalid {
    let all: Vec<&str> = Action::ALL.iter().map(|a| a.as_str()).collect();
    Invalid::new("action", format!("{why}: one of {}", all.join(", ")))
}

/// One action, or all below a name: `egress.request`, `git.*`, `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionPattern {
    One(Action),
    /// All that begin so; the text ends in a dot, or is empty for all there are.
    Below(&'static str),
}

impl ActionPattern {
    pub fn fits(self, action: Action) -> bool {
        match self {
            Self::One(one) => one == action,
            Self::Below(prefix) => action.as_str().starts_with(prefix),
        }
    }

    /// The actions that it fits; never none.
    pub fn actions(self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(move |action| self.fits(*action))
    }

    /// The kind of resource of all that it fits, if they have one in common.
    pub fn kind(self) -> Option<Kind> {
        let mut kinds = self.actions().map(Action::kind);
        let first = kinds.next()?;
        kinds.all(|kind| kind == first).then_some(first)
    }
}

impl fmt::Display for ActionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(action) => action.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl FromStr for ActionPattern {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some(prefix) = text.strip_suffix('*') else { return text.parse().map(Self::One) };
        if !prefix.is_empty() && !prefix.ends_with('.') {
            return Err(Invalid::new("action", "has a `*` only as its whole last part, as in \"egress.*\""));
        }
        // The prefix of a known name, so that nothing has to be kept of the text.
        let known = Action::ALL.iter().find_map(|action| {
            let name = action.as_str();
            name.starts_with(prefix).then(|| &name[..prefix.len()])
        });
        known.map(Self::Below).ok_or_else(|| unknown("fits no action"))
    }
}

text_form!(ActionPattern, "egress.*");
