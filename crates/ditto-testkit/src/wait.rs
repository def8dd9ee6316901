//! Waiting for what happens on another thread or in another process.

use std::thread::sleep;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Asks `condition` again and again until it is true or `timeout` is over. Says whether it became true; it is asked
/// once more at the very end. Blocks the thread.
#[must_use = "a condition that never held must fail the test"]
pub fn wait_for(mut condition: impl FnMut() -> bool, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        if condition() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_the_condition_or_with_the_time() {
        let mut asked = 0;
        let third = || {
            asked += 1;
            asked == 3
        };
        assert!(wait_for(third, Duration::from_secs(20)));
        assert_eq!(asked, 3);
        let began = Instant::now();
        assert!(!wait_for(|| false, Duration::from_millis(30)));
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert!(wait_for(|| true, Duration::ZERO));
    }
}
