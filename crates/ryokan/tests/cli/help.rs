//! Every help text.

use super::user::User;

#[tokio::test]
async fn help_texts() {
    let user = User::new("http://nowhere");
    let main = user.run(&["--help"]).await;
    insta::assert_snapshot!("help", main);
    for command in [
        "login",
        "logout",
        "run",
        "init",
        "deploy",
        "deployments",
        "rollback",
        "domains",
        "credentials",
        "ps",
        "inspect",
        "logs",
        "exec",
        "cp",
        "stats",
        "stop",
        "start",
        "restart",
        "update",
        "rm",
        "open",
        "templates",
        "users",
        "tokens",
        "projects",
        "ledger",
        "caps",
        "prices",
        "models",
        "providers",
        "usage",
        "groups",
        "policy",
        "approvals",
        "audit",
        "events",
        "system",
        "completion",
        "version",
    ] {
        assert!(main.stdout.contains(&format!("\n  {command} ")), "{command} is not in the list");
        let help = user.run(&[command, "--help"]).await;
        assert_eq!(user.run(&[command, "-h"]).await.stdout, help.stdout, "{command}: one help, not two");
        // The global options are the same everywhere.
        let (own, rest) = help.stdout.split_once("\nGlobal options:").unwrap();
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        insta::assert_snapshot!(format!("help_{command}"), format!("{own}\n{after}"));
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let user = User::new("http://nowhere");
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["run", "--cpus", "1c", "hello"],
        &["run", "hello", "-p", "80:80"],
        &["run", "hello", "--volume", "/host:/data"],
        &["ps", "--state", "happy"],
        &["rm"],
    ] {
        assert_eq!(user.run(arguments).await.code, Some(2), "{arguments:?}");
    }
    insta::assert_snapshot!("usage_cpus", user.run(&["run", "--cpus", "1c", "hello"]).await);
    insta::assert_snapshot!("usage_no_template", user.run(&["run"]).await);
    insta::assert_snapshot!("usage_secret", user.run(&["run", "hello", "--secret", "KEY=hush"]).await);
}

#[tokio::test]
async fn completion_scripts() {
    let user = User::new("http://nowhere");
    for shell in ["bash", "zsh", "fish"] {
        let ran = user.run(&["completion", shell]).await;
        assert_eq!(ran.code, Some(0));
        assert!(ran.stdout.contains("restart"), "{shell}");
    }
    insta::assert_snapshot!(user.run(&["version", "--json"]).await.stdout, @r#"
    {
      "version": "0.1.0"
    }
    "#);
}
