//! Logs to standard error and metrics for `GET /metrics`.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{Log, LogFormat};

/// Changes the filter of a running server.
#[derive(Clone)]
pub(crate) struct LogFilter(Option<reload::Handle<EnvFilter, Registry>>);

impl LogFilter {
    pub(crate) fn set(&self, filter: &str) -> anyhow::Result<()> {
        if let Some(handle) = &self.0 {
            handle.reload(EnvFilter::try_new(filter)?)?;
        }
        Ok(())
    }
}

/// Starts logging. A second call in one process (tests) changes nothing.
pub(crate) fn start_logging(log: &Log) -> anyhow::Result<LogFilter> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&log.filter)?);
    let base = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Text => {
            base.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => {
            base.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).try_init()
        }
    };
    Ok(LogFilter(started.is_ok().then_some(handle)))
}

/// The process's metrics. The recorder is the one thing that the metrics library makes global; a second server in one
/// process (tests) shares the first one's.
pub(crate) fn start_metrics() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Somebody else's recorder is in place: ours then shows nothing, which is no reason to fail.
            let _ = metrics::set_global_recorder(recorder);
            handle
        })
        .clone()
}
