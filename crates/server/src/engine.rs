//! Which container engine this server uses. What is configured (`engine.socket`, `DOCKER_HOST`) is used as it is. Else
//! the first that answers is taken, and kept to from then on: an engine that is away for a while must not lead to its
//! agents being made anew on another one. A file in the data folder holds which it was.

use std::path::Path;

use anyhow::Context as _;
use ryokan_adapters::docker::discover;

use crate::config::{Config, DOCKER_SOCKET};

/// The name of that file; who removes it lets the next start choose again.
const FILE: &str = "engine";

/// The socket to use. Whether it answers now is said in the log, and decides nothing.
pub(crate) async fn choose(config: &Config) -> anyhow::Result<String> {
    let file = config.server.data_dir.join(FILE);
    let known = match &config.engine.socket {
        Some(socket) => Some((socket.clone(), "as configured")),
        None => remembered(&file)?.map(|socket| (socket, "as before")),
    };
    if let Some((socket, why)) = known {
        match discover::ask(&socket).await {
            Ok(found) => tracing::info!("engine: {} {} at {socket}, {why}", found.engine, found.version),
            Err(e) => tracing::warn!("engine at {socket}, {why}: {e}"),
        }
        return Ok(socket);
    }
    match discover::first(&config.engine.candidates()).await {
        Ok(found) => {
            tracing::info!("engine: {} {} at {}, found", found.engine, found.version, found.socket);
            std::fs::write(&file, format!("{}\n", found.socket))
                .with_context(|| format!("{} cannot be written", file.display()))?;
            Ok(found.socket)
        }
        Err(reasons) => {
            tracing::warn!(
                "no container engine answers; {DOCKER_SOCKET} is waited for: {}",
                reasons.join("; ")
            );
            Ok(DOCKER_SOCKET.to_owned())
        }
    }
}

fn remembered(file: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|socket| !socket.is_empty())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("{} cannot be read", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Something that answers a ping as Podman does.
    fn podman(path: &Path) -> JoinSet<()> {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(path).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = "HTTP/1.1 200 OK\r\nLibpod-Api-Version: 4.3.1\r\nContent-Length: 2\r\n\r\nOK";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        tasks
    }

    fn config(folder: &Path, socket: Option<&str>) -> Config {
        let mut environment = BTreeMap::from([
            ("RYOKAN_DATA_DIR".to_owned(), folder.display().to_string()),
            ("XDG_RUNTIME_DIR".to_owned(), folder.join("run").display().to_string()),
        ]);
        if let Some(socket) = socket {
            environment.insert("DOCKER_HOST".to_owned(), socket.to_owned());
        }
        Config::parse(None, &environment).unwrap()
    }

    #[tokio::test]
    async fn what_was_found_once_is_kept_to() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/podman/podman.sock");
        let address = format!("unix://{}", socket.display());
        let listening = podman(&socket);
        let found =
            discover::first(&["unix:///no/such/docker.sock".to_owned(), address.clone()]).await.unwrap();
        assert_eq!(
            (found.socket, found.engine, found.version),
            (address.clone(), "podman".into(), "4.3.1".into())
        );

        let free = config(folder.path(), None);
        assert_eq!(free.engine.candidates().last(), Some(&address));
        std::fs::write(folder.path().join(FILE), format!("{address}\n")).unwrap();
        assert_eq!(choose(&free).await.unwrap(), address);
        // Also while it is away.
        drop(listening);
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(choose(&free).await.unwrap(), address);
        // What is configured comes first, and changes nothing for the time after.
        let forced = config(folder.path(), Some("unix:///no/such/engine.sock"));
        assert_eq!(choose(&forced).await.unwrap(), "unix:///no/such/engine.sock");
        assert_eq!(choose(&free).await.unwrap(), address);
    }
}
