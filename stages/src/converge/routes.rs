//! Routes of one service, learned from the paths that are seen.
//!
//! A tree of segments. A segment of a known kind ([`super::segment`]) is its kind. Names are kept until one place of the
//! tree has shown more than the learned bound: then the names seen rarely there are forgotten with all below them, the ones
//! seen often ([`OFTEN`]) stay, and everything else at that place is `{var}`. So `/users/ann`, `/users/bob`, ... become
//! `/users/{var}`, and a service with many routes keeps its busy ones.
//!
//! **Invariant:** at most [`limits::MAX_ROUTE_NODES`] nodes a tree and [`limits::MAX_ROUTE_NODES_TOTAL`] in all, at most the learned bound
//! of names at a place, whatever paths are seen.

use super::segment::{ANY, Shape, shape};
use crate::limits;
use crate::symbol::{Interner, Symbol};

/// A name seen this often before its place overflowed stays.
const OFTEN: u64 = 32;
/// Text for all segments behind the last that is told apart.
const REST: &str = "**";
const ROOT: usize = 0;

#[derive(Debug, Default)]
struct Node {
    children: Vec<Child>,
    /// Children that are names.
    names: usize,
    /// The place has shown too many names.
    open: bool,
    /// The endpoint that ends here.
    endpoint: Option<Symbol>,
    hits: u64,
}

#[derive(Debug)]
struct Child {
    text: Box<str>,
    is_name: bool,
    node: usize,
}

/// What [`Routes::find`] found.
#[derive(Debug)]
pub(super) struct Found {
    /// The endpoint; `None`: a bound was reached.
    pub(super) endpoint: Option<Symbol>,
    /// Where it lies, for [`Routes::hit`]; good until the tree is pruned.
    pub(super) leaf: usize,
    /// The tree was pruned: remembered endpoints of the service may be outdated.
    pub(super) pruned: bool,
}

/// The tree.
#[derive(Debug)]
pub(super) struct Routes {
    nodes: Vec<Node>,
    free: Vec<usize>,
    endpoints: usize,
}

/// Bounds and memory that the trees of all services share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) learned: usize,
    pub(super) budget: usize,
    /// Nodes in all trees.
    pub(super) nodes: usize,
    scratch: String,
    path: String,
}

impl Shared {
    pub(super) fn new(learned: usize, budget: usize) -> Self {
        let learned = learned.min(limits::MAX_ROUTE_LEARNED);
        Self { learned, budget, nodes: 0, scratch: String::new(), path: String::new() }
    }
}

impl Routes {
    pub(super) fn new(shared: &mut Shared) -> Self {
        shared.nodes += 1;
        Self { nodes: vec![Node::default()], free: Vec::new(), endpoints: 0 }
    }

    /// Nodes in use.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Counts one more exchange of the endpoint at `leaf`.
    pub(super) fn hit(&mut self, leaf: usize) {
        if let Some(node) = self.nodes.get_mut(leaf) {
            node.hits += 1;
        }
    }

    /// The endpoint of `path`, which begins with a slash and has no query.
    pub(super) fn find(&mut self, path: &str, shared: &mut Shared, symbols: &mut Interner) -> Found {
        let mut text = std::mem::take(&mut shared.path);
        text.clear();
        let mut found = Found { endpoint: None, leaf: ROOT, pruned: false };
        if self.walk(path, shared, &mut text, &mut found) {
            found.endpoint = self.endpoint(found.leaf, &text, shared.budget, symbols);
        }
        shared.path = text;
        found
    }

