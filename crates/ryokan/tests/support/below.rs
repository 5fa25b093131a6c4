//! What lies under the server, for one test alone: a PostgreSQL server that may be killed, a small disk that may be full.

use std::path::PathBuf;
use std::process::Command;

use super::rig::Place;

fn script(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name);
    path.display().to_string()
}

/// A PostgreSQL server of this test alone, which may be killed.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    /// Where it runs.
    place: Place,
    pub(crate) url: String,
}

impl Postgres {
    pub(crate) fn start(place: Place) -> Self {
        let folder = tempfile::Builder::new().prefix("ryokan-crash-pg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut server = Self { folder, place, url: String::new() };
        server.url = server.run("start");
        server
    }

    pub(crate) fn run(&self, verb: &str) -> String {
        let mut command = self.place.command(&script("postgres"));
        let output = command.arg(verb).arg(self.folder.path().join("db")).output().unwrap();
        assert!(
            output.status.success(),
            "scripts/postgres {verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// `kill -9` of the postmaster and of all that it started. Harmless when it is dead already.
    pub(crate) fn kill(&self) {
        let pid_file = self.folder.path().join("db/data/postmaster.pid");
        let text = std::fs::read_to_string(pid_file).unwrap_or_default();
        let Some(pid) = text.lines().next().filter(|pid| pid.parse::<u32>().is_ok()) else { return };
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", pid]).output().unwrap();
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        // The postmaster first: it would start again what is missing.
        let all = std::iter::once(pid).chain(children.split_whitespace());
        let _ = Command::new("kill").arg("-9").args(all).output();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ =
            self.place.command(&script("postgres")).arg("stop").arg(self.folder.path().join("db")).output();
    }
}

/// A small file system of this test alone.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Self(folder))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Until nothing more fits, down to the last block.
    pub(crate) fn fill(&self) {
        for block in ["64k", "4k", "1k"] {
            let fill = format!("dd if=/dev/zero bs={block} >> {} 2>/dev/null", self.filler().display());
            let _ = Command::new("sh").arg("-c").arg(fill).status();
        }
    }

    pub(crate) fn free(&self) {
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
