//! The tree that html5ever builds: an arena, so that no depth of nesting can exhaust a stack, neither when it is
//! walked nor when it is dropped. It counts what it is asked to hold, and says when a bound is met; `parse` then
//! stops. Contents of `template` are held apart, and so are part of no document.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::{Attribute, LocalName, Namespace, QualName};

use crate::limits;

pub(crate) type Id = usize;
pub(crate) const DOCUMENT: Id = 0;

#[derive(Debug)]
pub(crate) enum Data {
    Document,
    Element(Element),
    Text(String),
    Comment,
    Instruction,
}

#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) name: QualName,
    attributes: Vec<(LocalName, StrTendril)>,
    template: Option<Id>,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// What the element is for us: lower case, without a prefix, and without what only hides a name from a list
    /// (`scr\0ipt`, whose NUL the parser replaced).
    pub(crate) fn tag(&self) -> Cow<'_, str> {
        let name: &str = &self.name.local;
        let name = name.rsplit(':').next().unwrap_or(name);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.chars().all(plain) {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(name.chars().map(|c| c.to_ascii_lowercase()).filter(|c| plain(*c)).collect())
        }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) parent: Option<Id>,
    previous: Option<Id>,
    pub(crate) next: Option<Id>,
    pub(crate) first: Option<Id>,
    last: Option<Id>,
    pub(crate) data: Data,
}

/// Why the tree takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Depth,
    Nodes,
    Attributes,
}

#[derive(Debug)]
pub(crate) struct Dom {
    pub(crate) nodes: Vec<Node>,
    pub(crate) bound: Option<Bound>,
}

impl Dom {
    pub(crate) fn children(&self, of: Id) -> impl Iterator<Item = Id> + '_ {
        std::iter::successors(self.nodes[of].first, |id| self.nodes[*id].next)
    }

    pub(crate) fn element(&self, id: Id) -> Option<&Element> {
        match &self.nodes[id].data {
            Data::Element(element) => Some(element),
            _ => None,
        }
    }

    /// The element before this one among its siblings, if no text stands between.
    pub(crate) fn element_before(&self, id: Id) -> Option<&Element> {
        let mut at = self.nodes[id].previous;
        while let Some(sibling) = at {
            match &self.nodes[sibling].data {
                Data::Element(element) => return Some(element),
                Data::Text(text) if !text.trim().is_empty() => return None,
                _ => at = self.nodes[sibling].previous,
            }
        }
        None
    }

    /// Every node below, in document order, without recursion.
    pub(crate) fn below(&self, of: Id) -> impl Iterator<Item = Id> + '_ {
        let mut at = self.nodes[of].first;
        std::iter::from_fn(move || {
            let now = at?;
            at = self.nodes[now].first.or_else(|| {
                let mut up = Some(now);
                while let Some(id) = up.filter(|id| *id != of) {
                    if self.nodes[id].next.is_some() {
                        return self.nodes[id].next;
                    }
                    up = self.nodes[id].parent;
                }
                None
            });
            Some(now)
        })
    }
}

