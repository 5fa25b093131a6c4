//! Which engine of this machine to use when nobody says: the first that answers. Each is asked once and briefly; what
//! follows from the answer, and that it is kept to, is the server's to see to.

use std::time::Duration;

use ryokan_model::ServerId;
use ryokan_ports::runtime::Result;

use super::{Docker, Options};

/// A ping is answered in milliseconds; a machine that has just booted may be slower.
const PATIENCE: Duration = Duration::from_secs(2);

/// An engine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As in `DOCKER_HOST`.
    pub socket: String,
    /// `docker` or `podman`.
    pub engine: String,
    pub version: String,
}

/// Asks an engine who it is.
pub async fn ask(socket: &str) -> Result<Found> {
    let options = Options {
        socket: Some(socket.to_owned()),
        patience: PATIENCE,
        ..Options::new(ServerId(uuid::Uuid::nil()))
    };
    let docker = Docker::connect(options)?;
    let introduced = docker.0.introduced().await;
    ryokan_ports::Runtime::close(&docker).await;
    let (engine, version) = introduced?;
    Ok(Found { socket: socket.to_owned(), engine, version })
}

/// The first of these that answers; or why none does.
pub async fn first(sockets: &[String]) -> std::result::Result<Found, Vec<String>> {
    let mut reasons = Vec::new();
    for socket in sockets {
        match ask(socket).await {
            Ok(found) => return Ok(found),
            Err(e) => reasons.push(e.to_string()),
        }
    }
    Err(reasons)
}
