//! Instances and templates.

use std::time::Duration;

use reqwest::Method;
use ryokan_model::template::Template;

use super::connection::{Client, accept_stream, keyed};
use super::error::ClientError;
use super::progress::Operation;
use super::sse::SseStream;
use crate::instance::{
    DeleteQuery, ExecRequest, ExecResult, Instance, InstanceQuery, InstanceRequest, PortInfo, Stats,
};
use crate::template::TemplateCheck;

/// Samples of one instance, until it stops.
#[derive(Debug)]
pub struct StatsStream {
    events: SseStream,
}

impl StatsStream {
    pub async fn next(&mut self) -> Result<Option<Stats>, ClientError> {
        while let Some(event) = self.events.next().await? {
            if event.event == "stats" {
                return serde_json::from_str(&event.data).map(Some).map_err(|e| {
                    ClientError::Protocol(format!("the server sent a sample that is not as documented: {e}"))
                });
            }
        }
        Ok(None)
    }
}

impl Client {
    pub async fn instances(&self, query: &InstanceQuery) -> Result<Vec<Instance>, ClientError> {
        self.all(&["v1", "instances"], query).await
    }

    pub async fn instance(&self, name: &str) -> Result<Instance, ClientError> {
        self.get(&["v1", "instances", name], &()).await
    }

    /// Returns as soon as the server has accepted it.
    pub async fn create_instance(&self, request: &InstanceRequest) -> Result<Instance, ClientError> {
        self.create(&["v1", "instances"], request).await
    }

    /// Asks for the progress until it is ready.
    pub async fn create_instance_watched(&self, body: &InstanceRequest) -> Result<Operation, ClientError> {
        let request = self.request(Method::POST, self.url(&["v1", "instances"], &())?).json(body);
        let response = self.open(keyed(accept_stream(request))?).await?;
        self.operation(response).await
    }

    pub async fn update_instance(&self, name: &str, body: &InstanceRequest) -> Result<Instance, ClientError> {
        self.send(Method::PATCH, &["v1", "instances", name], body).await
    }

    pub async fn update_instance_watched(
        &self,
        name: &str,
        body: &InstanceRequest,
    ) -> Result<Operation, ClientError> {
        let request = self.request(Method::PATCH, self.url(&["v1", "instances", name], &())?).json(body);
        let response = self.open(accept_stream(request)).await?;
        self.operation(response).await
    }

    /// `verb` is `stop`, `start` or `restart`. Unwatched, the answer comes as soon as the server has accepted it.
    pub async fn move_instance(
        &self,
        name: &str,
        verb: &str,
        watched: bool,
    ) -> Result<Operation, ClientError> {
        let request = self.request(Method::POST, self.url(&["v1", "instances", name, verb], &())?);
        let request = if watched { accept_stream(request) } else { request.timeout(Duration::from_secs(30)) };
        let response = self.open(request).await?;
        self.operation(response).await
    }

    pub async fn delete_instance(
        &self,
        name: &str,
        query: &DeleteQuery,
        watched: bool,
    ) -> Result<Operation, ClientError> {
        let request = self.request(Method::DELETE, self.url(&["v1", "instances", name], query)?);
        let request = if watched { accept_stream(request) } else { request.timeout(Duration::from_secs(30)) };
        let response = self.open(request).await?;
        self.operation(response).await
    }

    pub async fn ports(&self, name: &str) -> Result<Vec<PortInfo>, ClientError> {
        self.get(&["v1", "instances", name, "ports"], &()).await
    }

    /// One sample.
    pub async fn stats(&self, name: &str) -> Result<Stats, ClientError> {
        self.get(&["v1", "instances", name, "stats"], &()).await
    }

    pub async fn stats_stream(&self, name: &str) -> Result<StatsStream, ClientError> {
        let request = self.request(Method::GET, self.url(&["v1", "instances", name, "stats"], &())?);
        let response = self.open(accept_stream(request)).await?;
        Ok(StatsStream { events: SseStream::new(response) })
    }

    /// Runs a command to its end.
    pub async fn run_command(&self, name: &str, body: &ExecRequest) -> Result<ExecResult, ClientError> {
        let limit = body.timeout.map_or(Duration::from_mins(1), ryokan_model::quantity::Span::duration);
        let url = self.url(&["v1", "instances", name, "exec"], &())?;
        let request =
            self.request(Method::POST, url).json(body).timeout(limit.saturating_add(Duration::from_secs(30)));
        self.decode(self.open(request).await?).await
    }

    pub async fn templates(&self) -> Result<Vec<Template>, ClientError> {
        self.all(&["v1", "templates"], &()).await
    }

    /// Which of them can run on this server.
    pub async fn template_checks(&self) -> Result<Vec<TemplateCheck>, ClientError> {
        self.all(&["v1", "template-checks"], &()).await
    }

    pub async fn template(&self, name: &str) -> Result<Template, ClientError> {
        self.get(&["v1", "templates", name], &()).await
    }

    pub async fn create_template(&self, template: &Template) -> Result<Template, ClientError> {
        self.create(&["v1", "templates"], template).await
    }

    /// Replaces the template of that name.
    pub async fn update_template(&self, template: &Template) -> Result<Template, ClientError> {
        self.send(Method::PUT, &["v1", "templates", template.name.as_str()], template).await
    }

    pub async fn delete_template(&self, name: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "templates", name]).await
    }
}
