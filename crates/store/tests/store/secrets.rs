//! Sealed secrets: keys, key files, binding to a place, rotation that may be interrupted anywhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use ryokan_model::Secret;
use ryokan_store::test_util::for_each_engine;
use ryokan_store::{Key, KeyCheck, Rotation, Scope, Seal, Store, StoreError, params, rotate};

fn ring() -> Arc<Seal> {
    Arc::new(Seal::new(vec![Key::generate()]).unwrap())
}

fn scope() -> Scope {
    Scope::new("project", "p1")
}

async fn put(store: &Store, seal: &Arc<Seal>, name: &'static str, text: &str) -> Result<(), StoreError> {
    let (seal, text) = (Arc::clone(seal), Secret::new(text));
    store.write(move |tx| tx.put_secret(&seal, &scope(), name, &text, 1)).await
}

async fn get(store: &Store, seal: &Arc<Seal>, name: &'static str) -> Result<Option<String>, StoreError> {
    let seal = Arc::clone(seal);
    let secret = store.read(move |tx| tx.get_secret(&seal, &scope(), name)).await?;
    Ok(secret.map(|secret| secret.expose().to_owned()))
}

async fn check(store: &Store, seal: &Arc<Seal>) -> Result<KeyCheck, StoreError> {
    let seal = Arc::clone(seal);
    store.write(move |tx| tx.check_key(&seal, 1)).await
}

#[test]
fn keys_are_read_in_hex_and_base64() {
    let hex = "00ff".repeat(16);
    let id = Key::parse(&hex).unwrap().id();
    for same in [
        "AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=",
        "AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8A_wD_AP8",
        &format!(" {}\n", hex.to_uppercase()),
    ] {
        assert_eq!(Key::parse(same).unwrap().id(), id, "{same}");
    }
    for wrong in ["", "abc", &hex[1..], &format!("{hex}00"), &"zz".repeat(32)] {
        let error = Key::parse(wrong).unwrap_err().to_string();
        assert!(error.contains("32 bytes"), "{error}");
        assert!(wrong.is_empty() || !error.contains(wrong), "the key is not repeated");
    }
    let shown = format!("{:?} {:?}", Key::parse(&hex).unwrap(), Secret::new("hunter2"));
    assert!(!shown.contains("00ff00") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_sealed_value_opens_only_in_its_place_and_whole() {
    let seal = ring();
    let text = Secret::new("naïve ☃");
    let sealed = seal.seal(&scope(), "token", &text);
    assert_eq!(seal.open(&scope(), "token", &sealed).unwrap(), text);
    assert_ne!(sealed, seal.seal(&scope(), "token", &text), "a nonce is never used twice");
    for (other, name) in [
        (Scope::new("project", "p2"), "token"),
        (Scope::new("instance", "p1"), "token"),
        (Scope::new("project", "p1t"), "oken"),
        (scope(), "tokens"),
    ] {
        assert!(matches!(seal.open(&other, name, &sealed), Err(StoreError::Key(_))));
    }
    for index in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[index] ^= 1;
        assert!(seal.open(&scope(), "token", &altered).is_err(), "byte {index}");
        assert!(seal.open(&scope(), "token", &sealed[..index]).is_err(), "cut at {index}");
    }
    assert!(ring().open(&scope(), "token", &sealed).unwrap_err().to_string().contains("is not here"));
    let empty = seal.seal(&scope(), "", &Secret::new(""));
    assert_eq!(seal.open(&scope(), "", &empty).unwrap().expose(), "");
}

#[test]
fn the_key_file_is_made_once_and_only_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Seal::from_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Seal::from_file(&path).unwrap().current(), made.current());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let linked = folder.path().join("linked");
    symlink(&path, &linked).unwrap();
    assert_eq!(Seal::from_file(&linked).unwrap().current(), made.current(), "as Kubernetes mounts it");
    let refused = |path: &Path| Seal::from_file(path).unwrap_err().to_string();
    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&path).contains("chmod 600"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in ["", "# nothing\n", "key 00\n", "secret\n"] {
        fs::write(&path, wrong).unwrap();
        assert!(refused(&path).contains("holds"), "{wrong:?}");
    }
    assert!(refused(folder.path()).contains("not a regular file"));
    assert!(refused(Path::new("/dev/null")).contains("not a regular file"));
    assert!(refused(&folder.path().join("no/such/key")).contains("cannot be used"));
}

