//! The commands: what tests run inside a container to see exit codes, streams, terminals, identity and limits.
//! Each returns the exit code of the process; an `Err` is printed to stderr and becomes 1.

use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
hello, a tiny agent

  hello [serve]            serve HTTP on 0.0.0.0:$PORT (3000)
  hello ignore-term        serve, and ignore SIGTERM
  hello health             exit 0 if the server in this container is healthy
  hello sleep SECONDS      do nothing
  hello echo ARGS...       print the arguments
  hello err TEXT           print to stderr
  hello cat                copy stdin to stdout
  hello env                print the environment
  hello id                 print user, groups, capabilities and confinement
  hello exit CODE          exit with CODE
  hello tty                print the terminal's size now and when it changes, until `q` or end of input
  hello log N [MS]         print N numbered lines, stdout and stderr in turn, MS milliseconds apart
  hello fill PATH MIB      write a file
  hello alloc MIB [SECS]   allocate memory, touch it, hold it
  hello fork N             start N processes at once, print how many started
";

pub(crate) fn run(args: &[String]) -> Result<u8> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["health"] => Ok(health()),
        ["sleep", seconds] => {
            std::thread::sleep(Duration::try_from_secs_f64(number(seconds)?).map_err(Error::other)?);
            Ok(0)
        }
        ["echo", words @ ..] => out(format_args!("{}\n", words.join(" "))),
        ["err", words @ ..] => {
            eprintln!("{}", words.join(" "));
            Ok(0)
        }
        ["cat"] => cat(),
        ["env"] => env(),
        ["id"] => id(),
        ["exit", code] => number(code),
        ["log", lines] => log(number(lines)?, Duration::ZERO),
        ["log", lines, pause] => log(number(lines)?, Duration::from_millis(number(pause)?)),
        ["fill", path, mib] => fill(path, number(mib)?),
        ["alloc", mib] => alloc(number(mib)?, Duration::ZERO),
        ["alloc", mib, hold] => alloc(number(mib)?, Duration::from_secs(number(hold)?)),
        ["fork", count] => fork(number(count)?),
        ["help" | "--help" | "-h"] => out(format_args!("{USAGE}")),
        _ => {
            eprint!("{USAGE}");
            Ok(2)
        }
    }
}

/// `println!` panics when the reader is gone; here that is an ordinary error.
fn out(text: std::fmt::Arguments<'_>) -> Result<u8> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_fmt(text)?;
    stdout.flush()?;
    Ok(0)
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| Error::other(format!("`{word}` is not a number that fits here")))
}

fn health() -> u8 {
    let ask = || -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::serve::port()?));
        let timeout = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => 0,
        Ok(answer) => {
            eprintln!("unhealthy: {}", answer.lines().next().unwrap_or("no answer"));
            1
        }
        Err(error) => {
            eprintln!("unhealthy: {error}");
            1
        }
    }
}

/// Unbuffered, so that what is typed comes back at once.
fn cat() -> Result<u8> {
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stdin.read(&mut buffer)? {
            0 => return Ok(0),
            count => {
                stdout.write_all(&buffer[..count])?;
                stdout.flush()?;
            }
        }
    }
}

fn env() -> Result<u8> {
    let mut pairs: Vec<_> = std::env::vars_os().collect();
    pairs.sort();
    for (name, value) in pairs {
        out(format_args!("{}={}\n", name.display(), value.display()))?;
    }
    Ok(0)
}

/// Lines of `/proc/self/status` as the kernel writes them; ids are real, effective, saved, file system.
fn id() -> Result<u8> {
    const WANTED: [&str; 10] = [
        "Uid:",
        "Gid:",
        "Groups:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
    ];
    for line in std::fs::read_to_string("/proc/self/status")?.lines() {
        if WANTED.iter().any(|key| line.starts_with(key)) {
            out(format_args!("{line}\n"))?;
        }
    }
    Ok(0)
}

fn log(lines: u64, pause: Duration) -> Result<u8> {
    for line in 1..=lines {
        if line % 2 == 1 {
            out(format_args!("line {line}\n"))?;
        } else {
            writeln!(std::io::stderr(), "line {line}")?;
        }
        if line < lines && !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    Ok(0)
}

fn fill(path: &str, mib: u64) -> Result<u8> {
    let mut file = std::fs::File::create(path)?;
    let block = vec![0x5A; 1024 * 1024];
    for written in 0..mib {
        if let Err(error) = file.write_all(&block) {
            return Err(Error::new(error.kind(), format!("{path}: {error} after {written} MiB")));
        }
    }
    file.sync_all()?;
    out(format_args!("wrote {mib} MiB to {path}\n"))
}

fn alloc(mib: usize, hold: Duration) -> Result<u8> {
    let mut blocks = Vec::new();
    for _ in 0..mib {
        // Not zeroes: the kernel hands out untouched zero pages without counting them.
        blocks.push(vec![0x5A_u8; 1024 * 1024]);
    }
    let touched: usize = std::hint::black_box(&blocks).iter().map(Vec::len).sum();
    out(format_args!("allocated {} MiB\n", touched / (1024 * 1024)))?;
    if !hold.is_zero() {
        std::thread::sleep(hold);
    }
    Ok(0)
}

/// Each child reads a pipe that we hold, so none outlives us, however we die.
fn fork(count: usize) -> Result<u8> {
    let mut children = Vec::new();
    let mut refused = None;
    while children.len() < count && refused.is_none() {
        match Command::new("/proc/self/exe").arg("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => refused = Some(error),
        }
    }
    out(format_args!("started {} of {count}\n", children.len()))?;
    for child in &mut children {
        drop(child.stdin.take());
    }
    for mut child in children {
        child.wait()?;
    }
    match refused {
        None => Ok(0),
        Some(error) => Err(error),
    }
}

/// Prints `rows R cols C` for the terminal on stdin, and again at each change.
pub(crate) async fn tty() -> Result<u8> {
    let show = || -> Result<()> {
        let size = rustix::termios::tcgetwinsize(std::io::stdin())?;
        out(format_args!("rows {} cols {}\n", size.ws_row, size.ws_col)).map(drop)
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resized = signal(SignalKind::window_change())?;
    show()?;
    let mut input = tokio::task::spawn_blocking(|| -> Result<()> {
        let mut byte = [0];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut byte)? == 1 && byte != *b"q" {}
        Ok(())
    });
    loop {
        tokio::select! {
            _ = resized.recv() => show()?,
            ended = &mut input => return ended.map_err(Error::other)?.map(|()| 0),
            _ = terminate.recv() => return Ok(crate::ENDED_BY_SIGTERM),
        }
    }
}
