//! The one mapping from what the engine says to what the port says. The engine's own words are kept, since they are
//! what people search for; what can be done about them stands before.

use std::io::ErrorKind;

use bollard::errors::Error as BollardError;
use ryokan_ports::runtime::RuntimeError;

/// `what` is the thing that the call was about, as in `container claw`.
pub(super) fn map(error: BollardError, what: &str) -> RuntimeError {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => {
            response(status_code, message.trim(), what)
        }
        BollardError::DockerStreamError { error } | BollardError::DockerContainerWaitError { error, .. } => {
            response(500, error.trim(), what)
        }
        BollardError::RequestTimeoutError => RuntimeError::Unavailable("no answer".to_owned()),
        BollardError::IOError { err } => connection(&err),
        BollardError::HyperResponseError { err } => {
            RuntimeError::Unavailable(format!("the connection broke: {}", chain(&err)))
        }
        BollardError::SocketNotFoundError(_) => connection(&ErrorKind::NotFound.into()),
        other => RuntimeError::Other(format!("{what}: {other}")),
    }
}

fn connection(err: &std::io::Error) -> RuntimeError {
    RuntimeError::Unavailable(match err.kind() {
        ErrorKind::NotFound => "there is no such socket; start the engine, or set `engine.socket`".to_owned(),
        ErrorKind::ConnectionRefused => {
            "nothing listens there; start the engine (`systemctl start docker`)".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "this user may not open it; add the user to the group `docker`, or run as root".to_owned()
        }
        ErrorKind::TimedOut => "it accepts no connection".to_owned(),
        _ => chain(err),
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn response(status: u16, message: &str, what: &str) -> RuntimeError {
    if let Some(exhausted) = exhausted(message) {
        return exhausted;
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("is not running") || lower.contains("is paused, unpause") {
        return RuntimeError::NotRunning;
    }
    if let Some(refused) = unstartable(message) {
        return refused;
    }
    match status {
        // Podman, of a container that was removed while it looked.
        500 if lower.contains("no such container") => RuntimeError::NotFound(what.to_owned()),
        404 => RuntimeError::NotFound(what.to_owned()),
        503 => RuntimeError::Unavailable(message.to_owned()),
        _ => RuntimeError::Other(format!("{what}: {message}")),
    }
}

/// What only more disk, memory or processes can mend.
pub(super) fn exhausted(message: &str) -> Option<RuntimeError> {
    let lower = message.to_ascii_lowercase();
    let of = if lower.contains("no space left on device") || lower.contains("disk quota exceeded") {
        "disk space"
    } else if lower.contains("cannot allocate memory") {
        "memory"
    } else if lower.contains("resource temporarily unavailable") || lower.contains("too many open files") {
        "processes or open files"
    } else if lower.contains("non-overlapping ipv4 address pool")
        || lower.contains("no available ipv4 addresses")
        || lower.contains("could not find free subnet")
    {
        "network addresses"
    } else {
        return None;
    };
    Some(RuntimeError::Exhausted(of.to_owned()))
}

/// A start that fails in the same way each time, until somebody changes the spec or the image.
fn unstartable(message: &str) -> Option<RuntimeError> {
    let refused =
        |field: &str, reason: String| Some(RuntimeError::Refused { field: field.to_owned(), reason });
    if message.contains("docker-init") {
        return None;
    }
    let exec = message.split_once("exec: ").map(|(_, rest)| rest.trim_end_matches(": unknown"));
    if let Some(rest) = exec
        && ["executable file not found", "no such file or directory", "permission denied", "is a directory"]
            .iter()
            .any(|sign| rest.contains(sign))
    {
        return refused("command", format!("the image cannot run it: {rest}"));
    }
    if message.contains("exec format error") {
        return refused("image", "it is built for another processor".to_owned());
    }
    if message.contains("No command specified") {
        return refused("command", "the image has no command of its own; give one".to_owned());
    }
    if message.contains("could not select device driver") {
        return refused(
            "resources.gpus",
            "the engine has no driver for GPUs; install the NVIDIA container toolkit where it runs"
                .to_owned(),
        );
    }
    if message.contains("unable to find user") || message.contains("no matching entries in passwd") {
        return refused("security.user", format!("the image does not know it: {message}"));
    }
    if message.contains("unknown or invalid runtime name") || message.contains("Unknown runtime specified") {
        return refused("security.isolation", message.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(status_code: u16, message: &str) -> RuntimeError {
        map(
            BollardError::DockerResponseServerError { status_code, message: message.to_owned() },
            "container x",
        )
    }

    #[test]
    fn words_of_real_engines() {
        assert!(
            matches!(says(404, "No such container: x"), RuntimeError::NotFound(what) if what == "container x")
        );
        let removed = "container abc does not exist in database: no such container";
        assert!(matches!(says(500, removed), RuntimeError::NotFound(_)));
        assert!(matches!(says(409, "Container abc is not running"), RuntimeError::NotRunning));
        assert!(matches!(
            says(500, "mkdir /var/lib/docker/overlay2/x: no space left on device"),
            RuntimeError::Exhausted(what) if what == "disk space"
        ));
        let missing = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \
                       \"nope\": executable file not found in $PATH: unknown";
        assert!(matches!(says(400, missing), RuntimeError::Refused { field, .. } if field == "command"));
        let no_driver = "could not select device driver \"nvidia\" with capabilities: [[gpu]]";
        assert!(
            matches!(says(500, no_driver), RuntimeError::Refused { field, .. } if field == "resources.gpus")
        );
        assert!(matches!(says(503, "busy"), RuntimeError::Unavailable(_)));
        assert!(matches!(says(500, "driver failed programming"), RuntimeError::Other(_)));
        assert!(says(500, "driver failed programming").is_transient());
    }

    #[test]
    fn sockets_that_do_not_answer_say_what_to_do() {
        for (kind, word) in [
            (ErrorKind::NotFound, "engine.socket"),
            (ErrorKind::ConnectionRefused, "start the engine"),
            (ErrorKind::PermissionDenied, "group `docker`"),
        ] {
            let error = map(BollardError::IOError { err: kind.into() }, "x");
            assert!(matches!(&error, RuntimeError::Unavailable(why) if why.contains(word)), "{error}");
        }
    }
}
