//! What must not be unpacked: each is refused for its own reason, and nothing of it is left anywhere.

use mooring_operator::catalogue::Reason;
use mooring_operator::catalogue::Reason::{
    ArtifactChecksumMismatch as Damaged, ArtifactDiskFull as Full, ArtifactEmpty as Empty,
    ArtifactUnpackUnsafe as Unsafe,
};
use tar::EntryType;

use super::make::{
    Entry, Zipped, file, folder, global_pax, gzip, hard_link, long_name, of, open_tar, pax, symlink, tar, zip, zstd,
};
use super::{Limits, Room, SMALL};

/// What it is, its bytes, why it is refused and words of the message.
type Case = (&'static str, Vec<u8>, Reason, &'static str);

#[track_caller]
fn check(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (what, archive, reason, words) in cases {
        match Room::with(&archive).unpack(&SMALL) {
            Ok(placed) => wrong.push(format!("{what}: unpacked, {placed:?}")),
            Err(failure) => {
                let sentence = failure.sentence();
                let is_named = sentence.starts_with("model.tar: ");
                if failure.reason != reason || !sentence.contains(words) || !is_named {
                    wrong.push(format!("{what}: {:?} {sentence}; not {reason:?} {words}", failure.reason));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A tar archive of `entries` with an honest file in front, that must go too.
fn after_a_file(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    tar([file("honest", b"honest")].into_iter().chain(entries))
}

fn one(entry: Entry) -> Vec<u8> {
    after_a_file([entry])
}

#[test]
fn no_path_leaves_the_folder_or_is_no_path() {
    let long = "x".repeat(256);
    let deep = "d/".repeat(8) + "x";
    let endless = "123456789/".repeat(500);
    check(vec![
        ("absolute", one(file("/etc/x", b"x")), Unsafe, "the entry \"/etc/x\" is an absolute path"),
        ("above", one(file("../x", b"x")), Unsafe, "the entry \"../x\" leads out"),
        ("above later", one(file("a/../../x", b"x")), Unsafe, "leads out"),
        ("up and down", one(file("a/../b", b"x")), Unsafe, "the entry \"a/../b\" has .. in its path"),
        ("only ..", one(folder("..")), Unsafe, "leads out"),
        ("a folder above", one(folder("a/../../b")), Unsafe, "leads out"),
        ("no name", one(file("", b"x")), Unsafe, "has no name"),
        ("the folder itself", one(file(".", b"x")), Unsafe, "a file without a name"),
        ("a file that is a folder", one(file("a/", b"x")), Unsafe, "is a file with the name of a folder"),
        ("a long name", after_a_file([long_name(long.as_bytes()), file("x", b"")]), Unsafe, "more than 255 bytes"),
        ("a long path", after_a_file([long_name(endless.as_bytes()), file("x", b"")]), Unsafe, "4,095 bytes"),
        ("a deep path", one(file(&deep, b"")), Unsafe, "too many folders"),
        ("our own scratch", one(file(".mooring-fetch/0", b"")), Unsafe, "kept for files on their way"),
        ("a GNU name", after_a_file([long_name(b"../x"), file("x", b"")]), Unsafe, "\"../x\" leads out"),
        ("NUL in a GNU name", after_a_file([long_name(b"a\0/../../x"), file("x", b"")]), Unsafe, "NUL"),
        ("a PAX name", after_a_file([pax(&[("path", b"../x")]), file("x", b"")]), Unsafe, "\"../x\" leads out"),
        ("NUL in a PAX name", after_a_file([pax(&[("path", b"a\0b")]), file("x", b"")]), Unsafe, "NUL"),
        (
            "an escape that hides",
            after_a_file([pax(&[("path", b"/\x1b[8m\r\xe2\x80\xae")]), file("x", b"")]),
            Unsafe,
            r"/\u{1b}[8m\r\u{202e}",
        ),
        ("a prefix of ustar", one(file("x", b"").with(ustar_prefix)), Unsafe, "\"../../x\" leads out"),
    ]);
}

fn ustar_prefix(header: &mut tar::Header) {
    let mut ustar = tar::Header::new_ustar();
    ustar.set_size(0);
    ustar.set_mode(0o644);
    ustar.as_old_mut().name[0] = b'x';
    ustar.as_ustar_mut().unwrap().prefix[..5].copy_from_slice(b"../..");
    *header = ustar;
}

#[test]
fn no_link_leaves_the_folder_or_lets_anything_through() {
    check(vec![
        ("symlink absolute", one(symlink("l", "/etc/passwd")), Unsafe, "\"l\" is a link to \"/etc/passwd\""),
        ("symlink out", one(symlink("a/l", "../../x")), Unsafe, "leads out"),
        ("symlink to the folder itself", one(symlink("l", ".")), Unsafe, "link to a folder"),
        ("symlink to nothing", one(symlink("l", "absent")), Unsafe, "is a link to \"absent\", which is no file"),
        ("symlink without target", one(symlink("l", "")), Unsafe, "is a link to nothing"),
        ("symlink below a file", one(symlink("l", "honest/x")), Unsafe, "which is no file"),
        ("symlink to itself", one(symlink("l", "l")), Unsafe, "no file of the archive"),
        ("symlinks in a ring", after_a_file([symlink("a", "b"), symlink("b", "a")]), Unsafe, "no file of the archive"),
        ("symlink to a folder", after_a_file([folder("d"), symlink("l", "d")]), Unsafe, "link to a folder"),
        (
            "a write through a symlink",
            after_a_file([symlink("l", "/tmp"), file("l/x", b"x")]),
            Unsafe,
            "\"l\" is a link to \"/tmp\"",
        ),
        (
            "a write through a symlink in the archive",
            after_a_file([folder("d"), symlink("l", "d"), file("l/x", b"x")]),
            Unsafe,
            "link to a folder",
        ),
        (
            "a write over a symlink",
            after_a_file([symlink("l", "honest"), file("l", b"x")]),
            Unsafe,
            "\"l\" is in the archive twice",
        ),
        ("a symlink over a file", one(symlink("honest", "honest")), Unsafe, "twice"),
        (
            "a ring that is left and entered",
            after_a_file([symlink("a", "b/../../x"), folder("b")]),
            Unsafe,
            "leads out",
        ),
        ("hard link absolute", one(hard_link("l", "/etc/passwd")), Unsafe, "\"l\" is a link to \"/etc/passwd\""),
        ("hard link out", one(hard_link("a/b/l", "../x")), Unsafe, "leads out"),
        ("hard link to nothing", one(hard_link("l", "absent")), Unsafe, "no file of the archive"),
        (
            "hard link with content",
            one(of(EntryType::Link, "l", b"x").to("honest")),
            Unsafe,
            "says that it has 1 bytes",
        ),
        ("a long link", after_a_file([pax(&[("linkpath", &[b'x'; 5000])]), symlink("l", "x")]), Unsafe, "to nothing"),
        ("a link over nothing", one(hard_link(".", "honest")), Unsafe, "a link without a name"),
    ]);
}

#[test]
fn nothing_but_files_folders_and_links_is_made() {
    check(vec![
        ("a terminal", one(of(EntryType::Char, "t", b"")), Unsafe, "the entry \"t\" is a device"),
        ("a disk", one(of(EntryType::Block, "d", b"")), Unsafe, "is a device"),
        ("a pipe", one(of(EntryType::Fifo, "p", b"")), Unsafe, "is a named pipe"),
        ("a volume's name", one(of(EntryType::new(b'V'), "v", b"")), Unsafe, "is of the kind \"V\""),
        ("a part of a file", one(of(EntryType::new(b'M'), "m", b"")), Unsafe, "is of the kind \"M\""),
        ("a folder with content", one(of(EntryType::Directory, "d", b"x")), Unsafe, "says that it has 1 bytes"),
        ("a file twice", one(file("honest", b"other")), Unsafe, "\"honest\" is in the archive twice"),
        ("a file twice, by another name", one(file(".//honest", b"other")), Unsafe, "twice"),
        ("a file where a folder is", after_a_file([folder("d"), file("d", b"x")]), Unsafe, "twice"),
        ("a folder where a file is", one(folder("honest")), Unsafe, "needs a folder where the archive has a file"),
        ("a file below a file", one(file("honest/x", b"")), Unsafe, "needs a folder where"),
    ]);
}

#[test]
fn headers_that_programs_read_differently_are_refused() {
    let hidden = open_tar([file("../x", b"")]);
    let twice: &[(&str, &[u8])] = &[("path", b"a"), ("path", b"b")];
    check(vec![
        ("two PAX names", after_a_file([pax(twice), file("x", b"")]), Unsafe, "has two headers path"),
        (
            "two PAX sizes",
            after_a_file([pax(&[("size", b"0"), ("size", b"512")]), file("x", b"")]),
            Unsafe,
            "has two headers size",
        ),
        ("a PAX size in words", after_a_file([pax(&[("size", b"+1")]), file("x", b"y")]), Unsafe, "no number"),
        (
            "a PAX size behind a torn header",
            after_a_file([pax(&[("SCHILY.xattr.a", b"\n\x01"), ("size", b"1")]), file("x", b"y")]),
            Unsafe,
            "extended headers that can't be read",
        ),
        (
            "a PAX size that hides less than the header's",
            after_a_file([pax(&[("size", b"0")]), file("x", &hidden)]),
            Unsafe,
            "\"../x\" leads out",
        ),
        (
            "a PAX size over the end",
            after_a_file([pax(&[("size", b"4096")]), file("x", b"y")]),
            Damaged,
            "\"x\" has fewer bytes than the 4096",
        ),
        (
            "a PAX size of all there can be",
            after_a_file([pax(&[("size", b"18446744073709551615")]), file("x", b"y")]),
            Damaged,
            "overflow",
        ),
        ("PAX for nobody", after_a_file([pax(&[("path", b"x")])]), Damaged, "no future member"),
        (
            "two PAX headers",
            after_a_file([pax(&[("path", b"a")]), pax(&[("path", b"b")]), file("x", b"")]),
            Damaged,
            "two pax extensions",
        ),
        ("one name for all", after_a_file([global_pax(&[("path", b"x")])]), Unsafe, "gives all entries the same path"),
        (
            "PAX sparse",
            after_a_file([pax(&[("GNU.sparse.major", b"1")]), file("x", b"")]),
            Unsafe,
            "sparse in a way that can't be unpacked",
        ),
        (
            "sparse parts over each other",
            one(sparse(&[(0, 512), (256, 0)], 512, 512)),
            Damaged,
            "out of order or overlapping",
        ),
        ("a hole of a TiB", one(sparse(&[(1 << 40, 0)], 1 << 40, 0)), Full, "more than the 8388608 bytes"),
        ("more after the end", [tar([file("a", b"")]), tar([file("b", b"")])].concat(), Unsafe, "more after"),
        ("text after the end", [tar([file("a", b"")]), b"text".to_vec()].concat(), Unsafe, "more after"),
    ]);
}

/// A sparse file of GNU's old kind: (offset, length) of its parts, its size, and the bytes that follow.
fn sparse(parts: &[(u64, u64)], real: u64, content: usize) -> Entry {
    let octal = |number: u64, field: &mut [u8; 12]| {
        field.copy_from_slice(
            if number < 1 << 33 {
                format!("{number:011o}\0").into_bytes().try_into().unwrap()
            } else {
                // Base 256, marked by the first bit.
                let mut bytes = [0; 12];
                bytes[0] = 0x80;
                bytes[4..].copy_from_slice(&number.to_be_bytes());
                bytes
            }
            .as_slice(),
        );
    };
    of(EntryType::GNUSparse, "sparse", &vec![1; content]).with(|header| {
        let gnu = header.as_gnu_mut().unwrap();
        for ((offset, length), part) in parts.iter().zip(&mut gnu.sparse) {
            octal(*offset, &mut part.offset);
            octal(*length, &mut part.numbytes);
        }
        octal(real, &mut gnu.realsize);
    })
}

#[test]
fn what_would_fill_disk_or_memory_is_refused() {
    let many = (0..100).map(|number| file(&format!("{number}"), b""));
    check(vec![
        ("many entries", after_a_file(many), Unsafe, "it has more than 100 entries"),
        ("many bytes", one(file("x", b"").size(8 << 20)), Full, "more than the 8388608 bytes that the disk has left"),
        ("zeros in gzip", gzip(&one(file("x", &vec![0; 2 << 20]))), Unsafe, "unpack to more than 100 times as many"),
        ("zeros in zstd", zstd(&one(file("x", &vec![0; 2 << 20]))), Unsafe, "unpack to more than 100 times as many"),
        ("zeros in zip", zip([Zipped::deflated("x", &vec![0; 2 << 20])]), Unsafe, "more than 100 times as many"),
        (
            "a name of 2 MiB",
            after_a_file([long_name(&vec![b'x'; 2 << 20]), file("x", b"")]),
            Unsafe,
            "the headers of what follows the entry \"honest\" are too long",
        ),
        ("a name of 2 GiB", after_a_file([long_name(b"x").size(2 << 30)]), Damaged, "cut off"),
        ("attributes of 2 MiB", after_a_file([pax(&[("x", &vec![b'x'; 2 << 20])])]), Unsafe, "too long"),
        ("a global header of 2 MiB", after_a_file([global_pax(&[("x", &vec![b'x'; 2 << 20])])]), Unsafe, "too long"),
        ("zeros without end", gzip(&[one(file("x", b"")), vec![0; 20 << 20]].concat()), Unsafe, "too long"),
    ]);
}

#[test]
fn links_do_not_fill_the_memory() {
    let deep = "d/".repeat(1990);
    let links = (0..1500).flat_map(|number| [long_name(format!("{deep}{number}").as_bytes()), symlink("cut", "x")]);
    let failure = Room::with(&tar(links)).unpack(&Limits { entries: 10_000, depth: 2000, ..SMALL }).unwrap_err();
    assert_eq!(failure.reason, Unsafe);
    assert_eq!(failure.to_string(), "model.tar: it has too many links");
}

#[test]
fn what_is_damaged_or_cut_off_is_told() {
    let whole = || tar([file("a", &[7; 700]), file("b", &[8; 700])]);
    let cut = |bytes: Vec<u8>, at: usize| bytes[..at].to_vec();
    let flip = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes
    };
    let noise: Vec<u8> = (0..5000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (zipped, zstandard) = (gzip(&tar([file("a", &noise)])), zstd(&tar([file("a", &noise)])));
    let files = || zip([Zipped::stored("a", &noise), Zipped::deflated("b", &[8; 700])]);
    let last = zipped.len();
    check(vec![
        (
            "no end mark",
            open_tar([file("a", b"a")]),
            Damaged,
            "\"a\" is cut off: the archive ends without its end mark",
        ),
        ("cut in a file", cut(whole(), 600), Damaged, "the entry \"a\" has fewer bytes than the 700"),
        ("cut behind a file", cut(whole(), 1300), Damaged, "what follows the entry \"a\" is damaged or cut off"),
        ("cut in a header", cut(whole(), 1600), Damaged, "what follows the entry \"a\""),
        ("a wrong header", flip(whole(), 1540), Damaged, "archive header checksum mismatch"),
        ("gzip cut", cut(zipped.clone(), last / 2), Damaged, "cut off"),
        ("gzip without checksum", cut(zipped.clone(), last - 8), Damaged, "cut off"),
        ("gzip with a wrong checksum", flip(zipped.clone(), last - 8), Damaged, "damaged"),
        ("gzip with a wrong bit", flip(zipped.clone(), last / 2), Damaged, "damaged"),
        ("gzip with text behind", [zipped, b"text".to_vec()].concat(), Damaged, "damaged"),
        ("zstd cut", cut(zstandard.clone(), zstandard.len() / 2), Damaged, "cut off"),
        ("zstd with a wrong checksum", flip(zstandard.clone(), zstandard.len() - 2), Damaged, "damaged"),
        ("zip with a wrong bit", flip(files(), 100), Damaged, "the entry \"a\" is damaged"),
        ("zip cut", cut(files(), files().len() - 30), Damaged, "the directory of the archive is damaged"),
        ("zip without directory", cut(files(), 3000), Damaged, "the directory of the archive is damaged"),
        ("gzip head only", vec![0x1F, 0x8B, 8, 0], Damaged, "cut off"),
        ("zstd head only", vec![0x28, 0xB5, 0x2F, 0xFD], Damaged, "cut off"),
    ]);
}

#[test]
fn what_is_no_archive_is_told() {
    check(vec![
        ("nothing", vec![], Unsafe, "it is no archive; tar, tar.gz, tar.zst and zip can be unpacked"),
        ("text", b"<html>".repeat(200), Unsafe, "it is no archive"),
        ("xz", b"\xFD7zXZ\0rest".to_vec(), Unsafe, "it is xz; tar, tar.gz"),
        ("bzip2", b"BZh91AY".to_vec(), Unsafe, "it is bzip2"),
        ("one file in gzip", gzip(b"weights"), Unsafe, "it is a file in gzip and no tar archive"),
        ("one file in zstd", zstd(&[7; 5000]), Unsafe, "it is a file in zstd and no tar archive"),
        ("a zip in gzip", gzip(&zip([Zipped::stored("a", b"a")])), Unsafe, "no tar archive"),
        ("a tar without entries", tar([]), Empty, "holds no file"),
        ("a tar of folders", tar([folder("a"), folder("a/b")]), Empty, "holds no file"),
        ("a zip without entries", zip([]), Empty, "holds no file"),
    ]);
}

#[test]
fn zip_archives_that_lie_are_refused() {
    let honest = || Zipped::stored("honest", b"honest");
    let bad = |file: Zipped| zip([honest(), file]);
    let a = || Zipped::stored("a", b"content");
    let named = |name: &[u8]| Zipped { name: name.into(), local_name: name.into(), ..a() };
    let mut counted = zip([honest()]);
    let count = counted.len() - 14;
    counted[count..count + 4].copy_from_slice(&[9, 0, 9, 0]);
    check(vec![
        ("absolute", bad(named(b"/etc/x")), Unsafe, "the entry \"/etc/x\" is an absolute path"),
        ("above", bad(named(b"../x")), Unsafe, "leads out"),
        ("backslash", bad(named(b"..\\x")), Unsafe, "has a backslash"),
        ("NUL", bad(named(b"a\0b")), Unsafe, "NUL"),
        ("no name", bad(named(b"")), Unsafe, "has no name"),
        ("our own scratch", bad(named(b".mooring-fetch")), Unsafe, "kept for files"),
        ("twice", bad(honest()), Unsafe, "\"honest\" is in the archive twice"),
        ("a file below a file", bad(named(b"honest/x")), Unsafe, "needs a folder"),
        ("a folder with content", bad(named(b"a/")), Unsafe, "is a folder with content"),
        ("encrypted", bad(Zipped { flags: 1, ..a() }), Unsafe, "the entry \"a\" is encrypted"),
        ("bzip2", bad(Zipped { method: 12, ..a() }), Unsafe, "only stored and deflated"),
        ("symlink out", bad(Zipped { mode: 0o120_777, ..Zipped::stored("l", b"../x") }), Unsafe, "leads out"),
        ("symlink absolute", bad(Zipped { mode: 0o120_777, ..Zipped::stored("l", b"/x") }), Unsafe, "absolute"),
        ("symlink to nothing", bad(Zipped { mode: 0o120_777, ..Zipped::stored("l", b"") }), Unsafe, "to nothing"),
        ("a pipe", bad(Zipped { mode: 0o010_644, ..a() }), Unsafe, "has the mode 10000"),
        ("a device", bad(Zipped { mode: 0o020_644, ..a() }), Unsafe, "has the mode 20000"),
        ("two names", bad(Zipped { local_name: b"b".into(), ..a() }), Damaged, "inconsistency"),
        ("another checksum", bad(Zipped { crc: 1, ..a() }), Damaged, "the entry \"a\" is damaged"),
        ("stored in another size", bad(Zipped { size: 6, ..a() }), Unsafe, "in another size"),
        ("less than it says", bad(Zipped { size: 8, ..Zipped::deflated("a", b"content") }), Damaged, "\"a\""),
        ("more than it says", bad(Zipped { size: 6, ..Zipped::deflated("a", b"content") }), Damaged, "\"a\""),
        (
            "over each other",
            zip([honest(), Zipped { offset: Some(0), ..honest() }]),
            Unsafe,
            "entries that lie over each other",
        ),
        ("a bomb by overlap", overlapping(), Unsafe, "entries that lie over each other"),
        ("behind the end", bad(Zipped { offset: Some(1 << 20), ..a() }), Damaged, "\"honest\""),
        ("fewer than counted", counted, Damaged, "more entries than its size allows"),
        (
            "more than the disk has",
            bad(Zipped { size: 9 << 20, ..Zipped::deflated("a", b"content") }),
            Full,
            "more than the 8388608 bytes",
        ),
    ]);
}

/// The zip bomb of D. Fifield: the data of the first file is the second's header and data, as a stored block of deflate.
fn overlapping() -> Vec<u8> {
    let inner = Zipped::deflated("b", &[7; 5000]);
    let whole = zip([inner.clone()]);
    let local = &whole[..30 + 1 + inner.data.len()];
    let length = u16::try_from(31).unwrap();
    // A stored block that quotes the header, then the inner data as the last block.
    let quoted = [&[0], length.to_le_bytes().as_slice(), &(!length).to_le_bytes(), local].concat();
    let content = [&local[..31], &[7; 5000]].concat();
    let outer = Zipped { data: quoted, method: super::make::DEFLATED, ..Zipped::stored("a", &content) };
    let at = u32::try_from(31 + 5).unwrap();
    let mut bytes = zip([outer, Zipped { offset: Some(at), ..inner }]);
    assert_eq!(bytes[36..40], *b"PK\x03\x04");
    bytes.shrink_to_fit();
    bytes
}
