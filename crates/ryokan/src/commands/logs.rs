//! `ryokan logs`. What the instance wrote to standard output and to standard error goes to ours.

use ryokan_api::client::Followed;
use ryokan_api::instance::{LogLine, LogQuery};
use ryokan_api::model::instance::{Desired, State};
use tokio::io::AsyncWriteExt as _;

use super::NO_INSTANCE;
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::text::time;

/// Show the output of an instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: ryokan logs -f --tail 20 claw")]
pub(crate) struct Logs {
    /// Instance
    name: String,
    /// Go on as it is written, over broken connections and restarts
    #[arg(short, long)]
    follow: bool,
    /// Only this many lines from the end
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only since then: a span back from now as in 10m, or UTC milliseconds
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The time before each line, UTC
    #[arg(short, long)]
    timestamps: bool,
}

impl Logs {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let query = LogQuery { follow: self.follow, tail: self.tail, since: self.since.clone() };
        let not_found = |e| Failure::from(e).missing(NO_INSTANCE);
        let mut printer = Printer::new(cx.out.json, self.timestamps);
        if !self.follow {
            let mut lines = client.logs(&self.name, &query).await.map_err(not_found)?;
            while let Some(line) = lines.next().await? {
                printer.print(&line).await?;
            }
            return printer.flush().await;
        }
        let mut follower = client.follow_logs(&self.name, query).await.map_err(not_found)?;
        let mut told = false;
        loop {
            match follower.next().await? {
                Followed::Item(line) => {
                    printer.print(&line).await?;
                    printer.flush().await?;
                }
                Followed::Lost { why } => {
                    printer.flush().await?;
                    match why {
                        Some(why) => {
                            cx.out.note(format!("connection lost ({why}), trying again"));
                            told = true;
                        }
                        // The server ends the stream when the instance has come to rest.
                        None => match client.instance(&self.name).await {
                            Ok(now)
                                if now.desired != Desired::Running
                                    || matches!(now.state, State::Stopped | State::Failed) =>
                            {
                                cx.out.note(format!("{} is {}.", now.name, now.state));
                                return Ok(());
                            }
                            Err(error) if error.status() == Some(404) => return Ok(()),
                            _ => {}
                        },
                    }
                }
                Followed::Resumed => {
                    if std::mem::take(&mut told) {
                        cx.out.note("connected again");
                    }
                }
                Followed::Ended => return Ok(()),
            }
        }
    }
}

struct Printer {
    json: bool,
    timestamps: bool,
    stdout: tokio::io::BufWriter<tokio::io::Stdout>,
    stderr: tokio::io::Stderr,
}

impl Printer {
    fn new(json: bool, timestamps: bool) -> Self {
        let stdout = tokio::io::BufWriter::new(tokio::io::stdout());
        Self { json, timestamps, stdout, stderr: tokio::io::stderr() }
    }

    async fn print(&mut self, line: &LogLine) -> Outcome {
        if self.json {
            let mut text = serde_json::to_vec(line).map_err(|e| Failure::new(e.to_string()))?;
            text.push(b'\n');
            return Ok(self.stdout.write_all(&text).await?);
        }
        let mut text = if self.timestamps { format!("{} ", time(line.at)) } else { String::new() };
        text.push_str(&line.text);
        text.push('\n');
        if line.stream == "stderr" {
            // So that both keep their order where they meet.
            self.stdout.flush().await?;
            self.stderr.write_all(text.as_bytes()).await?;
            return Ok(self.stderr.flush().await?);
        }
        Ok(self.stdout.write_all(text.as_bytes()).await?)
    }

    async fn flush(&mut self) -> Outcome {
        Ok(self.stdout.flush().await?)
    }
}
