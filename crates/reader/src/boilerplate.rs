//! What belongs to the site rather than to the page, told by structure alone: elements and roles by their meaning, and
//! lists that are all links. Names of classes and ids are never asked: `badge` has an `ad` in it.

use crate::dom::{Data, Dom, Element, Id};

/// Where in the page's outline the walk is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Inside `main` or `article`: the content itself.
    pub(crate) content: bool,
    /// Inside a section, whose header and footer are its own.
    section: bool,
}

impl Place {
    pub(crate) fn inside(self, element: &Element, tag: &str) -> Self {
        let role = role(element);
        let content = self.content || matches!(tag, "main" | "article") || matches!(role, "main" | "article");
        Self { content, section: self.section || content || tag == "section" || role == "region" }
    }
}

fn role(element: &Element) -> &str {
    element.attribute("role").unwrap_or_default().split_ascii_whitespace().next().unwrap_or_default()
}

/// Whether the element is the site's by its own meaning.
pub(crate) fn by_meaning(element: &Element, tag: &str, place: Place) -> bool {
    if place.content {
        return false;
    }
    let role = role(element).to_ascii_lowercase();
    match role.as_str() {
        "navigation" | "complementary" | "search" | "menu" | "menubar" | "toolbar" | "dialog"
        | "alertdialog" => true,
        "banner" | "contentinfo" => true,
        "main" | "article" | "region" | "document" => false,
        _ => match tag {
            "nav" | "aside" | "search" => true,
            "header" | "footer" => !place.section,
            _ => false,
        },
    }
}

/// Letters of text and of links below each node.
pub(crate) struct Density {
    counts: Vec<Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    text: u32,
    linked: u32,
    links: u32,
}

impl Density {
    pub(crate) fn of(dom: &Dom, root: Id) -> Self {
        let mut counts = vec![Count::default(); dom.nodes.len()];
        let order: Vec<Id> = dom.below(root).collect();
        // Children come after their parents, so that backwards every node is complete before it is added to its own.
        for id in order.into_iter().rev() {
            match &dom.nodes[id].data {
                Data::Text(text) => {
                    let letters = text.chars().filter(|c| !c.is_whitespace()).count();
                    counts[id].text = u32::try_from(letters).unwrap_or(u32::MAX);
                }
                Data::Element(element) => match &*element.tag() {
                    "script" | "style" | "noscript" | "template" | "svg" => counts[id] = Count::default(),
                    "a" if element.has("href") => {
                        counts[id].linked = counts[id].text;
                        counts[id].links = 1;
                    }
                    _ => {}
                },
                _ => {}
            }
            if let Some(parent) = dom.nodes[id].parent {
                let Count { text, linked, links } = counts[id];
                let sum = &mut counts[parent];
                sum.text = sum.text.saturating_add(text);
                sum.linked = sum.linked.saturating_add(linked);
                sum.links = sum.links.saturating_add(links);
            }
        }
        Self { counts }
    }

    /// A list of links, short ones, that is a small part of the page and that no heading announces.
    pub(crate) fn is_links(&self, dom: &Dom, id: Id, tag: &str, root: Id) -> bool {
        let Count { text, linked, links } = self.counts[id];
        let (text, linked, all) = (u64::from(text), u64::from(linked), u64::from(self.counts[root].text));
        let is_heading = |tag: &str| matches!(tag, "h1" | "h2" | "h3" | "h4" | "h5" | "h6");
        matches!(tag, "ul" | "ol" | "div" | "section" | "p")
            && links >= 5
            && linked * 10 >= text * 8
            && text <= u64::from(links) * 30
            && text * 2 < all
            && !dom.element_before(id).is_some_and(|before| is_heading(&before.tag()))
            && !dom.below(id).any(|id| dom.element(id).is_some_and(|element| is_heading(&element.tag())))
    }
}
