//! Archives of any names and kinds, and archives with any bytes changed: whatever they say, nothing is written anywhere
//! but in the folder, and nothing is left there after a failure ([`Room::unpack`] looks).

use proptest::prelude::*;
use tar::EntryType;

use super::make::{Entry, Zipped, gzip, hard_link, long_name, of, pax, symlink, tar, zip, zstd};
use super::{Room, SMALL};

/// Paths that meet each other often, good and bad.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab](/[ab]){0,2}",
        1 => "(\\.\\./|\\./|/|[ab]/|sentinel|archive|inside){0,4}",
        1 => "[./a\\\\\n]{0,9}",
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop_oneof![
        4 => Just(EntryType::Regular),
        2 => Just(EntryType::Directory),
        1 => any::<u8>().prop_map(EntryType::new),
    ];
    let bytes = proptest::collection::vec(any::<u8>(), 0..600);
    let entry = prop_oneof![
        6 => (kind, path(), bytes).prop_map(|(kind, name, mut content)| {
            if kind == EntryType::Directory {
                content.clear();
            }
            vec![of(kind, &name, &content)]
        }),
        2 => (path(), path()).prop_map(|(name, target)| vec![symlink(&name, &target)]),
        2 => (path(), path()).prop_map(|(name, target)| vec![hard_link(&name, &target)]),
        1 => (path(), path()).prop_map(|(name, other)| vec![long_name(name.as_bytes()), of(EntryType::Regular, &other, b"x")]),
        1 => (path(), path(), "[0-9]{1,4}").prop_map(|(name, other, size)| {
            vec![pax(&[("path", name.as_bytes()), ("size", size.as_bytes())]), of(EntryType::Regular, &other, b"x")]
        }),
    ];
    proptest::collection::vec(entry, 1..6).prop_map(|entries| entries.concat())
}

fn files() -> impl Strategy<Value = Vec<Zipped>> {
    let mode = prop_oneof![4 => Just(0o100_644), 1 => Just(0o120_777), 1 => Just(0o040_755), 1 => any::<u16>().prop_map(u32::from)];
    let file = (path(), path(), mode, any::<bool>()).prop_map(|(name, content, mode, is_deflated)| {
        let make = if is_deflated { Zipped::deflated } else { Zipped::stored };
        Zipped { mode, ..make(&name, content.as_bytes()) }
    });
    proptest::collection::vec(file, 1..6)
}

fn change(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_tar_stays_in_its_folder(entries in entries()) {
        let room = Room::with(&tar(entries));
        if room.unpack(&SMALL).is_ok() {
            room.found();
        }
    }

    #[test]
    fn any_zip_stays_in_its_folder(files in files()) {
        let room = Room::with(&zip(files));
        if room.unpack(&SMALL).is_ok() {
            room.found();
        }
    }

    #[test]
    fn any_damage_is_survived(
        entries in entries(),
        files in files(),
        format in 0..4,
        changes in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..8),
    ) {
        let archive = match format {
            0 => tar(entries),
            1 => gzip(&tar(entries)),
            2 => zstd(&tar(entries)),
            _ => zip(files),
        };
        let room = Room::with(&change(archive, &changes));
        if room.unpack(&SMALL).is_ok() {
            room.found();
        }
    }
}
