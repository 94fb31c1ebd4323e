//! Archives that the usual programs make of one folder are that folder again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{Room, SMALL};

/// Programs with the commands that make `$out` of the current folder.
const PROGRAMS: &[(&str, &str)] = &[
    ("tar", "tar -cf $out ."),
    ("tar", "tar -czf $out *"),
    ("tar", "tar --format=gnu -czf $out ."),
    ("tar", "tar --format=pax -czf $out ."),
    ("tar", "tar --format=ustar --exclude=n* -cf $out ."),
    ("tar", "tar --format=gnu --sparse -cf $out ."),
    ("tar", "tar -b 2000 -cf $out ."),
    ("zstd", "tar -c . | zstd -19 --check > $out"),
    ("zstd", "tar -c . | zstd --format=gzip > $out"),
    ("bsdtar", "bsdtar --no-read-sparse -czf $out ."),
    ("zip", "zip -q -r - . > $out"),
    ("zip", "zip -q -r -0 $out.zip . && mv $out.zip $out"),
    ("zip", "zip -q -r -y $out.zip . && mv $out.zip $out"),
    ("python3", "python3 -c 'import tarfile as t; a = t.open(\"'$out'\", \"w:gz\"); a.add(\".\"); a.close()'"),
    (
        "python3",
        "python3 -c 'import tarfile as t; a = t.open(\"'$out'\", \"w\", format=t.GNU_FORMAT); a.add(\".\"); a.close()'",
    ),
    ("python3", "python3 -c 'import shutil; shutil.make_archive(\"'$out'\", \"zip\")' && mv $out.zip $out"),
    (
        "python3",
        "python3 -c 'import zipfile as z; a = z.ZipFile(\"'$out'\", \"w\"); a.open(\"a\", \"w\", force_zip64=True).write(b\"a\"); a.close()'",
    ),
];

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("deep/er/and/deeper")).unwrap();
    fs::write(folder.join("a"), "a").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("deep/er/and/deeper/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("deep/er/and/deeper/run"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::write(folder.join("n".repeat(250)), "long").unwrap();
    fs::write(folder.join("n ünïcode 模型 'quoted'"), "name").unwrap();
    let noise: Vec<u8> = (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(folder.join("weights"), noise).unwrap();
    let hole = fs::File::create(folder.join("hole")).unwrap();
    std::os::unix::fs::FileExt::write_at(&hole, b"end", 1 << 20).unwrap();
    symlink("../a", folder.join("deep/link")).unwrap();
    fs::hard_link(folder.join("weights"), folder.join("deep/weights")).unwrap();
}

#[test]
fn a_folder_comes_through_every_program() {
    let source = tempfile::tempdir().unwrap();
    fill(source.path());
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let mut tried = 0;
    for (program, command) in PROGRAMS.iter().filter(|(program, _)| is_there(program)) {
        let room = Room::empty();
        let script = format!("set -e; out={}; {command}", room.archive().display());
        let made = Command::new("bash").args(["-c", &script]).current_dir(source.path()).output().unwrap();
        assert!(made.status.success(), "{command}: {}", String::from_utf8_lossy(&made.stderr));
        room.unpack(&SMALL).unwrap_or_else(|failure| panic!("{program}, {command}: {}", failure.sentence()));
        let found = room.found();
        for (path, content) in &found {
            let original = source.path().join(path);
            match content {
                Some(content) => assert!(*content == fs::read(&original).unwrap(), "{command}: {path}"),
                None => assert!(original.is_dir(), "{command}: {path}"),
            }
        }
        if !command.contains("force_zip64") {
            let expected = if command.contains("--exclude") { 11 } else { 13 };
            assert_eq!(found.len(), expected, "{command}: {:?}", found.keys());
            assert_eq!(room.mode("deep/er/and/deeper/run"), 0o755, "{command}");
        }
        tried += 1;
    }
    // GNU tar is everywhere.
    assert!(tried >= 6, "only {tried} archives could be made");
}
