//! Which priority class sends the next frame.
//!
//! Class 0 (control) is strict and handled by the session. The others share the link by weight: each class has a tag
//! that grows by bytes over weight, and the smallest tag goes next. A class that becomes busy starts at the present
//! time of the link, so it is served within one frame, and gets no credit for the time it was idle.

/// Priority classes 1 to 5: presence, Bus, live sync, bulk sync, attachments.
pub(crate) const CLASSES: usize = 6;

/// Shares of the link. Presence has about 5 % when everybody is busy.
const WEIGHT: [u64; CLASSES] = [1, 1, 8, 8, 3, 1];

/// One byte of a class of weight 1 in tag units, so that division by a weight keeps precision.
const UNIT: u64 = 24;

#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    now: u64,
    /// Tag of the next frame of each class.
    tag: [u64; CLASSES],
    busy: [bool; CLASSES],
}

impl Scheduler {
    /// The class whose turn it is among those that have something to send.
    pub(crate) fn pick(&mut self, has_work: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        for class in 1..CLASSES {
            if !has_work(class) {
                self.busy[class] = false;
                continue;
            }
            if !self.busy[class] {
                self.busy[class] = true;
                self.tag[class] = self.tag[class].max(self.now);
            }
            if best.is_none_or(|b: usize| self.tag[class] < self.tag[b]) {
                best = Some(class);
            }
        }
        best
    }

    /// Records that a class has sent.
    pub(crate) fn charge(&mut self, class: usize, bytes: usize) {
        self.now = self.tag[class];
        self.tag[class] += bytes as u64 * UNIT / WEIGHT[class];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(s: &mut Scheduler, rounds: usize, work: &[usize]) -> [usize; CLASSES] {
        let mut sent = [0; CLASSES];
        for _ in 0..rounds {
            let c = s.pick(|c| work.contains(&c)).unwrap();
            s.charge(c, 1000);
            sent[c] += 1;
        }
        sent
    }

    #[test]
    fn shares_follow_the_weights() {
        let mut s = Scheduler::default();
        let sent = run(&mut s, 2100, &[1, 2, 3, 4, 5]);
        assert_eq!(sent.iter().sum::<usize>(), 2100);
        for (class, want) in [(1, 100), (2, 800), (3, 800), (4, 300), (5, 100)] {
            assert!(sent[class].abs_diff(want) <= 2, "{sent:?}");
        }
        assert_eq!(s.pick(|_| false), None);
    }

    #[test]
    fn a_newly_busy_class_goes_next_and_saves_no_idle_time() {
        let mut s = Scheduler::default();
        run(&mut s, 500, &[4, 5]);
        let first = s.pick(|c| [2, 4, 5].contains(&c)).unwrap();
        assert!(
            first == 2 || {
                s.charge(first, 1000);
                s.pick(|c| [2, 4, 5].contains(&c)) == Some(2)
            }
        );
        // After long idling, class 2 still gets 8 of 11, not everything.
        let sent = run(&mut s, 110, &[2, 4]);
        assert!((76..=84).contains(&sent[2]), "{sent:?}");
    }
}
