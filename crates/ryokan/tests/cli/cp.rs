//! `cp`: whole files or nothing.

use std::os::unix::fs::PermissionsExt as _;

use super::scripted::{Answer, Piece, Server, text};
use super::user::User;

const FILES: &str = "GET /v1/instances/claw/files";

#[tokio::test]
async fn up() {
    let server = Server::start().await;
    server.on("PUT /v1/instances/claw/files", Answer::empty());
    let user = User::of(&server);
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(user.path("a:b.bin"), &content).unwrap();
    std::fs::set_permissions(user.path("a:b.bin"), std::fs::Permissions::from_mode(0o750)).unwrap();
    let ran = user.run(&["cp", "./a:b.bin", "claw:/data/"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    let ran = user.run_with_input(&["cp", "-", "claw:/data/x y"], "from a pipe").await;
    assert_eq!(ran.code, Some(0), "{ran}");
    let seen = server.seen();
    assert_eq!(seen[0].line, "PUT /v1/instances/claw/files?mode=0750&path=%2Fdata%2Fa%3Ab.bin");
    assert_eq!(seen[0].header("content-length"), content.len().to_string());
    assert!(seen[0].body == content);
    assert_eq!(seen[1].line, "PUT /v1/instances/claw/files?path=%2Fdata%2Fx+y");
    assert_eq!((seen[1].header("content-length"), seen[1].body.as_slice()), ("11", &b"from a pipe"[..]));
}

#[tokio::test]
async fn an_empty_file_goes_up() {
    let server = Server::start().await;
    server.on("PUT /v1/instances/claw/files", Answer::empty());
    let user = User::of(&server);
    std::fs::write(user.path("empty"), "").unwrap();
    assert_eq!(user.run(&["cp", "empty", "claw:/empty"]).await.code, Some(0));
    assert_eq!(server.seen()[0].header("content-length"), "0");
}

#[tokio::test]
async fn down() {
    let server = Server::start().await;
    server.on(FILES, Answer::bytes(b"content\n"));
    let user = User::of(&server);
    assert_eq!(user.run(&["cp", "claw:/data/notes.md", "."]).await.code, Some(0));
    assert_eq!(std::fs::read(user.path("notes.md")).unwrap(), b"content\n");
    assert_eq!(user.run(&["cp", "claw:/data/notes.md", "-"]).await.stdout, "content\n");
    assert_eq!(user.run(&["cp", "claw:/data/notes.md", "/dev/null"]).await.code, Some(0));
    std::fs::write(user.path("old"), "old").unwrap();
    std::fs::set_permissions(user.path("old"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(user.run(&["cp", "claw:/data/notes.md", "old"]).await.code, Some(0));
    assert_eq!(std::fs::read(user.path("old")).unwrap(), b"content\n");
    assert_eq!(std::fs::metadata(user.path("old")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.lines()[0], format!("{FILES}?path=%2Fdata%2Fnotes.md"));
}

#[tokio::test]
async fn half_a_file_is_none() {
    let server = Server::start().await;
    server.on(
        FILES,
        Answer::Stream { kind: "application/octet-stream", pieces: vec![text("half"), Piece::Break] },
    );
    let user = User::of(&server);
    std::fs::write(user.path("old"), "old").unwrap();
    let ran = user.run(&["cp", "claw:/x", "old"]).await;
    assert_eq!(ran.code, Some(6), "{ran}");
    assert_eq!(std::fs::read(user.path("old")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(user.home.path()).unwrap().count(), 1, "nothing is left behind");
}

#[tokio::test]
async fn what_cannot_be_copied() {
    let server = Server::start().await;
    server.on(FILES, Answer::problem(400, "invalid", "The path is a directory."));
    let user = User::of(&server);
    std::fs::create_dir(user.path("folder")).unwrap();
    insta::assert_snapshot!("cp_folder_up", user.run(&["cp", "folder", "claw:/data"]).await);
    insta::assert_snapshot!("cp_folder_down", user.run(&["cp", "claw:/data", "folder"]).await);
    insta::assert_snapshot!("cp_local", user.run(&["cp", "a", "b"]).await);
    insta::assert_snapshot!("cp_remote", user.run(&["cp", "a:/x", "b:/x"]).await);
    insta::assert_snapshot!("cp_relative", user.run(&["cp", "claw:x", "b"]).await);
    insta::assert_snapshot!("cp_missing", user.run(&["cp", "nope", "claw:/x"]).await);
}
