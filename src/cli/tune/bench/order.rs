//! The order of runs: A and B of a pair run one after the other, so that a drift of the machine affects both alike.

use ringway::random::Random;

/// A is without the setting, B with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    A,
    B,
}

impl Arm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) round: usize,
    /// Index of the candidate.
    pub(super) candidate: usize,
    pub(super) arm: Arm,
}

/// Every candidate once per round, each round in a new order. In even rounds it is drawn whether a pair runs AB or BA;
/// the odd round after it runs the pair the other way round.
pub(super) fn order(candidates: usize, rounds: usize, seed: u64) -> Vec<Turn> {
    let mut random = Random::new(seed);
    let mut turns = Vec::with_capacity(candidates * rounds * 2);
    let mut b_first = vec![false; candidates];
    let mut shuffled: Vec<_> = (0..candidates).collect();
    for round in 0..rounds {
        random.shuffle(&mut shuffled);
        for first in &mut b_first {
            *first = if round % 2 == 0 {
                random.chance(500)
            } else {
                !*first
            };
        }
        for &candidate in &shuffled {
            let arms = if b_first[candidate] {
                [Arm::B, Arm::A]
            } else {
                [Arm::A, Arm::B]
            };
            turns.extend(arms.map(|arm| Turn {
                round,
                candidate,
                arm,
            }));
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_neighbours_and_two_rounds_are_abba() {
        let turns = order(5, 8, 7);
        assert_eq!(turns.len(), 5 * 8 * 2);
        for pair in turns.chunks(2) {
            assert_eq!(pair[0].candidate, pair[1].candidate);
            assert_eq!(pair[0].round, pair[1].round);
            assert_ne!(pair[0].arm, pair[1].arm);
        }
        let first = |round: usize, candidate: usize| {
            let mut of = turns
                .iter()
                .filter(|turn| (turn.round, turn.candidate) == (round, candidate));
            of.next().expect("it is there").arm
        };
        for candidate in 0..5 {
            for round in [0, 2, 4, 6] {
                assert_ne!(first(round, candidate), first(round + 1, candidate));
            }
        }
    }

    #[test]
    fn a_seed_is_an_order() {
        assert_eq!(order(6, 6, 1), order(6, 6, 1));
        assert_ne!(order(6, 6, 1), order(6, 6, 2));
    }
}
