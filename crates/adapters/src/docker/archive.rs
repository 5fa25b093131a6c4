//! The tar format as the engine's archive calls speak it, streamed: headers are made and read here, contents pass
//! through in the pieces in which they come. Read are ustar, PAX and GNU long names; written are ustar and PAX.
//! Source: POSIX.1-2017 `pax`, and GNU tar's manual for types `L` and `K`.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use ryokan_ports::runtime::{Result, RuntimeError};

const BLOCK: usize = 512;
/// Extended headers hold names and numbers; more than this is an attack.
const MAX_EXTENSION: u64 = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A second name of a file that came earlier; it has no content of its own here.
    HardLink,
    Directory,
    Symlink,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    /// Seconds since the Unix epoch.
    pub(super) modified: i64,
    pub(super) link: Option<String>,
}

impl Entry {
    pub(super) fn directory(path: &str, mode: u32, user: u32, group: u32) -> Self {
        let path = path.to_owned();
        Self { path, kind: Kind::Directory, size: 0, mode, user, group, modified: 0, link: None }
    }

    pub(super) fn file(path: &str, mode: u32, size: u64, user: u32, group: u32) -> Self {
        let path = path.to_owned();
        Self { path, kind: Kind::File, size, mode, user, group, modified: 0, link: None }
    }

    #[must_use]
    pub(super) fn modified(mut self, seconds: i64) -> Self {
        self.modified = seconds;
        self
    }

    /// The header of a file or directory: one block, and a PAX header before it when a value does not fit.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut records = Vec::new();
        if self.path.len() > 99 {
            record(&mut records, "path", &self.path);
        }
        if self.user > 0o777_7777 {
            record(&mut records, "uid", &self.user.to_string());
        }
        if self.group > 0o777_7777 {
            record(&mut records, "gid", &self.group.to_string());
        }
        let mut out = Vec::new();
        if !records.is_empty() {
            out.extend_from_slice(&block(b"pax", b'x', records.len() as u64, 0, 0, 0, 0));
            let padding = padding(records.len() as u64);
            out.append(&mut records);
            out.resize(out.len() + padding, 0);
        }
        let kind = if self.kind == Kind::Directory { b'5' } else { b'0' };
        let path = self.path.as_bytes();
        let path = &path[..path.len().min(99)];
        let modified = u64::try_from(self.modified).unwrap_or(0);
        out.extend_from_slice(&block(path, kind, self.size, self.mode, self.user, self.group, modified));
        out
    }
}

/// What follows the last entry.
pub(super) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

/// Zeroes between a content of this size and the next header.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK - over }
}

fn block(path: &[u8], kind: u8, size: u64, mode: u32, user: u32, group: u32, modified: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..path.len()].copy_from_slice(path);
    let mut octal = |from: usize, to: usize, value: u64| {
        let digits = to - from - 1;
        let text = format!("{value:0digits$o}");
        block[from..from + digits].copy_from_slice(&text.as_bytes()[text.len() - digits..]);
    };
    octal(100, 108, u64::from(mode & 0o7777));
    octal(108, 116, u64::from(user));
    octal(116, 124, u64::from(group));
    octal(124, 136, size);
    octal(136, 148, modified);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length += 1;
    }
    out.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

/// Reads a tar stream entry by entry.
pub(super) struct Reader<S> {
    stream: S,
    buffer: BytesMut,
    /// Of the current entry's content, and of the zeroes after it.
    content: u64,
    filler: u64,
    /// Everything taken from the stream so far.
    pub(super) taken: u64,
}

