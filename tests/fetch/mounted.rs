//! What Kubernetes has mounted already.

use mooring_operator::catalogue::Reason;

use crate::program::Job;

#[test]
fn a_mounted_model_is_only_looked_at() {
    let volume = tempfile::tempdir().unwrap();
    Job::mounted(volume.path()).run().failed(Reason::ArtifactEmpty, &["no file"]);
    std::fs::write(volume.path().join("model.pkl"), "model").unwrap();
    Job::mounted(volume.path()).run().has(&[]);
    Job::mounted(&volume.path().join("model.pkl")).run().has(&[]);
    Job::mounted(&volume.path().join("absent")).run().failed(Reason::ArtifactNotFound, &["absent"]);
}

#[test]
fn a_scoring_script_that_is_not_mounted_is_told_with_what_is() {
    let volume = tempfile::tempdir().unwrap();
    for number in 0..25 {
        std::fs::write(volume.path().join(format!("file-{number:02}.py")), "").unwrap();
    }
    let ended = Job::mounted(volume.path()).required("score.py").run();
    ended.failed(Reason::ScoringScriptMissing, &["\"score.py\"", "file-00.py, file-01.py", "file-19.py and 5 more"]);
    assert!(!ended.report.detail.contains("file-20.py"));
    Job::mounted(volume.path()).required("file-24.py").run().has(&[]);
}
