//! Looking into an instance: logs, commands, files, stats. Reading needs `read`; running a command or writing a file
//! needs `write`.

use bytes::Bytes;
use ryokan_model::permission::{Caller, Scope};
use ryokan_ports::runtime::{
    BoxStream, Exec, ExecSpec, FileInfo, LogLine, LogOptions, Result as EngineResult, Stats, Target,
};
use ryokan_store::instances::Instance;
use serde_json::json;

use crate::instances::beside::rolls_beside;
use crate::projects::disk;
use crate::{App, Error, Result, events};

/// The largest file that goes in or out.
pub const MAX_FILE: u64 = 1 << 30;

/// The container that requests go to.
fn serving(row: &Instance) -> Target {
    let generation = match &row.previous {
        Some(previous) if rolls_beside(row) => previous.generation,
        _ => row.generation,
    };
    Target { instance: row.id, serving: Some(generation) }
}

impl App {
    pub async fn instance_logs(
        &self,
        caller: &Caller,
        id_or_name: &str,
        options: LogOptions,
    ) -> Result<BoxStream<EngineResult<LogLine>>> {
        let row = self.find_instance(caller, Scope::Read, id_or_name).await?;
        match self.runtime.logs(serving(&row), options).await {
            // It has not run yet, or its container is being replaced: no lines, no error.
            Err(ryokan_ports::runtime::RuntimeError::NotFound(_)) => {
                Ok(Box::pin(futures_util::stream::empty()))
            }
            other => Ok(other?),
        }
    }

    pub async fn exec_in_instance(&self, caller: &Caller, id_or_name: &str, spec: ExecSpec) -> Result<Exec> {
        let row = self.find_instance(caller, Scope::Write, id_or_name).await?;
        if spec.command.is_empty() || spec.command[0].is_empty() {
            return Err(Error::invalid("command", "must not be empty"));
        }
        if spec.command.iter().map(String::len).sum::<usize>() > 64 * 1024
            || spec.command.iter().any(|word| word.contains('\0'))
        {
            return Err(Error::invalid("command", "at most 64 KiB, without NUL bytes"));
        }
        // Arguments may hold secrets, so only the program is recorded.
        let data = json!({"program": spec.command[0], "tty": spec.tty.is_some()});
        self.record_inside(caller, &row, "instance.exec", data).await?;
        Ok(self.runtime.exec(serving(&row), spec).await?)
    }

    pub async fn instance_stats(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<BoxStream<EngineResult<Stats>>> {
        let row = self.find_instance(caller, Scope::Read, id_or_name).await?;
        Ok(self.runtime.stats(serving(&row)).await?)
    }

    pub async fn list_instance_files(
        &self,
        caller: &Caller,
        id_or_name: &str,
        path: &str,
    ) -> Result<Vec<FileInfo>> {
        let row = self.find_instance(caller, Scope::Read, id_or_name).await?;
        Ok(self.runtime.list_files(serving(&row), &absolute(path)?).await?)
    }

    pub async fn read_instance_file(
        &self,
        caller: &Caller,
        id_or_name: &str,
        path: &str,
    ) -> Result<(FileInfo, BoxStream<EngineResult<Bytes>>)> {
        let row = self.find_instance(caller, Scope::Read, id_or_name).await?;
        let path = absolute(path)?;
        let (info, content) = self.runtime.read_file(serving(&row), &path).await?;
        if info.size > MAX_FILE {
            return Err(Error::invalid("path", "the file is larger than 1 GiB; copy it out in parts"));
        }
        Ok((info, content))
    }

    pub async fn write_instance_file(
        &self,
        caller: &Caller,
        id_or_name: &str,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        let row = self.find_instance(caller, Scope::Write, id_or_name).await?;
        let path = absolute(path)?;
        if size > MAX_FILE {
            return Err(Error::invalid("content-length", "at most 1 GiB"));
        }
        let (project, now) = (row.project, self.clock.now());
        self.store.read(move |tx| disk::must_have_room(tx, project, size, now)).await?;
        self.record_inside(caller, &row, "instance.file_written", json!({"path": path, "size": size}))
            .await?;
        Ok(self.runtime.write_file(serving(&row), &path, mode, size, content).await?)
    }

    async fn record_inside(
        &self,
        caller: &Caller,
        row: &Instance,
        kind: &'static str,
        data: serde_json::Value,
    ) -> Result<()> {
        let (now, by, row) = (self.clock.now(), caller.clone(), row.clone());
        self.store
            .write(move |tx| {
                events::by_caller(
                    tx,
                    now,
                    &by,
                    Some(row.project),
                    kind,
                    "instance",
                    &row.id.to_string(),
                    row.name.as_str(),
                    data,
                )
            })
            .await
    }
}

/// An absolute path without `.`, `..`, empty parts or control characters.
fn absolute(path: &str) -> Result<String> {
    let bad = || {
        Error::invalid(
            "path",
            "must be an absolute path inside the container, such as \"/data/notes.txt\", without `..`",
        )
    };
    if !path.starts_with('/') || path.len() > 4096 || path.chars().any(char::is_control) {
        return Err(bad());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(bad());
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn paths() {
        assert_eq!(absolute("/a//b/./c/").unwrap(), "/a/b/c");
        assert_eq!(absolute("/").unwrap(), "/");
        for bad in ["", "a", "/../etc/passwd", "/a/../../b", "/a\0b", "/a\nb", "..", "C:\\x"] {
            assert!(absolute(bad).is_err(), "{bad:?}");
        }
        assert_eq!(absolute("/a/..b").unwrap(), "/a/..b", "a name may begin with dots");
    }
}
