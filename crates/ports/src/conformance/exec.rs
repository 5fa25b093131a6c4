//! Commands inside.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Harness, PATIENCE};
use crate::runtime::{Exec, ExecInput, ExecSpec, Output, RuntimeError};

fn command(words: &[&str]) -> ExecSpec {
    ExecSpec { command: words.iter().map(|w| (*w).to_owned()).collect(), ..ExecSpec::default() }
}

/// Reads until the text has come.
async fn read_until(exec: &mut Exec, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            let chunk = exec.output.next().await;
            let Some(chunk) = chunk else { panic!("`{wanted}` never came: {text:?}") };
            let (output, bytes) = chunk.unwrap();
            assert_eq!(output, Output::Stdout);
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, read).await;
    assert!(outcome.is_ok(), "`{wanted}` does not come: {text:?}");
    text
}

pub async fn exec_tells_output_and_exit_code(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let agent = h.agent.as_str();
    let ran = |code: i64, out: &str, err: &str| (code, out.to_owned(), err.to_owned());
    assert_eq!(h.run(workload.instance, &[agent, "echo", "a b", "c"]).await, ran(0, "a b c\n", ""));
    assert_eq!(h.run(workload.instance, &[agent, "err", "oh"]).await, ran(0, "", "oh\n"));
    assert_eq!(h.run(workload.instance, &[agent, "exit", "3"]).await, ran(3, "", ""));
    // A command that was given no input sees its end.
    assert_eq!(h.run(workload.instance, &[agent, "cat"]).await, ran(0, "", ""));
}

pub async fn exec_passes_input_and_its_end(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let spec = ExecSpec { stdin: true, ..command(&[&h.agent, "cat"]) };
    let mut exec = h.runtime.exec(workload.instance.into(), spec).await.unwrap();
    exec.input.send(ExecInput::Data(Bytes::from_static(b"one "))).await.unwrap();
    assert_eq!(read_until(&mut exec, "one ").await, "one ");
    exec.input.send(ExecInput::Data(Bytes::from_static(b"two"))).await.unwrap();
    exec.input.send(ExecInput::Eof).await.unwrap();
    assert_eq!(read_until(&mut exec, "two").await, "two");
    assert!(exec.output.next().await.is_none());
    assert_eq!(tokio::time::timeout(PATIENCE, exec.exit).await.unwrap().unwrap(), 0);
}

pub async fn exec_of_a_missing_program_is_clear(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    match h.runtime.exec(workload.instance.into(), command(&["no-such-program"])).await.map(drop) {
        Err(RuntimeError::Refused { field, reason }) => {
            assert_eq!(field, "command");
            assert!(reason.contains("no-such-program"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let empty = h.runtime.exec(workload.instance.into(), command(&[])).await.map(drop);
    assert!(matches!(empty, Err(RuntimeError::Refused { .. })), "{empty:?}");
}

pub async fn exec_needs_a_running_container(h: &Harness) {
    let (workload, _) = h.serving().await;
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    let stopped = h.runtime.exec(workload.instance.into(), command(&[&h.agent, "env"])).await.map(drop);
    assert!(matches!(stopped, Err(RuntimeError::NotRunning)), "{stopped:?}");
    let missing = h.runtime.exec(h.instance().into(), command(&[&h.agent, "env"])).await.map(drop);
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
}

pub async fn exec_with_a_terminal(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let spec = ExecSpec { stdin: true, tty: Some((100, 40)), ..command(&["sh"]) };
    let mut exec = h.runtime.exec(workload.instance.into(), spec).await.unwrap();
    let type_in = |text: &'static str| exec.input.send(ExecInput::Data(Bytes::from_static(text.as_bytes())));
    type_in("test -t 0 && test -t 1 && echo is-a-$((1))-terminal\n").await.unwrap();
    read_until(&mut exec, "is-a-1-terminal").await;
    let input = exec.input.clone();
    let type_in = |text: &'static str| input.send(ExecInput::Data(Bytes::from_static(text.as_bytes())));
    type_in("stty size; echo size-$((1))\n").await.unwrap();
    assert!(read_until(&mut exec, "size-1").await.contains("40 100"));
    input.send(ExecInput::Resize(81, 25)).await.unwrap();
    type_in("stty size; echo size-$((2))\n").await.unwrap();
    assert!(read_until(&mut exec, "size-2").await.contains("25 81"));
    // Bytes that look like the frames of another mode go through.
    type_in("printf '\\001\\002\\000raw'; echo end-$((3))\n").await.unwrap();
    assert!(read_until(&mut exec, "end-3").await.contains("\u{1}\u{2}\0raw"));
    type_in("exit 5\n").await.unwrap();
    while exec.output.next().await.is_some() {}
    assert_eq!(tokio::time::timeout(PATIENCE, exec.exit).await.unwrap().unwrap(), 5);
}

pub async fn exec_with_environment_user_and_folder(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let spec = ExecSpec {
        env: [("K".to_owned(), "v v".to_owned())].into(),
        workdir: Some("/tmp".to_owned()),
        user: Some("12:34".to_owned()),
        ..command(&["sh", "-c", "echo $K $(pwd) $(id -u):$(id -g)"])
    };
    let (code, out, _) = h.run_spec(workload.instance, spec).await.unwrap();
    assert_eq!((code, out.as_str()), (0, "v v /tmp 12:34\n"));
    let nobody = ExecSpec { user: Some("nobody-here".to_owned()), ..command(&["true"]) };
    let refused = h.run_spec(workload.instance, nobody).await.unwrap_err();
    assert!(refused.to_string().starts_with("user: "), "{refused}");
    let nowhere = ExecSpec { workdir: Some("/no/where".to_owned()), ..command(&["true"]) };
    let refused = h.run_spec(workload.instance, nowhere).await.unwrap_err();
    assert!(refused.to_string().starts_with("workdir: "), "{refused}");
}

pub async fn exec_ends_when_nobody_looks(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    for tty in [None, Some((80, 24))] {
        let spec = ExecSpec { stdin: true, tty, ..command(&["sleep", "4711"]) };
        let exec = h.runtime.exec(workload.instance.into(), spec).await.unwrap();
        let count = "ps | grep -c '[s]leep 4711' || true";
        assert_eq!(h.sh(workload.instance, count).await, "1");
        drop(exec);
        let gone = async {
            while h.sh(workload.instance, count).await != "0" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the command is ended");
    }
}

pub async fn exec_that_was_cut_off_leaves_nothing(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    for millis in [0, 1, 3, 10, 20, 40, 60, 80, 100, 150] {
        let exec = h.runtime.exec(workload.instance.into(), command(&["sleep", "4713"]));
        drop(tokio::time::timeout(Duration::from_millis(millis), exec).await);
    }
    let gone = async {
        // Twice in a row, and not right away: one may still be on its way.
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            while h.sh(workload.instance, "ps | grep -c '[s]leep 4713' || true").await != "0" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the commands are ended");
}

pub async fn exec_output_waits_for_its_reader(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let script = "head -c 20000000 /dev/zero; touch /tmp/written";
    let mut exec = h.runtime.exec(workload.instance.into(), command(&["sh", "-c", script])).await.unwrap();
    // Nobody reads, so it cannot have written all of it, however long we wait.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_ne!(h.run(workload.instance, &["test", "-e", "/tmp/written"]).await.0, 0);
    let mut size = 0;
    while let Some(chunk) = exec.output.next().await {
        size += chunk.unwrap().1.len();
    }
    assert_eq!(size, 20_000_000);
    assert_eq!(exec.exit.await.unwrap(), 0);
}
