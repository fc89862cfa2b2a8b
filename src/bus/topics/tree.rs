//! The patterns with wildcards, as a tree of their segments.

use std::collections::HashMap;

use slab::Slab;

use super::name::{Pattern, Topic};

/// A number of an entry in the table of topics.
pub(super) type Key = usize;

#[derive(Debug, Default)]
struct Node {
    /// The node above, and the segment that leads from there to here. The root has none.
    above: Option<(usize, Box<str>)>,
    literal: HashMap<Box<str>, usize>,
    any: Option<usize>,
    /// The pattern that ends here.
    here: Option<Key>,
    /// The pattern that goes on from here with `#`.
    rest: Option<Key>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.here.is_none() && self.rest.is_none()
    }
}

/// A publish visits only nodes whose path matches the topic so far: at most two below each that it has visited, and never more than
/// there are.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Slab<Node>,
    root: usize,
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::default());
        Self { nodes, root }
    }

    pub(super) fn insert(&mut self, pattern: Pattern<'_>, key: Key) {
        let mut at = self.root;
        for segment in pattern.segments() {
            if segment == "#" {
                self.nodes[at].rest = Some(key);
                return;
            }
            at = self
                .below(at, segment)
                .unwrap_or_else(|| self.grow(at, segment));
        }
        self.nodes[at].here = Some(key);
    }

    fn below(&self, at: usize, segment: &str) -> Option<usize> {
        let node = &self.nodes[at];
        match segment {
            "+" => node.any,
            _ => node.literal.get(segment).copied(),
        }
    }

    fn grow(&mut self, at: usize, segment: &str) -> usize {
        let new = self.nodes.insert(Node {
            above: Some((at, segment.into())),
            ..Node::default()
        });
        let node = &mut self.nodes[at];
        match segment {
            "+" => node.any = Some(new),
            _ => drop(node.literal.insert(segment.into(), new)),
        }
        new
    }

    pub(super) fn remove(&mut self, pattern: Pattern<'_>) {
        let mut at = self.root;
        for segment in pattern.segments().filter(|segment| *segment != "#") {
            at = self.below(at, segment).expect("the pattern was inserted");
        }
        match pattern.as_str().ends_with('#') {
            true => self.nodes[at].rest = None,
            false => self.nodes[at].here = None,
        }
        while self.nodes[at].is_empty()
            && let Some((above, segment)) = self.nodes[at].above.take()
        {
            self.nodes.remove(at);
            let node = &mut self.nodes[above];
            match &*segment {
                "+" => node.any = None,
                _ => drop(node.literal.remove(&segment)),
            }
            at = above;
        }
    }

    /// Calls `found` once for each pattern that matches.
    pub(super) fn matches(&self, topic: Topic<'_>, found: &mut impl FnMut(Key)) {
        let mut segments = topic.segments();
        if !topic.is_system() {
            return self.visit(self.root, segments, found);
        }
        let first = segments
            .next()
            .and_then(|segment| self.below(self.root, segment));
        if let Some(below) = first {
            self.visit(below, segments, found);
        }
    }

    /// As deep as a topic has segments.
    fn visit<'a>(
        &self,
        at: usize,
        mut segments: impl Iterator<Item = &'a str> + Clone,
        found: &mut impl FnMut(Key),
    ) {
        let node = &self.nodes[at];
        node.rest.into_iter().for_each(&mut *found);
        let Some(segment) = segments.next() else {
            node.here.into_iter().for_each(found);
            return;
        };
        let literal = node.literal.get(segment).copied();
        for below in [literal, node.any].into_iter().flatten() {
            self.visit(below, segments.clone(), found);
        }
    }

    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }
}
