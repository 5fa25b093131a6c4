//! Mail over SMTP: the adapter of [`ryokan_ports::Mailer`]. One connection a message; `SendGrid` and its like are reached
//! by their SMTP endpoints.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use ryokan_model::Secret;
use ryokan_ports::Mailer;
use ryokan_ports::notify::{Mail, NotifyError};

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// From the first byte, mostly on port 465.
    Tls,
    /// After `STARTTLS`, mostly on port 587; a server that does not offer it is refused.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    pub login: Option<(String, Secret)>,
    /// `ryokan@example.com`, or `Name <ryokan@example.com>`.
    pub from: String,
    /// For all of a message.
    pub patience: Duration,
}

pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    patience: Duration,
}

impl Smtp {
    /// Checks names and addresses; connects to nobody.
    pub fn new(options: Options) -> Result<Self, NotifyError> {
        let refused = |what: &str| NotifyError::Refused(what.to_owned());
        let from = options.from.parse().map_err(|_| refused("the sender is not a mail address"))?;
        let tls = || {
            TlsParameters::new(options.host.clone())
                .map_err(|_| refused("the server's name cannot be used for TLS"))
        };
        let tls = match options.encryption {
            Encryption::Tls => Tls::Wrapper(tls()?),
            Encryption::StartTls => Tls::Required(tls()?),
            Encryption::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&options.host)
            .port(options.port)
            .tls(tls)
            .timeout(Some(options.patience));
        if let Some((user, password)) = options.login {
            builder = builder.credentials(Credentials::new(user, password.expose().to_owned()));
        }
        Ok(Self { transport: builder.build(), from, patience: options.patience })
    }
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, mail: &Mail) -> Result<(), NotifyError> {
        let to = mail.to.parse().map_err(|_| NotifyError::Refused("not a mail address".into()))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.subject.clone())
            .header(ContentType::TEXT_PLAIN)
            .body(mail.body.clone())
            .map_err(|e| NotifyError::Refused(e.to_string()))?;
        match tokio::time::timeout(self.patience, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            // 5xx: this server will never take it.
            Ok(Err(e)) if e.is_permanent() => Err(NotifyError::Refused(e.to_string())),
            Ok(Err(e)) => Err(NotifyError::Unavailable(e.to_string())),
            Err(_) => Err(NotifyError::Unavailable("the mail server does not answer".into())),
        }
    }
}
