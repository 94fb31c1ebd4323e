//! Archives byte by byte, so that they can be wrong where no program makes them so.

use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use tar::{EntryType, Header};

/// One header of a tar archive and what follows it.
#[derive(Clone, Debug)]
pub struct Entry {
    header: Header,
    content: Vec<u8>,
}

/// A file.
pub fn file(name: &str, content: &[u8]) -> Entry {
    of(EntryType::Regular, name, content)
}

/// A folder.
pub fn folder(name: &str) -> Entry {
    of(EntryType::Directory, name, b"")
}

/// A symbolic link.
pub fn symlink(name: &str, target: &str) -> Entry {
    of(EntryType::Symlink, name, b"").to(target)
}

/// A hard link.
pub fn hard_link(name: &str, target: &str) -> Entry {
    of(EntryType::Link, name, b"").to(target)
}

/// An entry of any kind; its name has 100 bytes at most.
pub fn of(kind: EntryType, name: &str, content: &[u8]) -> Entry {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    Entry { header, content: content.to_vec() }
}

/// Extended headers for the next entry.
pub fn pax(records: &[(&str, &[u8])]) -> Entry {
    let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    of(EntryType::XHeader, "PaxHeaders/x", &records)
}

/// Extended headers for all entries that follow.
pub fn global_pax(records: &[(&str, &[u8])]) -> Entry {
    Entry { header: of(EntryType::XGlobalHeader, "pax_global_header", &pax(records).content).header, ..pax(records) }
}

/// `27 path=…` with its own length in front.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// The GNU way to give the next entry a long name.
pub fn long_name(name: &[u8]) -> Entry {
    of(EntryType::GNULongName, "././@LongLink", &[name, b"\0"].concat())
}

impl Entry {
    pub fn to(mut self, target: &str) -> Self {
        self.header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    /// Says another size than it has.
    pub fn size(mut self, size: u64) -> Self {
        self.header.set_size(size);
        self
    }

    /// Changes the header at will.
    pub fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        self.header.set_cksum();
        let mut bytes = [self.header.as_bytes().as_slice(), &self.content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// The entries one after the other, without the end mark.
pub fn open_tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    entries.into_iter().flat_map(Entry::bytes).collect()
}

/// A tar archive.
pub fn tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    [open_tar(entries), vec![0; 1024]].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame of zstd with its checksum.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One file of a zip archive: what each of its two headers says, and its data.
#[derive(Clone, Debug)]
pub struct Zipped {
    pub name: Vec<u8>,
    /// The name in the header in front of the data.
    pub local_name: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: u32,
    pub size: u32,
    pub mode: u32,
    pub data: Vec<u8>,
    /// Where the directory says that it begins, when not where it does.
    pub offset: Option<u32>,
    /// The program that made it: 3 is Unix, 0 DOS.
    pub system: u16,
}

pub const STORED: u16 = 0;
pub const DEFLATED: u16 = 8;

impl Zipped {
    pub fn stored(name: &str, content: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(content);
        Self {
            name: name.into(),
            local_name: name.into(),
            method: STORED,
            flags: 0,
            crc: crc.sum(),
            size: u32::try_from(content.len()).unwrap(),
            mode: 0o100_644,
            data: content.to_vec(),
            offset: None,
            system: 3,
        }
    }

    pub fn deflated(name: &str, content: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        Self { method: DEFLATED, data: encoder.finish().unwrap(), ..Self::stored(name, content) }
    }

    /// The fields that both headers have.
    fn common(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [20, self.flags, self.method, 0, 0x21] {
            bytes.extend(u16::to_le_bytes(field));
        }
        for field in [self.crc, u32::try_from(self.data.len()).unwrap(), self.size] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }
}

/// A zip archive; source of the layout: APPNOTE.TXT 4.3.
pub fn zip(files: impl IntoIterator<Item = Zipped>) -> Vec<u8> {
    let (mut bytes, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for file in files {
        let offset = file.offset.unwrap_or(u32::try_from(bytes.len()).unwrap());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(file.common(&file.local_name));
        bytes.extend(&file.local_name);
        bytes.extend(&file.data);
        directory.extend(b"PK\x01\x02");
        directory.extend((file.system << 8 | 0x14).to_le_bytes());
        directory.extend(file.common(&file.name));
        directory.extend([0; 6]);
        directory.extend((file.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&file.name);
        count += 1;
    }
    let at = u32::try_from(bytes.len()).unwrap();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([u32::try_from(directory.len()).unwrap().to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend([0, 0]);
    bytes
}
