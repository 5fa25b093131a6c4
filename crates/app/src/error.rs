//! The one error of the use cases: about ten kinds, each of which a caller can act on. The server maps them to status
//! and code in one file; nothing here knows HTTP.

use ryokan_model::Invalid;
use ryokan_model::permission::{Refused, Scope};
use ryokan_ports::runtime::RuntimeError;
use ryokan_store::StoreError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `Display` is for the caller: it says what to do and holds no internals; the source is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Invalid(Invalid),
    #[error("sign in first: send a token in `Authorization: Bearer …`")]
    Unauthenticated,
    #[error("{0}")]
    Forbidden(String),
    /// Does not exist, or the caller may not know that it does.
    #[error("there is no {kind} `{id}`")]
    NotFound { kind: &'static str, id: String },
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    QuotaExceeded(String),
    /// Goes on once somebody has paid, or a cap is raised.
    #[error("{0}")]
    PaymentRequired(String),
    /// Seconds until another try makes sense.
    #[error("{message}")]
    TooManyRequests { message: String, retry_after: u64 },
    #[error("{message}")]
    Unavailable {
        message: String,
        #[source]
        source: Option<anyhow::Error>,
    },
    /// What cannot be recorded is not done.
    #[error("the audit cannot be written, and what cannot be recorded is not done; try again in a moment")]
    AuditUnavailable(#[source] anyhow::Error),
    #[error("{0}")]
    NotImplemented(String),
    #[error("something went wrong on our side; the server's log has more")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid(Invalid::new(field, problem))
    }

    pub fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        // What is echoed is what the caller sent; long or odd input is cut.
        let id: String = id.into().chars().filter(|c| !c.is_control()).take(80).collect();
        Self::NotFound { kind, id }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), source: None }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(anyhow::anyhow!(message.into()))
    }

    /// What a refusal means for something called `id`.
    pub fn refused(refused: Refused, kind: &'static str, id: impl Into<String>) -> Self {
        match refused {
            Refused::Hidden => Self::not_found(kind, id),
            Refused::Scope(need) => Self::scope(need),
            Refused::Role(need) => Self::Forbidden(format!(
                "your role in the project does not allow that: it needs the role `{need}`"
            )),
        }
    }

    pub fn scope(need: Scope) -> Self {
        Self::Forbidden(format!("this token may not do that: it needs the scope `{need}`"))
    }

    pub fn operators_only() -> Self {
        Self::Forbidden("only operators of this installation may do that".into())
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UniqueViolation { ref constraint } => Self::Conflict(match constraint.as_str() {
                c if c.contains("instances_name") || c.contains("instances.name") => {
                    "this name is taken; choose another".into()
                }
                c if c.contains("domains") => "this domain is served for another project".into(),
                c if c.contains("credentials") => "a credential of this name exists; choose another".into(),
                c if c.contains("identity_keys") => "this key belongs to an account already".into(),
                c if c.contains("users") => "this login is taken; choose another".into(),
                c if c.contains("projects") => "this project name is taken; choose another".into(),
                c if c.contains("templates") => "a template of this name exists".into(),
                _ => "it exists already".into(),
            }),
            StoreError::Fenced => Self::Conflict(
                "it was changed by somebody else in the meantime; look at it and try again".into(),
            ),
            StoreError::DiskFull => Self::Unavailable {
                message: "the server's disk is full: nothing was changed. Free some space and try again"
                    .into(),
                source: Some(error.into()),
            },
            StoreError::Busy | StoreError::Unavailable(_) | StoreError::Closed => Self::Unavailable {
                message: "the server's database does not answer; try again in a moment".into(),
                source: Some(error.into()),
            },
            _ => Self::Internal(error.into()),
        }
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::NotFound(what) => Self::not_found("file or container", what),
            RuntimeError::NotRunning => Self::Conflict("the instance is not running; start it first".into()),
            RuntimeError::Refused { field, reason } => Self::Invalid(Invalid { field, problem: reason }),
            RuntimeError::Unavailable(_) => Self::Unavailable {
                message: "the container engine does not answer; `ryokan system ready` says more".into(),
                source: Some(error.into()),
            },
            RuntimeError::Exhausted(ref what) => Self::Unavailable {
                message: format!("the container engine's host is out of {what}"),
                source: Some(error.into()),
            },
            RuntimeError::Image { .. } => Self::invalid("image", error.to_string()),
            RuntimeError::Other(_) => Self::Internal(error.into()),
        }
    }
}
