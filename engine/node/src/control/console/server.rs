//! The console's UNIX socket.
//!
//! Protocol, line by line: the client sends `run COMMAND`, `json COMMAND` or `complete LINE`; the
//! server answers with lines that begin with `|`, and then `ok` or `failed`. The socket belongs to the user who
//! runs the node (mode 0600): whoever can open it may do everything.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::complete::complete;
use super::{Output, Reader, Scope, execute};
use crate::control::Node;

/// Bytes of one request. Longer ones end the connection.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Pause after `accept` failed: it would fail again at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The listening socket; its file is removed when dropped.
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds `path`. A socket file that nobody listens on any more is replaced.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let at = || format!("cannot open the console socket {}", path.display());
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            // A directory of our own is for nobody else, so that the socket is private even before
            // its mode is set.
            let mut private = std::fs::DirBuilder::new();
            private.recursive(true).mode(0o700).create(directory).with_context(at)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    bail!("{}: another node is running there", at());
                }
                std::fs::remove_file(path).with_context(at)?;
                UnixListener::bind(path).with_context(at)?
            }
            other => other.with_context(at)?,
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(at)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves connections until the task is dropped.
    pub(crate) async fn run(self, node: Rc<Node>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let node = Rc::clone(&node);
                    tokio::task::spawn_local(async move {
                        if let Err(error) = serve(stream, &node).await {
                            tracing::debug!("console connection ended: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("the console cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!("console socket {}: {error}", self.path.display());
        }
    }
}

async fn serve(mut stream: UnixStream, node: &Node) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut scope = Scope::operator();
    let mut line = String::new();
    loop {
        line.clear();
        let read_bytes = (&mut read).take(LINE_BYTES_MAX).read_line(&mut line).await?;
        let Some(request) = line.strip_suffix('\n') else {
            return match read_bytes {
                0 => Ok(()),
                _ => Err(ErrorKind::InvalidData.into()),
            };
        };
        let (verb, rest) = request.split_once(' ').unwrap_or((request, ""));
        let output = match verb {
            "run" => execute(node, &mut scope, rest, Reader::People).await,
            "json" => execute(node, &mut scope, rest, Reader::Programs).await,
            "complete" => {
                let mut text = complete(node, &scope, rest).await.join("\n");
                text.push('\n');
                Output { text, ok: true }
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        };
        let mut answer = String::with_capacity(output.text.len() + 64);
        for text in output.text.split_terminator('\n') {
            answer.extend(["|", text, "\n"]);
        }
        answer.push_str(if output.ok { "ok\n" } else { "failed\n" });
        write.write_all(answer.as_bytes()).await?;
    }
}