/// An element's name, out of the cell that the tree is in.
#[derive(Debug)]
pub(crate) struct Name(QualName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

#[derive(Debug)]
pub(crate) struct Sink {
    nodes: RefCell<Vec<Node>>,
    moves: Cell<usize>,
    pub(crate) bound: Cell<Option<Bound>>,
}

impl Sink {
    pub(crate) fn new() -> Self {
        let sink = Self { nodes: RefCell::default(), moves: Cell::new(0), bound: Cell::new(None) };
        sink.add(Data::Document);
        sink
    }

    fn add(&self, data: Data) -> Id {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.len() >= limits::NODES {
            self.bound.set(self.bound.get().or(Some(Bound::Nodes)));
        }
        nodes.push(Node { parent: None, previous: None, next: None, first: None, last: None, data });
        nodes.len() - 1
    }

    fn note_depth(&self, of: Id) {
        let nodes = self.nodes.borrow();
        let mut depth = 0;
        let mut at = nodes[of].parent;
        while let Some(parent) = at {
            depth += 1;
            at = nodes[parent].parent;
        }
        if depth > limits::DEPTH {
            self.bound.set(self.bound.get().or(Some(Bound::Depth)));
        }
    }

    fn detach(&self, id: Id) {
        let mut nodes = self.nodes.borrow_mut();
        let (parent, previous, next) = (nodes[id].parent, nodes[id].previous, nodes[id].next);
        match (previous, parent) {
            (Some(previous), _) => nodes[previous].next = next,
            (None, Some(parent)) => nodes[parent].first = next,
            (None, None) => {}
        }
        match (next, parent) {
            (Some(next), _) => nodes[next].previous = previous,
            (None, Some(parent)) => nodes[parent].last = previous,
            (None, None) => {}
        }
        let node = &mut nodes[id];
        (node.parent, node.previous, node.next) = (None, None, None);
    }

    /// Puts a detached node under a parent: before a sibling, or last.
    fn attach(&self, id: Id, parent: Id, before: Option<Id>) {
        let mut nodes = self.nodes.borrow_mut();
        let previous = before.map_or(nodes[parent].last, |before| nodes[before].previous);
        let node = &mut nodes[id];
        (node.parent, node.previous, node.next) = (Some(parent), previous, before);
        match previous {
            Some(previous) => nodes[previous].next = Some(id),
            None => nodes[parent].first = Some(id),
        }
        match before {
            Some(before) => nodes[before].previous = Some(id),
            None => nodes[parent].last = Some(id),
        }
    }

    fn insert(&self, parent: Id, before: Option<Id>, child: NodeOrText<Id>) {
        match child {
            NodeOrText::AppendNode(id) => {
                self.detach(id);
                self.attach(id, parent, before);
                self.note_depth(id);
            }
            NodeOrText::AppendText(text) => {
                {
                    let mut nodes = self.nodes.borrow_mut();
                    let previous = before.map_or(nodes[parent].last, |before| nodes[before].previous);
                    if let Some(Data::Text(known)) = previous.map(|id| &mut nodes[id].data) {
                        known.push_str(&text);
                        return;
                    }
                }
                let id = self.add(Data::Text(text.to_string()));
                self.attach(id, parent, before);
            }
        }
    }
}

impl TreeSink for Sink {
    type Handle = Id;
    type Output = Dom;
    type ElemName<'a> = Name;

    fn finish(self) -> Dom {
        Dom { nodes: self.nodes.into_inner(), bound: self.bound.get() }
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Id {
        DOCUMENT
    }

    fn elem_name(&self, target: &Id) -> Name {
        match &self.nodes.borrow()[*target].data {
            Data::Element(element) => Name(element.name.clone()),
            // The tree builder asks for elements' names only.
            _ => Name(QualName::new(None, Namespace::default(), LocalName::default())),
        }
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, flags: ElementFlags) -> Id {
        let template = flags.template.then(|| self.add(Data::Document));
        let attributes =
            attributes.into_iter().map(|attribute| (attribute.name.local, attribute.value)).collect();
        self.add(Data::Element(Element { name, attributes, template }))
    }

    fn create_comment(&self, _: StrTendril) -> Id {
        self.add(Data::Comment)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Id {
        self.add(Data::Instruction)
    }

    fn append(&self, parent: &Id, child: NodeOrText<Id>) {
        self.insert(*parent, None, child);
    }

    fn append_based_on_parent_node(&self, element: &Id, previous: &Id, child: NodeOrText<Id>) {
        let parent = self.nodes.borrow()[*element].parent;
        match parent {
            Some(parent) => self.insert(parent, Some(*element), child),
            None => self.insert(*previous, None, child),
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &Id) -> Id {
        match &self.nodes.borrow()[*target].data {
            Data::Element(Element { template: Some(contents), .. }) => *contents,
            _ => *target,
        }
    }

    fn same_node(&self, x: &Id, y: &Id) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Id, child: NodeOrText<Id>) {
        let parent = self.nodes.borrow()[*sibling].parent;
        if let Some(parent) = parent {
            self.insert(parent, Some(*sibling), child);
        }
    }

    fn add_attrs_if_missing(&self, target: &Id, attributes: Vec<Attribute>) {
        if let Data::Element(element) = &mut self.nodes.borrow_mut()[*target].data {
            for attribute in attributes {
                let missing = !element.attributes.iter().any(|(name, _)| *name == attribute.name.local);
                if missing && element.attributes.len() < limits::ATTRIBUTES {
                    element.attributes.push((attribute.name.local, attribute.value));
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &Id) {
        self.detach(*target);
    }

    fn reparent_children(&self, node: &Id, new_parent: &Id) {
        loop {
            let first = self.nodes.borrow()[*node].first;
            let Some(first) = first else { break };
            self.detach(first);
            self.attach(first, *new_parent, None);
            self.moves.set(self.moves.get() + 1);
        }
        // Misnested formatting may move the same children again and again.
        if self.moves.get() > limits::NODES * 4 {
            self.bound.set(self.bound.get().or(Some(Bound::Nodes)));
        }
    }
}