#[derive(Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    user: Option<u32>,
    group: Option<u32>,
    modified: Option<i64>,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Reader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new(), content: 0, filler: 0, taken: 0 }
    }

    /// The next entry; what is left of the last one's content is skipped.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            while self.chunk().await?.is_some() {}
            let Some(header) = self.header().await? else { return Ok(None) };
            let size = number(&header[124..136])?;
            match header[156] {
                b'x' => extension.read_pax(&self.extension(size).await?)?,
                b'L' => extension.path = Some(c_string(&self.extension(size).await?)),
                b'K' => extension.link = Some(c_string(&self.extension(size).await?)),
                // A global header says nothing that we use.
                b'g' => {
                    self.extension(size).await?;
                }
                kind => return self.entry(&header, kind, size, extension).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &[u8], kind: u8, size: u64, extension: Extension) -> Result<Entry> {
        let size = extension.size.unwrap_or(size);
        let kind = match kind {
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Directory,
            _ => Kind::Other,
        };
        let content = if kind == Kind::File { size } else { 0 };
        self.content = content;
        self.filler = padding(content) as u64;
        let small = |range: std::ops::Range<usize>| -> Result<u32> {
            number(&header[range]).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        };
        let link = extension.link.or_else(|| Some(c_string(&header[157..257])).filter(|l| !l.is_empty()));
        Ok(Entry {
            path: extension.path.unwrap_or_else(|| ustar_path(header)),
            kind,
            size,
            mode: small(100..108)? & 0o7777,
            user: extension.user.map_or_else(|| small(108..116), Ok)?,
            group: extension.group.map_or_else(|| small(116..124), Ok)?,
            modified: extension
                .modified
                .map_or_else(|| number(&header[136..148]).map(|n| i64::try_from(n).unwrap_or(0)), Ok)?,
            link: link.filter(|_| matches!(kind, Kind::Symlink | Kind::HardLink)),
        })
    }

    /// The next piece of the current entry's content.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.content > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(cut());
            }
            let length = usize::try_from(self.content).unwrap_or(usize::MAX).min(self.buffer.len());
            self.content -= length as u64;
            return Ok(Some(self.buffer.split_to(length).freeze()));
        }
        while self.filler > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(cut());
            }
            let length = usize::try_from(self.filler).unwrap_or(usize::MAX).min(self.buffer.len());
            self.buffer.advance(length);
            self.filler -= length as u64;
        }
        Ok(None)
    }

    /// The next block, or `None` at the end: two empty blocks, or the stream's.
    async fn header(&mut self) -> Result<Option<BytesMut>> {
        while self.buffer.len() < BLOCK {
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
        let header = self.buffer.split_to(BLOCK);
        if header.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let stored = number(&header[148..156])?;
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { u64::from(b' ') } else { u64::from(*b) })
            .sum();
        if stored != sum {
            return Err(RuntimeError::Other("the engine's archive is damaged".to_owned()));
        }
        Ok(Some(header))
    }

    async fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(RuntimeError::Other("the engine's archive has an endless name".to_owned()));
        }
        self.content = size;
        self.filler = padding(size) as u64;
        let mut out = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            out.extend_from_slice(&chunk);
        }
        Ok(out)
    }

    async fn fill(&mut self) -> Result<bool> {
        match self.stream.next().await {
            Some(chunk) => {
                let chunk = chunk?;
                self.taken += chunk.len() as u64;
                self.buffer.extend_from_slice(&chunk);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

fn cut() -> RuntimeError {
    RuntimeError::Other("the engine's archive ends early".to_owned())
}

/// Octal text, or GNU's binary form for what does not fit.
fn number(field: &[u8]) -> Result<u64> {
    let bad = || RuntimeError::Other("the engine's archive has a number that is none".to_owned());
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x3f);
        for byte in &field[1..] {
            value = value.checked_mul(256).ok_or_else(bad)? | u64::from(*byte);
        }
        return Ok(value);
    }
    let text = c_string(field);
    let text = text.trim();
    if text.is_empty() { Ok(0) } else { u64::from_str_radix(text, 8).map_err(|_| bad()) }
}

fn c_string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn ustar_path(header: &[u8]) -> String {
    let name = c_string(&header[..100]);
    let prefix = if &header[257..263] == b"ustar\0" { c_string(&header[345..500]) } else { String::new() };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

impl Extension {
    fn read_pax(&mut self, mut bytes: &[u8]) -> Result<()> {
        let bad = || RuntimeError::Other("the engine's archive has a malformed header".to_owned());
        while !bytes.is_empty() {
            let space = bytes.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length: usize =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|t| t.parse().ok()).ok_or_else(bad)?;
            let record = bytes.get(space + 1..length.wrapping_sub(1)).ok_or_else(bad)?;
            bytes = bytes.get(length..).ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let value = String::from_utf8_lossy(&record[equals + 1..]).into_owned();
            match &record[..equals] {
                b"path" => self.path = Some(value),
                b"linkpath" => self.link = Some(value),
                b"size" => self.size = Some(value.parse().map_err(|_| bad())?),
                b"uid" => self.user = Some(value.parse().map_err(|_| bad())?),
                b"gid" => self.group = Some(value.parse().map_err(|_| bad())?),
                b"mtime" => self.modified = value.split('.').next().and_then(|s| s.parse().ok()),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8], size: usize) -> impl Stream<Item = Result<Bytes>> + Unpin + use<> {
        let pieces: Vec<_> = bytes.chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        futures_util::stream::iter(pieces)
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_pieces_of_any_size() {
        let long = format!("folder/{}", "n".repeat(300));
        let entries = [
            (Entry::directory("d", 0o755, 1000, 1000), Vec::new()),
            (Entry::file("d/f", 0o640, 700, 1, 4_000_000_000).modified(1_700_000_000), vec![7; 700]),
            (Entry::file(&long, 0o4755, 512, 0, 0), vec![1; 512]),
            (Entry::file("empty", 0o600, 0, 0, 0), Vec::new()),
        ];
        let mut tar = Vec::new();
        for (entry, content) in &entries {
            tar.extend(entry.header());
            tar.extend_from_slice(content);
            tar.resize(tar.len() + padding(entry.size), 0);
        }
        tar.extend(end());
        for size in [1, 13, 512, 1 << 20] {
            let mut reader = Reader::new(pieces(&tar, size));
            for (entry, content) in &entries {
                assert_eq!(reader.next().await.unwrap().as_ref(), Some(entry));
                let mut read = Vec::new();
                while let Some(chunk) = reader.chunk().await.unwrap() {
                    read.extend_from_slice(&chunk);
                }
                assert_eq!(&read, content);
            }
            assert_eq!(reader.next().await.unwrap(), None);

            let mut skipping = Reader::new(pieces(&tar, size));
            let mut count = 0;
            while skipping.next().await.unwrap().is_some() {
                count += 1;
            }
            assert_eq!(count, entries.len());
        }
    }

    #[tokio::test]
    async fn a_real_tar_understands_it_and_is_understood() {
        let long = "x/".repeat(120) + "f";
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        tar.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        tar.append_link(&mut link, "l", "/etc/shadow").unwrap();
        let mut reader = Reader::new(pieces(&tar.into_inner().unwrap(), 100));
        let entry = reader.next().await.unwrap().unwrap();
        assert_eq!((entry.path.as_str(), entry.size), (long.as_str(), 3));
        let entry = reader.next().await.unwrap().unwrap();
        assert_eq!((entry.kind, entry.link.as_deref()), (Kind::Symlink, Some("/etc/shadow")));

        let ours = Entry::file(&long, 0o640, 0, 3_000_000, 5);
        let bytes = [ours.header(), end()].concat();
        let mut theirs = tar::Archive::new(bytes.as_slice());
        let entry = theirs.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str().unwrap(), long);
        assert_eq!(entry.header().mode().unwrap(), 0o640);
    }

    #[tokio::test]
    async fn damage_is_an_error_and_never_a_panic() {
        let whole = [Entry::file("f", 0o644, 600, 0, 0).header(), vec![1; 600]].concat();
        let mut reader = Reader::new(pieces(&whole, 64));
        reader.next().await.unwrap();
        assert!(reader.next().await.is_err(), "the filler is missing");
        let mut bent = whole.clone();
        bent[0] ^= 1;
        assert!(Reader::new(pieces(&bent, 64)).next().await.is_err());
        for seed in 0..2000_u32 {
            let noise: Vec<u8> =
                (0..1024_u32).map(|i| (i.wrapping_mul(seed) >> 3).to_le_bytes()[0]).collect();
            let _ = Reader::new(pieces(&noise, 100)).next().await;
            let mut extension = Extension::default();
            let _ = extension.read_pax(&noise);
        }
        for bad in [
            "",
            "5",
            "99999999999999999999 a=b\n",
            "0 a=b\n",
            "1 ",
            "3 a",
            "6 a=b\n7",
            "18446744073709551615 x=y\n",
        ] {
            let _ = Extension::default().read_pax(bad.as_bytes());
        }
    }
}