    /// Walks to the leaf of `path`, making nodes on the way. False: no room.
    fn walk(&mut self, path: &str, shared: &mut Shared, text: &mut String, found: &mut Found) -> bool {
        let mut segments = path.split('/').skip(1).peekable();
        let mut depth = 0;
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            if segment.is_empty() && !last {
                continue; // "//" is "/"
            }
            let segment = segment.split(';').next().unwrap_or_default(); // path parameters (RFC 3986, 3.3)
            depth += 1;
            let cut = depth > limits::MAX_ROUTE_SEGMENTS;
            let segment = if cut { REST } else { segment };
            let Some(next) = self.step(found, segment, shared, text) else { return false };
            found.leaf = next;
            if cut {
                break;
            }
        }
        true
    }

    /// From one node to the child for `segment`, whose converged text is appended to `text`.
    fn step(&mut self, found: &mut Found, segment: &str, shared: &mut Shared, text: &mut String) -> Option<usize> {
        let mut scratch = std::mem::take(&mut shared.scratch);
        let (name, is_name) = match shape(segment, &mut scratch) {
            Shape::Value(kind) => (kind, false),
            Shape::File => (scratch.as_str(), true),
            Shape::Name if segment.is_empty() || segment == REST => (segment, false),
            Shape::Name => (segment, true),
        };
        let next = self.child(found, name, is_name, shared);
        text.push('/');
        text.push_str(next.map_or(name, |(_, any)| if any { ANY } else { name }));
        shared.scratch = scratch;
        next.map(|(node, _)| node)
    }

    /// The child called `name`, or the one for all names; the flag says which.
    fn child(&mut self, found: &mut Found, name: &str, is_name: bool, shared: &mut Shared) -> Option<(usize, bool)> {
        let parent = found.leaf;
        if let Some(child) = self.lookup(parent, name) {
            return Some((child, name == ANY));
        }
        let node = self.nodes.get(parent)?;
        let (open, full) = (node.open, node.names >= shared.learned);
        if is_name && !open && full {
            self.prune(parent, shared);
            found.pruned = true;
        }
        if is_name && (open || full || name.len() > limits::MAX_ROUTE_SEGMENT) {
            let any = match self.lookup(parent, ANY) {
                Some(child) => child,
                None => self.insert(parent, ANY, false, shared)?,
            };
            return Some((any, true));
        }
        Some((self.insert(parent, name, is_name, shared)?, false))
    }

    fn lookup(&self, parent: usize, name: &str) -> Option<usize> {
        self.nodes.get(parent)?.children.iter().find(|child| *child.text == *name).map(|child| child.node)
    }

    fn insert(&mut self, parent: usize, name: &str, is_name: bool, shared: &mut Shared) -> Option<usize> {
        if self.len() >= limits::MAX_ROUTE_NODES || shared.nodes >= limits::MAX_ROUTE_NODES_TOTAL {
            return None;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        shared.nodes += 1;
        let parent = self.nodes.get_mut(parent)?;
        parent.children.push(Child { text: name.into(), is_name, node: at });
        parent.names += usize::from(is_name);
        Some(at)
    }

    /// The place has shown too many names: keeps the busy ones, forgets the others and all below them.
    fn prune(&mut self, at: usize, shared: &mut Shared) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.open = true;
        let children = std::mem::take(&mut node.children);
        let (kept, rare): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| !child.is_name || self.hits_below(child.node) >= OFTEN);
        if let Some(node) = self.nodes.get_mut(at) {
            node.names = kept.iter().filter(|child| child.is_name).count();
            node.children = kept;
        }
        let mut doomed: Vec<usize> = rare.iter().map(|child| child.node).collect();
        while let Some(at) = doomed.pop() {
            let Some(node) = self.nodes.get_mut(at) else { continue };
            let node = std::mem::take(node);
            doomed.extend(node.children.iter().map(|child| child.node));
            self.endpoints -= usize::from(node.endpoint.is_some());
            self.free.push(at);
            shared.nodes -= 1;
        }
    }

    fn hits_below(&self, at: usize) -> u64 {
        let mut hits = 0;
        let mut open = vec![at];
        while let Some(node) = open.pop().and_then(|at| self.nodes.get(at)) {
            hits += node.hits;
            open.extend(node.children.iter().map(|child| child.node));
        }
        hits
    }

    /// The endpoint at `leaf`, made if the budget allows.
    fn endpoint(&mut self, leaf: usize, text: &str, budget: usize, symbols: &mut Interner) -> Option<Symbol> {
        let node = self.nodes.get_mut(leaf)?;
        node.hits += 1;
        if node.endpoint.is_none() && self.endpoints < budget {
            let symbol = symbols.intern(text);
            if symbol.key() != symbols.overflow().key() {
                node.endpoint = Some(symbol);
                self.endpoints += 1;
            }
        }
        node.endpoint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree {
        routes: Routes,
        shared: Shared,
        symbols: Interner,
    }

    impl Tree {
        fn new(learned: usize, budget: usize) -> Self {
            let mut shared = Shared::new(learned, budget);
            Self { routes: Routes::new(&mut shared), shared, symbols: Interner::default() }
        }

        fn find(&mut self, path: &str) -> String {
            let found = self.routes.find(path, &mut self.shared, &mut self.symbols);
            found.endpoint.map_or_else(|| "none".to_owned(), |symbol| symbol.as_str().to_owned())
        }
    }

    #[test]
    fn names_stay_and_values_become_their_kind() {
        let mut tree = Tree::new(20, 500);
        assert_eq!(tree.find("/"), "/");
        assert_eq!(tree.find("/users/42/posts"), "/users/{id}/posts");
        assert_eq!(tree.find("/users//42"), "/users/{id}");
        assert_eq!(tree.find("/users/"), "/users/");
        assert_eq!(tree.find("/a;jsessionid=1/b"), "/a/b");
        assert_eq!(tree.find("/files/9.json"), "/files/{id}.json");
    }

    #[test]
    fn a_place_with_many_names_becomes_a_variable_and_keeps_its_busy_names() {
        let mut tree = Tree::new(3, 500);
        for _ in 0..OFTEN {
            assert_eq!(tree.find("/users/search"), "/users/search");
        }
        assert_eq!(tree.find("/users/ann/posts"), "/users/ann/posts");
        assert_eq!(tree.find("/users/bob"), "/users/bob");
        assert_eq!(tree.find("/users/eve"), "/users/{var}");
        assert_eq!(tree.find("/users/ann/posts"), "/users/{var}/posts");
        assert_eq!(tree.find("/users/bob"), "/users/{var}");
        assert_eq!(tree.find("/users/search"), "/users/search");
        assert_eq!(tree.find("/users/17"), "/users/{id}", "values keep their kind");
        assert_eq!(tree.find("/groups"), "/groups", "other places are not touched");
    }

    #[test]
    fn a_spent_budget_gives_no_endpoint_and_pruning_gives_it_back() {
        let mut tree = Tree::new(3, 3);
        for path in ["/a", "/b", "/c"] {
            assert_eq!(tree.find(path), path);
        }
        assert_eq!(tree.find("/a/x"), "none");
        assert_eq!(tree.find("/d"), "/{var}");
        assert_eq!(tree.find("/a"), "/{var}");
    }

    #[test]
    fn a_long_path_ends_in_a_rest_and_a_long_name_is_a_variable() {
        let mut tree = Tree::new(20, 500);
        let path = "/a".repeat(limits::MAX_ROUTE_SEGMENTS + 5);
        assert_eq!(tree.find(&path), format!("{}/**", "/a".repeat(limits::MAX_ROUTE_SEGMENTS)));
        assert_eq!(tree.find(&format!("/{}", "a-".repeat(33))), "/{var}");
    }
}
