//! What must be unpacked, and what becomes of it.

use std::collections::BTreeMap;

use mooring_operator::fetch::Placed;
use tar::EntryType;

use super::make::{Zipped, file, folder, global_pax, gzip, hard_link, long_name, of, pax, symlink, tar, zip, zstd};
use super::{Room, SMALL};

#[track_caller]
fn unpacked(archive: &[u8]) -> Room {
    let room = Room::with(archive);
    if let Err(failure) = room.unpack(&SMALL) {
        panic!("{}", failure.sentence());
    }
    room
}

/// Files and folders (`None`) as [`Room::found`] has them.
fn tree(paths: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<Vec<u8>>> {
    paths.iter().map(|(path, content)| ((*path).to_owned(), content.map(Into::into))).collect()
}

#[test]
fn each_format_gives_the_same_files() {
    let entries = || tar([folder("./"), folder("./d"), file("./d/b", b"b"), file("./a", b"a"), file("./e", b"")]);
    let files = [("a", Some("a")), ("d", None), ("d/b", Some("b")), ("e", Some(""))];
    let in_zip = [Zipped::stored("a", b"a"), Zipped::deflated("d/b", b"b"), Zipped::stored("e", b"")];
    let halves = entries().split_at(700).0.to_vec();
    let rest = entries().split_at(700).1.to_vec();
    let skipped = [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    for (what, archive) in [
        ("tar", entries()),
        ("tar.gz", gzip(&entries())),
        ("tar.gz in two members", [gzip(&halves), gzip(&rest)].concat()),
        ("tar.zst", zstd(&entries())),
        ("tar.zst in three frames", [&skipped, zstd(&halves).as_slice(), &zstd(&rest)].concat()),
        ("zip", zip(in_zip)),
    ] {
        let room = Room::with(&archive);
        let placed = room.unpack(&SMALL).unwrap_or_else(|failure| panic!("{what}: {}", failure.sentence()));
        assert_eq!((placed, room.found()), (Placed { files: 3, bytes: 2 }, tree(&files)), "{what}");
    }
}

#[test]
fn of_the_rights_only_that_to_be_run_is_kept() {
    let room = unpacked(&tar([
        folder("closed").mode(0o000),
        file("closed/setuid", b"x").mode(0o6755),
        file("closed/open", b"x").mode(0o666),
        file("closed/none", b"x").mode(0o000),
        folder("sticky").mode(0o1777),
    ]));
    for (path, mode) in
        [("closed", 0o755), ("closed/setuid", 0o755), ("closed/open", 0o644), ("closed/none", 0o644), ("sticky", 0o755)]
    {
        assert_eq!(room.mode(path), mode, "{path}");
    }
    let run = Zipped { mode: 0o104_755, ..Zipped::stored("run", b"x") };
    // 0o755 << 16 are no rights when DOS wrote them.
    let dos = Zipped { system: 0, mode: 0o755, ..Zipped::stored("dos", b"x") };
    let room = unpacked(&zip([run, dos]));
    assert_eq!((room.mode("run"), room.mode("dos")), (0o755, 0o644));
}

#[test]
fn links_within_the_archive_become_second_names() {
    // As the cache of Hugging Face has it.
    let room = unpacked(&tar([
        symlink("models--a--b/snapshots/1/latest.bin", "model.bin"),
        symlink("models--a--b/snapshots/1/model.bin", "../../blobs/5e1"),
        file("models--a--b/blobs/5e1", b"weights"),
        hard_link("models--a--b/copy", "./models--a--b/blobs/5e1"),
    ]));
    let found = room.found();
    for path in ["snapshots/1/latest.bin", "snapshots/1/model.bin", "blobs/5e1", "copy"] {
        assert_eq!(found[&format!("models--a--b/{path}")].as_deref(), Some(b"weights".as_slice()), "{path}");
    }
    let link = Zipped { mode: 0o120_777, ..Zipped::stored("d/l", b"../a") };
    assert_eq!(unpacked(&zip([link, Zipped::stored("a", b"a")])).found()["d/l"], Some(b"a".to_vec()));
}

#[test]
fn names_are_taken_as_they_are_meant() {
    let (long, longer) = ("n".repeat(200), "d/".repeat(7) + &"p".repeat(255));
    let nothing: &[u8] = b"\x01\n\x02";
    let room = unpacked(&tar([
        global_pax(&[("comment", b"0123456789abcdef0123456789abcdef01234567")]),
        long_name(long.as_bytes()),
        file("cut", b"gnu"),
        pax(&[("path", longer.as_bytes()), ("mtime", b"1700000000.5"), ("size", b"3")]),
        file("cut", b"pax").size(0),
        pax(&[("SCHILY.xattr.com.apple.provenance", nothing)]),
        file("torn", b"attribute"),
        folder("same"),
        folder("same/"),
        file("Same", b"case"),
        file("back\\slash", b"tar"),
        file("..hidden", b"dots"),
        of(EntryType::Regular, "old/", b""),
        file("old/v7", b"v7").with(|header| {
            let mut old = tar::Header::new_old();
            old.as_old_mut().name[..6].copy_from_slice(b"old/v7");
            old.set_size(2);
            old.set_mode(0o644);
            *header = old;
        }),
        of(EntryType::Continuous, "continuous", b"c"),
    ]));
    let found = room.found();
    for (path, content) in [
        (long.as_str(), "gnu"),
        (&longer, "pax"),
        ("torn", "attribute"),
        ("Same", "case"),
        ("back\\slash", "tar"),
        ("..hidden", "dots"),
        ("old/v7", "v7"),
        ("continuous", "c"),
    ] {
        assert_eq!(found[path].as_deref(), Some(content.as_bytes()), "{path}");
    }
    assert_eq!(found["same"], None);
    // CP437: 0x81 is ü.
    let name = b"\x81ber".to_vec();
    let room = unpacked(&zip([Zipped { local_name: name.clone(), name, ..Zipped::stored("x", b"x") }]));
    assert_eq!(room.found(), tree(&[("über", Some("x"))]));
}

#[test]
fn a_folder_that_is_there_already_is_not_unpacked_into() {
    let room = Room::with(&tar([file("a", b"a")]));
    std::fs::create_dir(room.target()).unwrap();
    std::fs::write(room.target().join("other"), "").unwrap();
    let unpacked = mooring_operator::fetch::unpack::unpack(&room.archive(), "x", &room.target(), &SMALL, &mut |_| {});
    assert!(unpacked.is_err());
    assert_eq!(room.found(), tree(&[("other", Some(""))]));
}
