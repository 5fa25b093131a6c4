//! A slow engine: a proxy on a Unix socket between the server and `dockerd` that passes bytes on at once, late, or not
//! at all, and cuts connections. It knows nothing of what it passes on.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::dice::Dice;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Full,
    /// Each piece waits so long.
    Late(Duration),
    /// Nothing passes until this ends.
    Stalled,
}

struct Shared {
    pace: Mutex<Pace>,
    changed: Condvar,
    /// Both ends of each connection, for cutting.
    open: Mutex<Vec<(UnixStream, UnixStream)>>,
}

pub(crate) struct Proxy {
    shared: Arc<Shared>,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Proxy {
    pub(crate) fn new(engine: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("ryokan-chaos").tempdir_in("/tmp").unwrap();
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::new(Shared {
            pace: Mutex::new(Pace::Full),
            changed: Condvar::new(),
            open: Mutex::default(),
        });
        let (shared_too, engine) = (shared.clone(), engine.to_owned());
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Refused by a dead engine: the client's end is closed, as a dead engine's would be.
                let Ok(server) = UnixStream::connect(&engine) else { continue };
                connect(&shared_too, client, server);
            }
        });
        Self { shared, socket, _folder: folder }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    fn set(&self, pace: Pace) {
        *self.shared.pace.lock().unwrap() = pace;
        self.shared.changed.notify_all();
    }

    pub(crate) fn full_pace(&self) {
        self.set(Pace::Full);
    }

    pub(crate) fn late(&self, by: Duration) {
        self.set(Pace::Late(by));
    }

    pub(crate) fn stall(&self) {
        self.set(Pace::Stalled);
    }

    /// Each open connection with this chance of a hundred.
    pub(crate) fn cut(&self, dice: &mut Dice, chance: u64) {
        for (client, server) in self.shared.open.lock().unwrap().iter() {
            if dice.roll(100) < chance {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            }
        }
    }
}

fn connect(shared: &Arc<Shared>, client: UnixStream, server: UnixStream) {
    let twin = |stream: &UnixStream| stream.try_clone();
    let (Ok(kept), Ok(from_client), Ok(from_server)) =
        (twin(&client).and_then(|c| Ok((c, twin(&server)?))), twin(&client), twin(&server))
    else {
        return;
    };
    let inode = |s: &UnixStream| rustix::fs::fstat(s).map_or(0, |stat| stat.st_ino);
    let id = inode(&client);
    shared.open.lock().unwrap().push(kept);
    let both = Arc::new(Mutex::new(2));
    for (from, to) in [(from_client, server), (from_server, client)] {
        let (shared, both) = (shared.clone(), both.clone());
        std::thread::spawn(move || {
            pass_on(&shared, from, to);
            let mut left = both.lock().unwrap();
            *left -= 1;
            if *left == 0 {
                shared.open.lock().unwrap().retain(|(client, _)| inode(client) != id);
            }
        });
    }
}

fn pass_on(shared: &Shared, mut from: UnixStream, mut to: UnixStream) {
    let mut piece = [0; 16 * 1024];
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let pace = {
            let pace = shared.pace.lock().unwrap();
            *shared.changed.wait_while(pace, |pace| *pace == Pace::Stalled).unwrap()
        };
        if let Pace::Late(by) = pace {
            std::thread::sleep(by);
        }
        if to.write_all(&piece[..length]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
