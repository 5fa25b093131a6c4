//! What lies under the server dies: PostgreSQL is killed and comes back; the disk of the data folder is full.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::storm::{Field, blow, known, seed};
use crate::support::below::{Postgres, SmallDisk};
use crate::support::invariants::{Known, check};
use crate::support::rig::{Place, Rig, engine_is_there, eventually, skip};

#[test]
fn postgresql_is_killed_under_it() {
    if !engine_is_there() {
        return;
    }
    if std::env::var("RYOKAN_TEST_POSTGRES_URL").is_err() {
        return skip("no PostgreSQL (`make test` starts one)");
    }
    let seed = seed();
    let postgres = Postgres::start(Place::default());
    let rig = Rig::new(Place { database_url: Some(postgres.url.clone()), ..Place::default() });
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

#[test]
fn the_disk_of_the_data_folder_is_full() {
    if !engine_is_there() {
        return;
    }
    let Some(disk) = SmallDisk::mount(12) else { return skip("no right to mount a small file system") };
    let rig = Rig::new(Place { data: Some(disk.data()), ..Place::default() });
    rig.up();
    assert_eq!(rig.create("before").unwrap().0, 202);
    rig.wait_state("before", "ready");
    disk.fill();
    // The database may have some room left inside its own files; soon it has not.
    let refused =
        eventually(Duration::from_secs(30), || format!("creations go on on a full disk\n{}", rig.log()), {
            let mut n = 0;
            let (rig, disk) = (&rig, &disk);
            move || {
                n += 1;
                disk.fill();
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
    disk.free();
    rig.up();
    assert_eq!(rig.create("after").unwrap().0, 202);
    rig.wait_state("after", "ready");
    let created = rig.instances().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect();
    check(&rig, &Known { created, ..Known::default() });
    rig.tear_down();
}
