//! Targets of links: absolute, on the web or in mail, of bounded length, without a user name that would pose as a host.

use url::Url;

use crate::limits;

/// What relative addresses are relative to.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    page: Url,
    base: Option<Url>,
}

impl Base {
    pub(crate) fn new(page: Url) -> Self {
        Self { page, base: None }
    }

    /// The page's first `base` counts. The answer is the base when it is at another origin than the page.
    pub(crate) fn set(&mut self, href: &str) -> Option<String> {
        if self.base.is_some() {
            return None;
        }
        let base = self.page.join(href.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let elsewhere = (base.origin() != self.page.origin()).then(|| base.to_string());
        self.base = Some(base);
        elsewhere
    }

    /// `None`: no target that we pass on.
    pub(crate) fn absolute(&self, href: &str) -> Option<String> {
        let mut url = self.base.as_ref().unwrap_or(&self.page).join(href.trim()).ok()?;
        match url.scheme() {
            "http" | "https" => {
                // These schemes always have a host, and so take both.
                let _ = url.set_username("");
                let _ = url.set_password(None);
            }
            "mailto" => {}
            _ => return None,
        }
        let mut out = String::with_capacity(url.as_str().len());
        for c in url.as_str().chars() {
            match c {
                // Would end a target in Markdown, or begin a tag.
                ' ' | '<' | '>' | '`' | '\\' | '|' => out.extend(["%", &format!("{:02X}", u32::from(c))]),
                c => out.push(c),
            }
        }
        (out.len() <= limits::URL && out.bytes().all(|byte| byte.is_ascii_graphic())).then_some(out)
    }

    /// Whether this only leads to another place of the same page.
    pub(crate) fn is_here(href: &str) -> bool {
        href.trim().starts_with('#') || href.trim().is_empty()
    }
}
