//! An order of numbers, as a list through a table: to the end, out of the middle, the first one; each in constant time.

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    before: Option<usize>,
    after: Option<usize>,
}

/// Numbers of a slab in an order of their own. 32 bytes for each number up to the largest so far.
#[derive(Debug, Default)]
pub(super) struct Order {
    links: Vec<Links>,
    first: Option<usize>,
    last: Option<usize>,
}

impl Order {
    pub(super) const fn first(&self) -> Option<usize> {
        self.first
    }

    pub(super) fn push(&mut self, number: usize) {
        if self.links.len() <= number {
            self.links.resize(number + 1, Links::default());
        }
        self.links[number] = Links {
            before: self.last,
            after: None,
        };
        match self.last.replace(number) {
            Some(last) => self.links[last].after = Some(number),
            None => self.first = Some(number),
        }
    }

    /// The number must be in the order.
    pub(super) fn remove(&mut self, number: usize) {
        let Links { before, after } = std::mem::take(&mut self.links[number]);
        match before {
            Some(before) => self.links[before].after = after,
            None => self.first = after,
        }
        match after {
            Some(after) => self.links[after].before = before,
            None => self.last = before,
        }
    }
}
