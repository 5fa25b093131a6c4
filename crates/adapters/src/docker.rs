//! stub
use ryokan_model::ServerId;
use ryokan_ports::runtime::*;
pub struct Docker;
pub struct Options {
    pub socket: Option<String>,
    pub reach: Option<Reach>,
    pub server: ServerId,
}
impl Options {
    pub fn new(server: ServerId) -> Self {
        Self { socket: None, reach: None, server }
    }
}
impl Docker {
    pub fn connect(_: Options) -> Result<Self> {
        todo!()
    }
}
#[async_trait::async_trait]
impl ryokan_ports::Runtime for Docker {
    async fn info(&self) -> Result<EngineInfo> {
        todo!()
    }
    async fn image(&self, _: &ImageRequest, _: OnProgress<'_>) -> Result<Image> {
        todo!()
    }
    async fn ensure(&self, _: &Workload) -> Result<Observed> {
        todo!()
    }
    async fn stop(&self, _: ryokan_model::InstanceId, _: std::time::Duration) -> Result<()> {
        todo!()
    }
    async fn remove(&self, _: ryokan_model::InstanceId, _: Volumes) -> Result<()> {
        todo!()
    }
    async fn remove_network(&self, _: ryokan_model::ProjectId) -> Result<()> {
        todo!()
    }
    async fn observe(&self, _: ryokan_model::InstanceId) -> Result<Option<Observed>> {
        todo!()
    }
    async fn list(&self) -> Result<Vec<Observed>> {
        todo!()
    }
    async fn holdings(&self) -> Result<Holdings> {
        todo!()
    }
    async fn watch(&self) -> Result<BoxStream<Result<Change>>> {
        todo!()
    }
    async fn probe(
        &self,
        _: &Observed,
        _: &ryokan_model::probe::Check,
        _: std::time::Duration,
    ) -> Result<std::result::Result<(), String>> {
        todo!()
    }
    async fn logs(&self, _: ryokan_model::InstanceId, _: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        todo!()
    }
    async fn exec(&self, _: ryokan_model::InstanceId, _: ExecSpec) -> Result<Exec> {
        todo!()
    }
    async fn stats(&self, _: ryokan_model::InstanceId) -> Result<BoxStream<Result<Stats>>> {
        todo!()
    }
    async fn dial(&self, _: ryokan_model::InstanceId, _: &str) -> Result<Box<dyn Io>> {
        todo!()
    }
    async fn list_files(&self, _: ryokan_model::InstanceId, _: &str) -> Result<Vec<FileInfo>> {
        todo!()
    }
    async fn read_file(
        &self,
        _: ryokan_model::InstanceId,
        _: &str,
    ) -> Result<(FileInfo, BoxStream<Result<bytes::Bytes>>)> {
        todo!()
    }
    async fn write_file(
        &self,
        _: ryokan_model::InstanceId,
        _: &str,
        _: u32,
        _: u64,
        _: BoxStream<std::io::Result<bytes::Bytes>>,
    ) -> Result<()> {
        todo!()
    }
}
