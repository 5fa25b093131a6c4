//! Telling a project of its balance and of its disk, by mail and by webhook. Both are durable jobs, tried again for a
//! day: a message may arrive twice, and is never lost.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use ryokan_model::{JobId, Millis, ProjectId, Sats};
use ryokan_ports::notify::{Mail, NotifyError};
use ryokan_store::Tx;
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use super::settings::{WEBHOOK_SECRET, secrets_of};
use crate::App;
use crate::jobs::{JobError, NewJobParts, new_job};

pub const MAIL: &str = "billing.mail";
pub const WEBHOOK: &str = "billing.webhook";

/// The events that projects are told of.
pub(crate) const BALANCE_CROSSED: &str = "balance.crossed";
pub(crate) const DISK_REACHED: &str = "project.disk_quota_reached";

#[derive(Deserialize)]
struct Message {
    project: ProjectId,
    name: String,
    event: String,
    at: Millis,
    data: serde_json::Value,
}

#[derive(Deserialize)]
struct Crossing {
    threshold: Sats,
    balance: Sats,
    urgent: bool,
}

/// In bytes.
#[derive(Deserialize)]
struct Disk {
    used: u64,
    quota: u64,
}

/// A webhook's address: `https` (or `http`) with a host, no credentials in it. Where the host leads is checked when it is
/// called.
pub(crate) fn webhook_url(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority =
        rest.ok_or("must begin with `https://`")?.split(['/', '?', '#']).next().unwrap_or_default();
    if text.len() > 2_000 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must be an address of at most 2000 characters");
    }
    if authority.is_empty() || authority.contains('@') {
        return Err("must name a host, and no user name or password");
    }
    Ok(())
}

/// `t=MILLIS,v1=HEX`: the HMAC-SHA256 of the time, a dot and the body.
pub(crate) fn signature(secret: &str, at: Millis, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{}.{body}", at.0).as_bytes());
    let tag = mac.finalize().into_bytes();
    tag.iter().fold(format!("t={},v1=", at.0), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn failed(error: NotifyError) -> JobError {
    match error {
        NotifyError::Refused(_) => JobError::fatal(error),
        NotifyError::Unavailable(_) => JobError::retry(error),
    }
}

impl App {
    /// Enqueues a job for each way in which the project wants to be told. `key` names the occasion.
    pub(crate) fn tell_project(
        &self,
        tx: &mut Tx<'_>,
        project: ProjectId,
        event: &str,
        key: &str,
        data: serde_json::Value,
        at: Millis,
    ) -> crate::Result<()> {
        let name = tx.project(project)?.map(|p| p.name.to_string()).unwrap_or_default();
        let standing = tx.standing(project)?;
        for (kind, wanted) in [(MAIL, standing.email.is_some()), (WEBHOOK, standing.webhook_url.is_some())] {
            if !wanted {
                continue;
            }
            let job = new_job(NewJobParts {
                id: JobId::from_parts(at, self.entropy.bytes()),
                kind,
                key: key.to_owned(),
                payload: json!({"project": project, "name": name, "event": event, "at": at, "data": data}),
                run_at: at,
                max_attempts: 12,
            });
            tx.enqueue_job(&job, at.0)?;
        }
        Ok(())
    }

    pub(crate) async fn run_mail_job(self: &Arc<Self>, payload: serde_json::Value) -> Result<(), JobError> {
        let message: Message = serde_json::from_value(payload).map_err(JobError::fatal)?;
        let project = message.project;
        let standing = self.store.read(move |tx| tx.standing(project)).await.map_err(JobError::retry)?;
        // Nobody wants it any more, or nobody here can send it.
        let (Some(to), Some(mailer)) = (standing.email, &self.mailer) else { return Ok(()) };
        let mail = match message.event.as_str() {
            DISK_REACHED => self.disk_mail(to, &message),
            _ => self.balance_mail(to, &message),
        };
        mailer.send(&mail.map_err(JobError::fatal)?).await.map_err(failed)
    }

    fn disk_mail(&self, to: String, message: &Message) -> serde_json::Result<Mail> {
        let Disk { used, quota } = serde_json::from_value(message.data.clone())?;
        Ok(Mail {
            to,
            subject: format!("the disk of {} is full", message.name),
            body: format!(
                "The volumes of the project {} held {used} bytes at {}, and it may have {quota}.\n\
                 What runs goes on. Nothing more is created, started or uploaded until there is room: delete files, or \
                 instances with their volumes, or ask whoever runs the server for more.\n\n{}/projects/{}\n",
                message.name, message.at, self.settings.public_url, message.project
            ),
        })
    }

    fn balance_mail(&self, to: String, message: &Message) -> serde_json::Result<Mail> {
        let Crossing { threshold, balance, urgent } = serde_json::from_value(message.data.clone())?;
        let urgent = if urgent { "Urgent: " } else { "" };
        let below = if balance.is_negative() {
            "The project owes money. Unless it is paid within the grace, its agents are stopped; their data is kept.\n"
        } else {
            ""
        };
        Ok(Mail {
            to,
            subject: format!("{urgent}balance of {} is below {threshold} satoshis", message.name),
            body: format!(
                "The balance of the project {} is {balance} satoshis, and fell below {threshold} at {}.\n{below}\n\
                 Pay and look at what was used: {}/projects/{}/billing\n",
                message.name, message.at, self.settings.public_url, message.project
            ),
        })
    }

    pub(crate) async fn run_webhook_job(
        self: &Arc<Self>,
        id: &str,
        payload: serde_json::Value,
    ) -> Result<(), JobError> {
        let body = serde_json::json!({"id": id, "event": payload["event"], "project": payload["project"],
            "project_name": payload["name"], "at": payload["at"], "data": payload["data"]})
        .to_string();
        let project: ProjectId =
            serde_json::from_value(payload["project"].clone()).map_err(JobError::fatal)?;
        let (seal, scope) = (self.seal.clone(), secrets_of(project));
        let (standing, secret) = self
            .store
            .read(move |tx| {
                Ok::<_, ryokan_store::StoreError>((
                    tx.standing(project)?,
                    tx.get_secret(&seal, &scope, WEBHOOK_SECRET)?,
                ))
            })
            .await
            .map_err(JobError::retry)?;
        let (Some(url), Some(secret), Some(webhooks)) = (standing.webhook_url, secret, &self.webhooks) else {
            return Ok(());
        };
        let signature = signature(secret.expose(), self.clock.now(), &body);
        webhooks.post(&url, &signature, body).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_webhooks() {
        for good in ["https://a.example/x?y", "http://a.example:8080"] {
            assert_eq!(webhook_url(good), Ok(()));
        }
        for bad in
            ["", "ftp://a.example", "https://", "https://u:p@a.example/", "https://a b/", "file:///etc"]
        {
            assert!(webhook_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signatures_bind_time_and_body() {
        let one = signature("0123456789abcdef", Millis(5), "{}");
        assert!(one.starts_with("t=5,v1=") && one.len() == 7 + 64);
        assert_ne!(one, signature("0123456789abcdef", Millis(6), "{}").replace("t=6", "t=5"));
        assert_ne!(one, signature("0123456789abcdef", Millis(5), "{ }"));
        assert_ne!(one, signature("0123456789abcdeF", Millis(5), "{}"));
    }
}
