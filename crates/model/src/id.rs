//! Ids: UUIDv7 newtypes, so that an instance's id can never be passed for a project's. They are made by whoever holds
//! the clock and the random source; here they are only carried, parsed and printed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
        pub struct $name(pub Uuid);

        impl $name {
            /// Builds a `UUIDv7` from a time and 74 random bits taken from `random`.
            pub fn from_parts(at: crate::Millis, random: [u8; 10]) -> Self {
                let millis = u64::try_from(at.0).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

id!(
    /// A running or stopped agent with its disk.
    InstanceId
);
id!(
    /// What owns instances and is billed for them.
    ProjectId
);
id!(
    /// A person or program with an account.
    UserId
);
id!(
    /// An API token (its secret is stored only as a hash).
    TokenId
);
id!(
    /// A browser session.
    SessionId
);
id!(
    /// A public key that an account proves itself with.
    IdentityKeyId
);
id!(
    /// A durable job.
    JobId
);
id!(
    /// This installation: everything that an engine holds for us carries it as a label.
    ServerId
);
id!(
    /// A transaction of the ledger.
    TransactionId
);
id!(
    /// Money that is set aside for something that is being done.
    ReservationId
);
id!(
    /// A transaction on the chain to a project's agents.
    TopUpId
);
id!(
    /// One artifact on its way to being released.
    DeploymentId
);
id!(
    /// A rule of the policy.
    RuleId
);
id!(
    /// Several accounts that are given roles and named in rules together.
    GroupId
);
id!(
    /// Something that an agent was asked to do, as far as rules name it.
    TaskId
);
id!(
    /// A question to a person: whether something may be done.
    ApprovalId
);
id!(
    /// A row of the audit.
    AuditId
);
id!(
    /// Something that agents use and never see.
    CredentialId
);
id!(
    /// One call of a model, and what is set aside for it while it is under way.
    ModelCallId
);
