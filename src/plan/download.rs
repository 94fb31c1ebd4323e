//! What each storage initializer says of its download → what the status says of all.

use crate::api::artifact::DownloadProgress;
use crate::api::deployment::Download;
use crate::api::size::size;

/// All instances that download, taken together: bytes are added up, and the slowest one says when it is over.
#[must_use]
pub fn of<'a>(instances: impl IntoIterator<Item = &'a DownloadProgress>) -> Option<Download> {
    let all: Vec<&DownloadProgress> = instances.into_iter().collect();
    if all.is_empty() {
        return None;
    }
    let sum = |of: fn(&DownloadProgress) -> u64| all.iter().map(|one| of(one)).fold(0, u64::saturating_add);
    let (done, rate) = (sum(|one| one.bytes_done), sum(|one| one.bytes_per_second));
    let total = all.iter().map(|one| one.bytes_total).try_fold(0, |sum: u64, one| Some(sum.saturating_add(one?)));
    let remaining = all.iter().map(|one| one.remaining_seconds).try_fold(0, |most: u64, one| Some(most.max(one?)));
    Some(Download {
        bytes_done: signed(done),
        bytes_total: total.map(signed),
        bytes_per_second: signed(rate),
        remaining_seconds: remaining.map(signed),
        summary: summary(done, total, remaining),
    })
}

fn summary(done: u64, total: Option<u64>, remaining: Option<u64>) -> String {
    let total = total.map(|total| {
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        format!(" of {} ({percent} %)", size(total))
    });
    let remaining = remaining.map(|seconds| format!(", {} left", time(seconds)));
    format!("{}{}{}", size(done), total.unwrap_or_default(), remaining.unwrap_or_default())
}

/// Seconds in the unit that people count in.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

/// As the API has numbers.
fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::artifact::{ArtifactKind, VERSION};

    fn says(done: u64, total: Option<u64>, rate: u64, remaining: Option<u64>) -> DownloadProgress {
        DownloadProgress {
            version: VERSION,
            artifact: ArtifactKind::Model,
            bytes_done: done,
            bytes_total: total,
            bytes_per_second: rate,
            remaining_seconds: remaining,
            current_file: None,
        }
    }

    #[test]
    fn bytes_are_added_up_and_the_slowest_says_when_it_is_over() {
        let instances =
            [says(1 << 30, Some(2 << 30), 1 << 20, Some(12)), says(1 << 29, Some(2 << 30), 1 << 20, Some(90))];
        let download = of(&instances).unwrap();
        assert_eq!(download.bytes_done, 3 << 29);
        assert_eq!((download.bytes_total, download.remaining_seconds), (Some(4 << 30), Some(90)));
        assert_eq!(download.bytes_per_second, 2 << 20);
        assert_eq!(download.summary, "1.5 GiB of 4.0 GiB (37 %), 90 s left");
    }

    #[test]
    fn what_one_of_them_does_not_know_is_not_said() {
        let download = of(&[says(1024, None, 0, None), says(1024, Some(4096), 1, Some(3))]).unwrap();
        assert_eq!((download.bytes_total, download.remaining_seconds), (None, None));
        assert_eq!(download.summary, "2.0 KiB");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn numbers_that_no_store_has_do_no_harm() {
        let download = of(&[says(u64::MAX, Some(0), u64::MAX, Some(u64::MAX)), says(1, Some(1), 1, Some(1))]).unwrap();
        assert_eq!((download.bytes_done, download.bytes_total), (i64::MAX, Some(1)));
    }

    #[test]
    fn long_waits_are_told_in_minutes_and_hours() {
        assert_eq!((time(119), time(121), time(7200)), ("119 s".to_owned(), "3 min".to_owned(), "2 h".to_owned()));
    }
}
