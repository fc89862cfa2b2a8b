//! Which workers want which topics and patterns, made into the least that is fetched from the broker.
//!
//! A worker tells its first and its last subscriber of each. What it says can be lost, by records that were overtaken or with a process:
//! then it is asked for its whole list, in a new *round*. What it wanted before stays until the list is complete, so that nothing that is
//! wanted all the time is ever given up. An answer to an older question ends nothing.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_bus::topics::{Limits, Pattern, Subscribed, Topic, Topics, Unsubscribed};

/// Topics and patterns that are fetched, of each space.
pub const SUBJECTS_MAX: usize = 100_000;

/// Spaces: services of a server.
const SPACES_MAX: usize = 1024;

/// What is to be fetched from now on, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name of the space.
    pub space: Arc<str>,
    /// The topic or pattern.
    pub pattern: Box<str>,
    /// Whether it is fetched.
    pub is_wanted: bool,
}

/// What the workers of a server want.
#[derive(Debug)]
pub struct Interests {
    spaces: HashMap<Arc<str>, Topics>,
    workers: Vec<Rounds>,
}

/// A worker's lists.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    /// The last list that was complete.
    complete: u32,
    /// The list that it was asked for.
    asked: Option<u32>,
}

impl Interests {
    /// Nobody wants anything, and every worker is to be asked.
    pub fn new(workers: usize) -> Self {
        let rounds = Rounds {
            complete: 0,
            asked: Some(1),
        };
        Self {
            spaces: HashMap::new(),
            workers: vec![rounds; workers],
        }
    }

