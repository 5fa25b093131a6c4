//! Which elements are not seen, by their name and their attributes. Styles are `css`'s.

use crate::css::Colour;
use crate::dom::Element;
use crate::page::Reason;

/// What an element's name says of it.
pub(crate) enum Kept {
    Yes,
    /// It never was content, so that nothing is counted.
    NoText,
    No(Reason),
}

pub(crate) fn by_name(element: &Element, tag: &str) -> Kept {
    match tag {
        "script" | "style" | "noscript" | "template" | "svg" | "canvas" | "iframe" | "object" | "embed"
        | "applet" | "audio" | "video" | "noembed" | "noframes" | "frame" | "frameset" | "fencedframe"
        | "portal" | "annotation" | "annotation-xml" | "map" | "bgsound" => Kept::No(Reason::Element),
        "input" | "button" | "select" | "option" | "optgroup" | "textarea" | "datalist" | "output"
        | "meter" | "progress" | "selectedcontent" | "keygen" => Kept::No(Reason::FormControl),
        "title" if &*element.name.ns != "http://www.w3.org/1999/xhtml" => Kept::No(Reason::Element),
        "head" | "title" | "meta" | "base" | "link" | "param" | "source" | "track" | "area" | "col"
        | "colgroup" | "rp" | "basefont" => Kept::NoText,
        _ => Kept::Yes,
    }
}

pub(crate) fn by_attribute(element: &Element, tag: &str) -> bool {
    let is_true =
        |name: &str| element.attribute(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    element.has("hidden")
        || element.has("popover")
        || is_true("aria-hidden")
        || tag == "dialog" && !element.has("open")
}

/// A sheet for print says nothing of what a reader sees.
pub(crate) fn is_for_screens(element: &Element) -> bool {
    let is_css = element
        .attribute("type")
        .is_none_or(|kind| kind.trim().is_empty() || kind.eq_ignore_ascii_case("text/css"));
    let media = element.attribute("media").unwrap_or("all").trim().to_ascii_lowercase();
    is_css
        && (media.is_empty()
            || media.split(',').any(|one| matches!(one.trim(), "all" | "screen" | "only screen")))
}

/// Colours by attributes that were there before style sheets.
pub(crate) struct Colours {
    pub(crate) ink: Option<Colour>,
    pub(crate) behind: Option<Colour>,
    pub(crate) speaks: bool,
}

pub(crate) fn colours(element: &Element, tag: &str) -> Colours {
    let read = |name: &str| element.attribute(name).and_then(Colour::attribute);
    let ink = match tag {
        "font" => read("color"),
        "body" => read("text"),
        _ => None,
    };
    let behind = match tag {
        "body" | "table" | "tr" | "td" | "th" | "thead" | "tbody" | "tfoot" | "marquee" => read("bgcolor"),
        _ => None,
    };
    Colours { speaks: ink.is_some() || behind.is_some(), ink, behind }
}
