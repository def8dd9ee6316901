//! When the reaper runs.

use super::{DAY_MS, HOUR_MS};
use crate::settings::Settings;

/// Time from opening the store to the first run: not while the app starts.
const FIRST_AFTER_MS: u64 = 30_000;

/// When the next run is due, in unix milliseconds; `None` while tombstones do not expire.
///
/// With a preferred hour, a run that would be due at another hour waits for the next time that this hour comes.
pub(crate) fn next_run(opened_ms: u64, last_ms: Option<u64>, settings: &Settings) -> Option<u64> {
    if !settings.tombstone_ttl_enabled {
        return None;
    }
    let due = match last_ms {
        None => opened_ms.saturating_add(FIRST_AFTER_MS),
        Some(last) => last.saturating_add(settings.days_between_reaping.saturating_mul(DAY_MS)),
    };
    let preferred =
        settings.reaper_preferred_hour.filter(|_| settings.enable_reaper_preferred_hour_scheduling);
    Some(match preferred {
        Some(hour) if due % DAY_MS / HOUR_MS != hour => {
            let today = (due - due % DAY_MS).saturating_add(hour * HOUR_MS);
            if today >= due { today } else { today.saturating_add(DAY_MS) }
        }
        _ => due,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: u64 = 1_800_057_600_000;

    fn settings(days: u64, hour: Option<u64>) -> Settings {
        Settings {
            days_between_reaping: days,
            enable_reaper_preferred_hour_scheduling: true,
            reaper_preferred_hour: hour,
            ..Settings::default()
        }
    }

    #[test]
    fn soon_after_the_start_and_then_every_so_many_days() {
        assert_eq!(MIDNIGHT % DAY_MS, 0);
        let s = settings(1, None);
        assert_eq!(next_run(MIDNIGHT, None, &s), Some(MIDNIGHT + 30_000));
        assert_eq!(next_run(MIDNIGHT, Some(MIDNIGHT + 30_000), &s), Some(MIDNIGHT + DAY_MS + 30_000));
        assert_eq!(next_run(MIDNIGHT, Some(MIDNIGHT), &settings(7, None)), Some(MIDNIGHT + 7 * DAY_MS));
        let off = Settings { tombstone_ttl_enabled: false, ..s };
        assert_eq!(next_run(MIDNIGHT, None, &off), None);
    }

    #[test]
    fn a_preferred_hour_is_waited_for() {
        let s = settings(1, Some(3));
        assert_eq!(next_run(MIDNIGHT, None, &s), Some(MIDNIGHT + 3 * HOUR_MS));
        let noon = MIDNIGHT + 12 * HOUR_MS;
        assert_eq!(next_run(noon, None, &s), Some(MIDNIGHT + DAY_MS + 3 * HOUR_MS));
        // Within the hour it is due at once, and the day after at the same time.
        let at_three = MIDNIGHT + 3 * HOUR_MS + 60_000;
        assert_eq!(next_run(at_three, None, &s), Some(at_three + 30_000));
        assert_eq!(next_run(MIDNIGHT, Some(at_three), &s), Some(at_three + DAY_MS));
        // Only when the schedule is switched on.
        let off = Settings { enable_reaper_preferred_hour_scheduling: false, ..s };
        assert_eq!(next_run(noon, None, &off), Some(noon + 30_000));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let s = settings(36_500, Some(23));
        assert!(next_run(u64::MAX, Some(u64::MAX), &s).is_some());
    }
}
