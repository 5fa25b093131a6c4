//! nginx and HAProxy in front of one agent, with a worker for each core, as somebody would set them up who wants speed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;

use crate::server::free_address;

pub(crate) struct Proxy {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    pub(crate) async fn nginx(scratch: &Path, agent: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let workers = cores();
        let scratch = scratch.display();
        let config = format!(
            "daemon off; worker_processes {workers}; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log; user root;
             worker_rlimit_nofile 8192;
             events {{ worker_connections 4096; }}
             http {{
               access_log off; keepalive_requests 1000000000;
               client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;
               uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;
               map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
               upstream agent {{ server {agent}; keepalive 256; keepalive_requests 1000000000; }}
               server {{
                 listen {address} reuseport backlog=4096;
                 location / {{
                   proxy_pass http://agent; proxy_http_version 1.1;
                   proxy_set_header Host $http_host;
                   proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;
                   proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
                   proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Real-IP $remote_addr;
                 }}
               }}
             }}"
        );
        let file = format!("{scratch}/nginx.conf");
        std::fs::write(&file, config)?;
        Self::start(Command::new("nginx").args(["-e", "stderr", "-c", &file]), address).await
    }

    pub(crate) async fn haproxy(scratch: &Path, agent: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let threads = cores();
        let config = format!(
            "global\n nbthread {threads}\n maxconn 4096\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n option forwardfor\n http-reuse always\n\
             frontend front\n bind {address}\n default_backend agents\n\
             backend agents\n server agent {agent} pool-max-conn 256\n"
        );
        let file = scratch.join("haproxy.cfg");
        std::fs::write(&file, config)?;
        Self::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file), address).await
    }

    async fn start(command: &mut Command, address: SocketAddr) -> Result<Self> {
        // Debian has both where only root's path leads.
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        let process =
            command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let proxy = Self { process, address };
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(proxy);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("{} does not answer", command.get_program().display())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.process.wait();
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
