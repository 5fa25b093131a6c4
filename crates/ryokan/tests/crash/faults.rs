//! What lies under the server dies: PostgreSQL is killed and comes back; the disk of the data folder is full.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::invariants::{Known, check};
use crate::rig::{Place, Rig, engine_is_there, eventually, skip};
use crate::storm::{Field, blow, known, seed};

fn script(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name)
}

/// A PostgreSQL server of this test alone, which may be killed.
struct Postgres {
    folder: tempfile::TempDir,
    url: String,
}

impl Postgres {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ryokan-crash-pg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut server = Self { folder, url: String::new() };
        server.url = server.run("start");
        server
    }

    fn run(&self, verb: &str) -> String {
        let output =
            Command::new(script("postgres")).arg(verb).arg(self.folder.path().join("db")).output().unwrap();
        assert!(
            output.status.success(),
            "scripts/postgres {verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// `kill -9` of the postmaster.
    fn kill(&self) {
        let find =
            Command::new("find").arg(self.folder.path()).args(["-name", "postmaster.pid"]).output().unwrap();
        let file = String::from_utf8(find.stdout).unwrap().trim().to_owned();
        let pid = std::fs::read_to_string(file).unwrap().lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new(script("postgres")).arg("stop").arg(self.folder.path().join("db")).status();
    }
}

#[test]
fn postgresql_is_killed_under_it() {
    if !engine_is_there() {
        return;
    }
    if std::env::var("RYOKAN_TEST_POSTGRES_URL").is_err() {
        return skip("no PostgreSQL (`make test` starts one)");
    }
    let seed = seed();
    let postgres = Postgres::start();
    let mut rig = Rig::new(Place { database_url: Some(postgres.url.clone()), ..Place::default() });
    rig.up();
    let field = Arc::new(Mutex::new(Field::default()));
    rig.create("steady");
    rig.wait_state("steady", "ready");
    for round in 0..2 {
        blow(&rig, &field, seed + round, Duration::from_millis(1500));
        postgres.kill();
        // The data plane never blocks on the control plane.
        let (code, body) = rig.get("/gateway/steady/health").expect("the gateway answers without a database");
        assert_eq!(code, 200, "{body}");
        let answer = rig.get("/v1/instances");
        assert!(answer.is_some_and(|(code, _)| code == 503), "the API says that its database is away");
        postgres.run("start");
        eventually(
            Duration::from_secs(45),
            || format!("the server does not find its database again\n{}", rig.log()),
            || rig.get("/readyz").filter(|(code, _)| *code == 200),
        );
    }
    // Server and database at once.
    blow(&rig, &field, seed + 9, Duration::from_secs(1));
    rig.kill();
    postgres.kill();
    postgres.run("start");
    rig.up();
    let mut known = known(&field);
    known.created.insert("steady".into());
    check(&rig, &known);
    rig.tear_down();
}

/// A small file system of this test alone.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn the_disk_of_the_data_folder_is_full() {
    if !engine_is_there() {
        return;
    }
    let Some(disk) = SmallDisk::mount() else { return skip("no right to mount a small file system") };
    let mut rig = Rig::new(Place { data: Some(disk.0.path().join("data")), ..Place::default() });
    rig.up();
    assert_eq!(rig.create("before").unwrap().0, 202);
    rig.wait_state("before", "ready");
    let filler = disk.0.path().join("filler");
    // Until nothing more fits, down to the last block.
    for block in ["64k", "4k", "1k"] {
        let _ = Command::new("sh")
            .arg("-c")
            .arg(format!("dd if=/dev/zero bs={block} >> {} 2>/dev/null", filler.display()))
            .status();
    }
    // The database may have some room left inside its own files; soon it has not.
    let refused =
        eventually(Duration::from_secs(30), || format!("creations go on on a full disk\n{}", rig.log()), {
            let mut n = 0;
            let rig = &rig;
            let filler = filler.clone();
            move || {
                n += 1;
                let _ = Command::new("sh")
                    .arg("-c")
                    .arg(format!("dd if=/dev/zero bs=1k >> {} 2>/dev/null", filler.display()))
                    .status();
                rig.create(&format!("during-{n}")).filter(|(code, _)| *code != 202)
            }
        });
    assert_eq!(refused.0, 503, "{refused:?}");
    assert!(refused.1["detail"].as_str().unwrap().contains("disk is full"), "{refused:?}");
    // Agents are served all the same, and reading works.
    assert_eq!(rig.get("/gateway/before/health").unwrap().0, 200);
    assert_eq!(rig.get("/v1/instances/before").unwrap().0, 200);
    // Killed while full, and back with space.
    rig.kill();
    std::fs::remove_file(&filler).unwrap();
    rig.up();
    assert_eq!(rig.create("after").unwrap().0, 202);
    rig.wait_state("after", "ready");
    let created = rig.instances().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect();
    check(&rig, &Known { created, ..Known::default() });
    rig.tear_down();
}
