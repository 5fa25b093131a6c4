//! Tokens of CSS Syntax Level 3, section 4, without recursion. Blocks stay flat: who reads them counts brackets.

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Lower case: every keyword and name that we ask for is without case.
    Ident(String),
    /// `name(`
    Function(String),
    At(String),
    /// As written: ids have case.
    Hash(String),
    Text,
    Number(f64),
    Percent(f64),
    Length(f64, String),
    Space,
    Sign(char),
}

struct Input<'a> {
    rest: std::str::Chars<'a>,
}

impl Input<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.clone().nth(ahead)
    }

    fn name_starts(&self) -> bool {
        match (self.peek(0), self.peek(1)) {
            (Some('-'), Some('-')) => true,
            (Some('-'), Some(c)) if is_name(c) && !c.is_ascii_digit() => true,
            (Some('-'), Some('\\')) => self.peek(2).is_some_and(|c| c != '\n'),
            (Some('\\'), Some(c)) => c != '\n',
            (Some(c), _) => is_name(c) && !c.is_ascii_digit() && c != '-',
            _ => false,
        }
    }

    fn number_starts(&self) -> bool {
        let digit = |at: usize| self.peek(at).is_some_and(|c| c.is_ascii_digit());
        match self.peek(0) {
            Some('+' | '-') => digit(1) || self.peek(1) == Some('.') && digit(2),
            Some('.') => digit(1),
            _ => digit(0),
        }
    }

    /// After the backslash.
    fn escape(&mut self) -> char {
        let mut value = 0;
        let mut digits = 0;
        while let Some(digit) = self.peek(0).and_then(|c| c.to_digit(16)).filter(|_| digits < 6) {
            value = value * 16 + digit;
            digits += 1;
            self.rest.next();
        }
        if digits == 0 {
            return self.rest.next().unwrap_or('\u{FFFD}');
        }
        if self.peek(0).is_some_and(char::is_whitespace) {
            self.rest.next();
        }
        char::from_u32(value).filter(|c| *c != '\0').unwrap_or('\u{FFFD}')
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek(0) {
            if is_name(c) {
                name.push(c);
                self.rest.next();
            } else if c == '\\' && self.peek(1) != Some('\n') {
                self.rest.next();
                name.push(self.escape());
            } else {
                break;
            }
        }
        name
    }

    fn number(&mut self) -> f64 {
        let mut text = String::new();
        let take = |input: &mut Self, text: &mut String| {
            while let Some(c) = input.peek(0).filter(char::is_ascii_digit) {
                text.push(c);
                input.rest.next();
            }
        };
        if let Some(sign) = self.peek(0).filter(|c| matches!(c, '+' | '-')) {
            text.push(sign);
            self.rest.next();
        }
        take(self, &mut text);
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            text.push('.');
            self.rest.next();
            take(self, &mut text);
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if matches!(self.peek(0), Some('e' | 'E')) && self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit())
        {
            text.extend(self.rest.by_ref().take(1 + sign));
            take(self, &mut text);
        }
        text.parse().unwrap_or(0.0)
    }

    fn string(&mut self, quote: char) {
        while let Some(c) = self.peek(0) {
            if c == '\n' {
                return;
            }
            self.rest.next();
            if c == quote {
                return;
            }
            if c == '\\' {
                self.rest.next();
            }
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii()
}

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut input = Input { rest: text.chars() };
    let mut out = Vec::new();
    while let Some(c) = input.peek(0) {
        let token = if c == '/' && input.peek(1) == Some('*') {
            let rest = input.rest.as_str();
            let end = rest[2..].find("*/").map_or(rest.len(), |at| at + 4);
            input.rest = rest[end..].chars();
            continue;
        } else if c.is_ascii_whitespace() {
            while input.peek(0).is_some_and(|c| c.is_ascii_whitespace()) {
                input.rest.next();
            }
            Token::Space
        } else if input.rest.as_str().starts_with("<!--") {
            input.rest.nth(3);
            continue;
        } else if input.rest.as_str().starts_with("-->") {
            input.rest.nth(2);
            continue;
        } else if input.number_starts() {
            let number = input.number();
            if input.peek(0) == Some('%') {
                input.rest.next();
                Token::Percent(number)
            } else if input.name_starts() {
                Token::Length(number, input.name().to_ascii_lowercase())
            } else {
                Token::Number(number)
            }
        } else if input.name_starts() {
            let name = input.name().to_ascii_lowercase();
            if input.peek(0) == Some('(') {
                input.rest.next();
                if name == "url" {
                    address(&mut input);
                }
                Token::Function(name)
            } else {
                Token::Ident(name)
            }
        } else {
            input.rest.next();
            match c {
                '"' | '\'' => {
                    input.string(c);
                    Token::Text
                }
                '#' if input.peek(0).is_some_and(|c| is_name(c) || c == '\\') => Token::Hash(input.name()),
                '@' if input.name_starts() => Token::At(input.name().to_ascii_lowercase()),
                _ => Token::Sign(c),
            }
        };
        out.push(token);
    }
    out
}

/// The inside of `url(...)`, where nothing but its end means anything; a quoted one is read as any function is.
fn address(input: &mut Input<'_>) {
    let rest = input.rest.as_str();
    if rest.trim_start().starts_with(['"', '\'']) {
        return;
    }
    while let Some(c) = input.peek(0).filter(|c| *c != ')') {
        input.rest.next();
        if c == '\\' {
            input.rest.next();
        }
    }
}