#[test]
fn of_many_that_start_at_once_one_makes_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let barrier = Barrier::new(8);
    let ids: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    Seal::from_file(&path).unwrap().current()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn secrets_are_kept_sealed() {
    for_each_engine(|database| async move {
        let (store, seal) = (database.open().await, ring());
        assert_eq!(check(&store, &seal).await, Ok(KeyCheck::Current));
        put(&store, &seal, "b", "old").await.unwrap();
        put(&store, &seal, "b", "hunter2").await.unwrap();
        put(&store, &seal, "a", "other").await.unwrap();
        assert_eq!(get(&store, &seal, "b").await.unwrap().as_deref(), Some("hunter2"));
        assert_eq!(get(&store, &seal, "c").await.unwrap(), None);
        let (all, ring) = (scope(), Arc::clone(&seal));
        let opened = store.read(move |tx| tx.get_secrets(&ring, &all)).await.unwrap();
        assert_eq!(opened[1], ("b".into(), Secret::new("hunter2")));
        let names = store.read(|tx| tx.list_secret_names(&scope())).await.unwrap();
        assert_eq!(names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let sealed = store.read(|tx| tx.query("SELECT sealed FROM secrets", params![])).await.unwrap();
        assert!(sealed.iter().all(|row| !row.bytes("sealed").unwrap().windows(7).any(|part| part == b"hunter2")));
        // A row that was copied over another does not open.
        store
            .write(|tx| {
                tx.execute(
                    "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'a') WHERE name = 'b'",
                    params![],
                )
            })
            .await
            .unwrap();
        assert!(matches!(get(&store, &seal, "b").await, Err(StoreError::Key(_))));
        assert!(store.write(|tx| tx.delete_secret(&scope(), "a")).await.unwrap());
        assert!(!store.write(|tx| tx.delete_secret(&scope(), "a")).await.unwrap());
        assert_eq!(store.write(|tx| tx.delete_secrets(&scope())).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_at_start() {
    for_each_engine(|database| async move {
        let (store, right, wrong) = (database.open().await, ring(), ring());
        check(&store, &right).await.unwrap();
        let refused = check(&store, &wrong).await.unwrap_err().to_string();
        assert!(refused.contains("not the one of this database"), "{refused}");
        assert!(
            refused.contains(&right.current().to_string()) && refused.contains(&wrong.current().to_string())
        );
        assert!(put(&store, &wrong, "a", "x").await.is_err());
        assert_eq!(check(&store, &right).await, Ok(KeyCheck::Current));
    })
    .await;
}

#[tokio::test]
async fn a_rotation_stopped_after_any_step_is_taken_up_again() {
    for_each_engine(|database| async move {
        let path = database.scratch().join("key");
        let store = database.open().await;
        let first = Arc::new(Seal::from_file(&path).unwrap());
        check(&store, &first).await.unwrap();
        let ring = Arc::clone(&first);
        store
            .write(move |tx| {
                (0..250).try_for_each(|number| {
                    let (name, text) = (format!("s{number}"), Secret::new(format!("text {number}")));
                    tx.put_secret(&ring, &scope(), &name, &text, 1)
                })
            })
            .await
            .unwrap();
        // 250 secrets take steps: key, check, three batches, an empty one, forget.
        for stop in 0..=7 {
            let before = Seal::from_file(&path).unwrap().current();
            let seal = Arc::new(Seal::from_file(&path).unwrap());
            let mut rotation = Rotation::new(&store, &seal, Some(&path));
            for _ in 0..stop {
                assert!(rotation.step(2).await.unwrap());
            }
            // Killed here: all that a new process has is the file and the database.
            let seal = Arc::new(Seal::from_file(&path).unwrap());
            let state = check(&store, &seal).await.unwrap();
            assert_eq!(state == KeyCheck::Current, stop == 0 || stop == 7, "after {stop} steps");
            for name in ["s0", "s99", "s100", "s249"] {
                let text = get(&store, &seal, name).await.unwrap().unwrap();
                assert_eq!(text, format!("text {}", &name[1..]), "readable after {stop} steps");
            }
            if state == KeyCheck::RotationPending {
                rotate(&store, &seal, Some(&path), 3).await.unwrap();
            }
            let seal = Arc::new(Seal::from_file(&path).unwrap());
            assert_eq!(check(&store, &seal).await, Ok(KeyCheck::Current));
            assert_eq!(seal.current() == before, stop == 0, "a rotation that began ends with another key");
            assert_eq!(get(&store, &seal, "s7").await.unwrap().as_deref(), Some("text 7"));
        }
        assert!(get(&store, &first, "s7").await.is_err(), "the old key opens nothing");
    })
    .await;
}

#[tokio::test]
async fn a_server_with_the_old_key_cannot_add_to_it() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let old_key = Key::generate();
        let old = Arc::new(Seal::new(vec![old_key.clone()]).unwrap());
        check(&store, &old).await.unwrap();
        put(&store, &old, "a", "x").await.unwrap();
        let new = Arc::new(Seal::new(vec![Key::generate(), old_key.clone()]).unwrap());
        assert_eq!(check(&store, &new).await, Ok(KeyCheck::RotationPending));
        assert!(put(&store, &new, "b", "x").await.is_err(), "not before the rotation has begun");
        rotate(&store, &new, None, 2).await.unwrap();
        assert_eq!(check(&store, &new).await, Ok(KeyCheck::Current));
        assert!(put(&store, &old, "a", "y").await.unwrap_err().to_string().contains("needs the key"));
        let left = Arc::new(Seal::new(vec![old_key, Key::generate()]).unwrap());
        assert!(put(&store, &left, "a", "y").await.is_err());
        assert_eq!(get(&store, &new, "a").await.unwrap().as_deref(), Some("x"));
    })
    .await;
}