    /// What a worker has said of its subscribers: the first one has come, or the last one has left. `false`: there is no such worker, it is
    /// no pattern, or there are too many.
    pub fn handle(
        &mut self,
        worker: usize,
        (space, pattern, is_wanted): (&str, &str, bool),
        mut tell: impl FnMut(Change),
    ) -> bool {
        let (Some(rounds), Ok(parsed)) = (self.workers.get(worker), Pattern::parse(pattern)) else {
            return false;
        };
        let Some((space, topics)) = table(&mut self.spaces, space) else {
            return false;
        };
        if is_wanted {
            let number = number(worker, rounds.current());
            match topics.subscribe(number, parsed) {
                Ok(Subscribed::First) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        } else {
            let all = std::iter::once(rounds.complete).chain(rounds.asked);
            let ended = all.map(|round| topics.unsubscribe(number(worker, round), parsed));
            // Both are to be ended, whatever the first one yields.
            if ended.filter(|ended| *ended == Unsubscribed::Last).count() == 0 {
                return true;
            }
        }
        tell(Change {
            space,
            pattern: pattern.into(),
            is_wanted,
        });
        true
    }

    /// Something that the worker has said is lost: it is to be asked again.
    pub fn handle_loss(&mut self, worker: usize, tell: impl FnMut(Change)) {
        let Some(rounds) = self.workers.get_mut(worker) else {
            return;
        };
        let unfinished = rounds.asked;
        rounds.asked = Some(rounds.current().wrapping_add(1));
        if let Some(round) = unfinished {
            self.remove(number(worker, round), tell);
        }
    }

    /// The worker has said all that it wants, in answer to this round's question.
    pub fn handle_complete(&mut self, worker: usize, round: u32, tell: impl FnMut(Change)) {
        let Some(rounds) = self.workers.get_mut(worker) else {
            return;
        };
        if rounds.asked == Some(round) {
            rounds.asked = None;
            let before = std::mem::replace(&mut rounds.complete, round);
            self.remove(number(worker, before), tell);
        }
    }

    /// The workers that have not answered, and the round of their question.
    pub fn unanswered(&self) -> impl Iterator<Item = (usize, u32)> {
        let workers = self.workers.iter().enumerate();
        workers.filter_map(|(worker, rounds)| Some((worker, rounds.asked?)))
    }

    /// Whether any worker wants this topic.
    pub fn has(&mut self, space: &str, topic: Topic<'_>) -> bool {
        let mut found = false;
        if let Some(topics) = self.spaces.get_mut(space) {
            topics.publish(topic, |_| found = true);
        }
        found
    }

    /// The spaces of which anything was wanted.
    pub fn spaces(&self) -> impl Iterator<Item = &str> {
        self.spaces.keys().map(|space| &**space)
    }

    fn remove(&mut self, number: u64, mut tell: impl FnMut(Change)) {
        for (space, topics) in &mut self.spaces {
            topics.remove(number, |name| {
                tell(Change {
                    space: space.clone(),
                    pattern: name.into(),
                    is_wanted: false,
                });
            });
        }
    }
}

impl Rounds {
    /// Where what it says belongs.
    fn current(self) -> u32 {
        self.asked.unwrap_or(self.complete)
    }
}

/// The list of a worker, as a subscriber.
fn number(worker: usize, round: u32) -> u64 {
    (worker as u64) << 32 | u64::from(round)
}

fn table<'a>(
    spaces: &'a mut HashMap<Arc<str>, Topics>,
    name: &str,
) -> Option<(Arc<str>, &'a mut Topics)> {
    if !spaces.contains_key(name) {
        if spaces.len() >= SPACES_MAX {
            return None;
        }
        // Each worker's lists are two subscribers.
        let limits = Limits {
            topics_max: SUBJECTS_MAX,
            subscriptions_max: usize::MAX,
            subscriber_max: SUBJECTS_MAX,
        };
        spaces.insert(name.into(), Topics::new(limits));
    }
    let space = spaces.get_key_value(name)?.0.clone();
    Some((space, spaces.get_mut(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(interests: &mut Interests, worker: usize, what: (&str, &str, bool)) -> Vec<String> {
        let mut told = Vec::new();
        assert!(interests.handle(worker, what, |change| told.push(show(&change))));
        told
    }

    fn show(change: &Change) -> String {
        let sign = if change.is_wanted { '+' } else { '-' };
        format!("{sign}{}:{}", change.space, change.pattern)
    }

    #[test]
    fn what_several_workers_want_is_fetched_once_until_nobody_wants_it() {
        let mut all = Interests::new(2);
        assert_eq!(say(&mut all, 0, ("", "a/+", true)), ["+:a/+"]);
        assert!(say(&mut all, 0, ("", "a/+", true)).is_empty());
        assert!(say(&mut all, 1, ("", "a/+", true)).is_empty());
        assert_eq!(
            say(&mut all, 1, ("s", "a/+", true)),
            ["+s:a/+"],
            "another space"
        );
        assert!(say(&mut all, 0, ("", "a/+", false)).is_empty());
        assert!(say(&mut all, 0, ("", "a/+", false)).is_empty());
        assert_eq!(say(&mut all, 1, ("", "a/+", false)), ["-:a/+"]);
        assert!(say(&mut all, 1, ("", "a/+", false)).is_empty());
        let topic = Topic::parse("a/b").expect("a topic");
        assert!(all.has("s", topic) && !all.has("", topic) && !all.has("t", topic));
    }

    #[test]
    fn a_list_replaces_what_was_wanted_without_giving_anything_up_in_between() {
        let mut all = Interests::new(1);
        assert_eq!(all.unanswered().collect::<Vec<_>>(), [(0, 1)]);
        say(&mut all, 0, ("", "kept", true));
        say(&mut all, 0, ("", "gone", true));
        let mut told = Vec::new();
        all.handle_complete(0, 1, |change| told.push(show(&change)));
        assert!(told.is_empty() && all.unanswered().next().is_none());
        all.handle_loss(0, |change| told.push(show(&change)));
        assert_eq!(all.unanswered().collect::<Vec<_>>(), [(0, 2)]);
        assert!(say(&mut all, 0, ("", "kept", true)).is_empty());
        assert_eq!(say(&mut all, 0, ("", "new", true)), ["+:new"]);
        all.handle_complete(0, 1, |_| panic!("of an older question"));
        all.handle_complete(0, 2, |change| told.push(show(&change)));
        assert_eq!(told, ["-:gone"]);
        assert_eq!(say(&mut all, 0, ("", "kept", false)), ["-:kept"]);
    }

    #[test]
    fn a_list_that_was_lost_in_part_counts_for_nothing() {
        let mut all = Interests::new(1);
        say(&mut all, 0, ("", "before", true));
        all.handle_complete(0, 1, drop);
        let mut told = Vec::new();
        all.handle_loss(0, |change| told.push(show(&change)));
        say(&mut all, 0, ("", "half", true));
        all.handle_loss(0, |change| told.push(show(&change)));
        assert_eq!(told, ["-:half"]);
        all.handle_complete(0, 2, |_| panic!("of an older question"));
        assert_eq!(say(&mut all, 0, ("", "half", true)), ["+:half"]);
        // While it is listed, an end counts for the old list as well.
        assert_eq!(say(&mut all, 0, ("", "before", false)), ["-:before"]);
        all.handle_complete(0, 3, |_| panic!("nothing is left of before"));
    }

    #[test]
    fn nonsense_is_refused() {
        let mut all = Interests::new(1);
        for (worker, pattern) in [(1, "a"), (0, ""), (0, "a+"), (0, "#/a")] {
            assert!(!all.handle(worker, ("", pattern, true), |_| panic!("{pattern}")));
        }
    }
}
