//! How a command fails: one sentence that says what, one that says what to do next, and an exit code.

use ryokan_api::client::ClientError;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Documented in `docs/cli.md` and in `ryokan --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    Conflict = 5,
    Unreachable = 6,
    Timeout = 7,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Nothing is said when it is absent.
    pub(crate) message: Option<String>,
    /// Lines between the two sentences, such as the last of a log.
    pub(crate) detail: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with(Exit::Usage, message)
    }

    pub(crate) fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self { code: exit as u8, message: Some(message.into()), detail: Vec::new(), hint: None }
    }

    /// Ends with this code and says nothing: it has been said, or is somebody else's.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, message: None, detail: Vec::new(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what to do about something that is not there.
    pub(crate) fn missing(mut self, hint: &str) -> Self {
        if self.code == Exit::NotFound as u8 {
            self.hint = Some(hint.to_owned());
        }
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let problem = match error {
            ClientError::Problem(problem) => problem,
            ClientError::Unreachable { .. } => {
                return Self::with(Exit::Unreachable, error.to_string()).hint(
                    "is the server running? Start it with `ryokan server`, or name another with --url",
                );
            }
            ClientError::Timeout { .. } => {
                return Self::with(Exit::Timeout, error.to_string())
                    .hint("it may be busy: look with `ryokan system ready`, then try again");
            }
            ClientError::Invalid(message) => return Self::usage(message),
            ClientError::Protocol(message) => {
                return Self::new(message)
                    .hint("check the address, and that client and server have the same version");
            }
            ClientError::File(error) => return Self::new(error.to_string()),
        };
        let exit = match problem.status {
            400 | 413 | 422 => Exit::Usage,
            401 | 403 => Exit::Refused,
            404 => Exit::NotFound,
            409 => Exit::Conflict,
            408 | 504 => Exit::Timeout,
            _ => Exit::Failed,
        };
        let hint = match (problem.status, problem.retry_after, &problem.request_id) {
            (401, ..) => Some("sign in with `ryokan login`, or set RYOKAN_TOKEN".to_owned()),
            (403, ..) => {
                Some("use an account or a token that may: `ryokan users show` tells whose this is".to_owned())
            }
            (_, Some(seconds), _) => Some(format!("try again in {seconds} s")),
            (500.., _, Some(id)) => Some(format!("the server's log says more about request {id}")),
            _ => None,
        };
        let failure = Self::with(exit, problem.to_string());
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Whoever read our output has gone: not our failure, and nobody is there to be told.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::silent(0);
        }
        Self::new(error.to_string())
    }
}
