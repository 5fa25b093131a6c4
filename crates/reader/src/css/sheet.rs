//! Rules of a page's own `style` elements whose selectors are one compound: `p`, `.a.b`, `div#x`, `*`, and lists of
//! these. Others (combinators, attributes, pseudo-classes) apply to nothing here.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::hides::{Declaration, Style, declarations};
use super::tokens::{Token, tokens};
use crate::dom::Element;
use crate::limits;

#[derive(Debug, Default)]
struct Compound {
    tag: Option<String>,
    id: Option<String>,
    classes: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    selector: Compound,
    declarations: std::rc::Rc<Vec<Declaration>>,
}

#[derive(Debug, Default)]
pub(crate) struct Sheet {
    rules: Vec<Rule>,
    /// Rules by what an element must have for them: `#id`, `.class`, tag, or nothing.
    index: BTreeMap<String, Vec<usize>>,
    bytes: usize,
    applied: Cell<usize>,
}

impl Sheet {
    pub(crate) fn read(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes <= limits::STYLE_BYTES {
            self.rules(&tokens(text));
        }
    }

    fn rules(&mut self, tokens: &[Token]) {
        // What is still to be read: a block that holds rules is put here instead of recursing.
        let mut pending = vec![tokens];
        while let Some(mut rest) = pending.pop() {
            while let Some((prelude, block, after)) = next_rule(rest) {
                rest = after;
                let solid = prelude.iter().position(|token| *token != Token::Space).unwrap_or(prelude.len());
                match &prelude[solid..] {
                    [Token::At(name), condition @ ..] => {
                        let always = match name.as_str() {
                            "media" => is_screen(condition),
                            "layer" => true,
                            _ => false,
                        };
                        if always && !block.is_empty() {
                            pending.push(rest);
                            rest = block;
                        }
                    }
                    selectors => self.rule(selectors, block),
                }
            }
        }
    }

    fn rule(&mut self, selectors: &[Token], block: &[Token]) {
        let declarations = declarations(block);
        if declarations.is_empty() {
            return;
        }
        let declarations = std::rc::Rc::new(declarations);
        for selector in selectors.split(|token| *token == Token::Sign(',')) {
            if let Some(selector) = compound(selector).filter(|_| self.rules.len() < limits::STYLE_RULES) {
                let key = match (&selector.id, selector.classes.first(), &selector.tag) {
                    (Some(id), ..) => format!("#{id}"),
                    (_, Some(class), _) => format!(".{class}"),
                    (.., Some(tag)) => tag.clone(),
                    _ => String::new(),
                };
                self.index.entry(key).or_default().push(self.rules.len());
                self.rules.push(Rule { selector, declarations: std::rc::Rc::clone(&declarations) });
            }
        }
    }

    /// Whether more was asked of the sheets than pages ask; what comes after is not judged.
    pub(crate) fn is_spent(&self) -> bool {
        self.applied.get() > limits::STYLE_WORK
    }

    /// What the sheets say of an element. Names compare without case: to be wrong there only hides more.
    pub(crate) fn apply(&self, element: &Element, tag: &str, style: &mut Style) {
        if self.rules.is_empty() || self.is_spent() {
            return;
        }
        let id = element.attribute("id").map(str::to_ascii_lowercase);
        let classes: Vec<String> = element
            .attribute("class")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .take(limits::CLASSES)
            .map(str::to_ascii_lowercase)
            .collect();
        let keys = id.iter().map(|id| format!("#{id}"));
        let keys = keys.chain(classes.iter().map(|class| format!(".{class}")));
        let keys = keys.chain([tag.to_owned(), String::new()]);
        for at in keys.filter_map(|key| self.index.get(&key)).flatten() {
            let Rule { selector, declarations } = &self.rules[*at];
            self.applied.set(self.applied.get() + 1);
            let fits = selector.tag.as_ref().is_none_or(|wanted| wanted == tag)
                && selector.id.as_ref().is_none_or(|wanted| id.as_ref() == Some(wanted))
                && selector.classes.iter().all(|wanted| classes.contains(wanted));
            if fits {
                let specificity = u32::from(selector.id.is_some()) * 10_000
                    + u32::try_from(selector.classes.len()).unwrap_or(99).min(99) * 100
                    + u32::from(selector.tag.is_some());
                self.applied.set(self.applied.get() + declarations.len());
                for declaration in &**declarations {
                    style.add(declaration, specificity, *at);
                }
            }
        }
    }
}

/// A rule's prelude, the inside of its block (empty for `@import ...;`), and what follows.
fn next_rule(tokens: &[Token]) -> Option<(&[Token], &[Token], &[Token])> {
    let is_at =
        tokens.iter().find(|token| **token != Token::Space).is_some_and(|t| matches!(t, Token::At(_)));
    let open =
        tokens.iter().position(|token| *token == Token::Sign('{') || is_at && *token == Token::Sign(';'))?;
    if tokens[open] == Token::Sign(';') {
        return Some((&tokens[..open], &[], &tokens[open + 1..]));
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&tokens[..open], &tokens[open + 1..at], &tokens[at + 1..]));
        }
    }
    // The end of the sheet closes what is open.
    Some((&tokens[..open], &tokens[open + 1..], &[]))
}

fn is_screen(condition: &[Token]) -> bool {
    condition.iter().all(|token| match token {
        Token::Space | Token::Sign(',') => true,
        Token::Ident(name) => matches!(name.as_str(), "screen" | "all" | "only"),
        _ => false,
    })
}

fn compound(tokens: &[Token]) -> Option<Compound> {
    let first = tokens.iter().position(|token| *token != Token::Space)?;
    let last = tokens.iter().rposition(|token| *token != Token::Space)?;
    let mut out = Compound::default();
    let mut tokens = tokens[first..=last].iter().enumerate();
    while let Some((at, token)) = tokens.next() {
        match token {
            Token::Ident(tag) if at == 0 => out.tag = Some(tag.clone()),
            Token::Sign('*') if at == 0 => {}
            Token::Hash(id) => out.id = Some(id.to_ascii_lowercase()),
            Token::Sign('.') => match tokens.next() {
                Some((_, Token::Ident(class))) => out.classes.push(class.clone()),
                _ => return None,
            },
            _ => return None,
        }
    }
    Some(out)
}
