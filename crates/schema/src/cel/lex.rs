//! Words and signs of an expression.

use super::Fault;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 28] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", "{?", ".?", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "+", "-",
    "*", "/", "%", "!", "<", ">", ";",
];

/// All tokens with where they begin; the last is the end.
pub(crate) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let at = lexer.at;
        let token = lexer.next()?;
        let ends = token == Token::End;
        tokens.push((at, token));
        if ends {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            let comment = if rest[blank..].starts_with("//") {
                rest[blank..].find('\n').unwrap_or(rest.len() - blank)
            } else {
                0
            };
            if blank + comment == 0 {
                return;
            }
            self.at += blank + comment;
        }
    }

    fn next(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if let Some(token) = self.quoted()? {
            return Ok(token);
        }
        if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|sign: char| sign.is_ascii_digit())) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(rest.len());
            let name = rest[..end].to_owned();
            self.at += end;
            return Ok(Token::Name(name));
        }
        if first == '`' {
            let Some(end) = rest[1..].find('`') else { return Err(self.fault("token recognition error at: '`'")) };
            let name = rest[1..=end].to_owned();
            self.at += end + 2;
            return Ok(Token::Name(name));
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(self.fault(&format!("token recognition error at: '{first}'"))),
        }
    }

    fn fault(&self, text: &str) -> Fault {
        Fault::new(self.at, format!("Syntax error: {text}"))
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x") {
            let end = hex.find(|sign: char| !sign.is_ascii_hexdigit()).unwrap_or(hex.len());
            let (digits, unsigned) = (&hex[..end], hex[end..].starts_with(['u', 'U']));
            let number = u64::from_str_radix(digits, 16);
            let token = match (number, unsigned) {
                (Ok(number), true) => Token::Uint(number),
                (Ok(number), false) => {
                    i64::try_from(number).map(Token::Int).map_err(|_| self.fault("invalid int literal"))?
                }
                (Err(_), _) => return Err(self.fault("invalid int literal")),
            };
            self.at += 2 + end + usize::from(unsigned);
            return Ok(token);
        }
        let digits = |text: &str| text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(rest);
        let mut float = false;
        if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|sign: char| sign.is_ascii_digit()) {
            float = true;
            end += 1 + digits(&rest[end + 1..]);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let exponent = digits(&rest[end + 1 + sign..]);
            if exponent > 0 {
                float = true;
                end += 1 + sign + exponent;
            }
        }
        let text = &rest[..end];
        let unsigned = !float && rest[end..].starts_with(['u', 'U']);
        let token = if float {
            text.parse().map(Token::Double).map_err(|_| self.fault("invalid double literal"))
        } else if unsigned {
            text.parse().map(Token::Uint).map_err(|_| self.fault("invalid uint literal"))
        } else {
            // The smallest number has no positive counterpart; negation takes care of the others.
            text.parse().map(Token::Int).map_err(|_| self.fault("invalid int literal"))
        }?;
        self.at += end + usize::from(unsigned);
        Ok(token)
    }

    /// A text or bytes, with the letters before the quotes.
    fn quoted(&mut self) -> Result<Option<Token>, Fault> {
        let rest = self.rest();
        let letters = rest.find(['"', '\'']).unwrap_or(rest.len());
        let prefix = rest[..letters.min(rest.len())].to_lowercase();
        if letters == rest.len() || !matches!(prefix.as_str(), "" | "r" | "b" | "br" | "rb") {
            return Ok(None);
        }
        let (raw, bytes) = (prefix.contains('r'), prefix.contains('b'));
        let body = &rest[letters..];
        let quote = &body[..1];
        let triple = quote.repeat(3);
        let mark = if body.starts_with(&triple) { triple.as_str() } else { quote };
        let inner = &body[mark.len()..];
        let mut end = 0;
        loop {
            if inner[end..].starts_with(mark) {
                break;
            }
            let Some(sign) = inner[end..].chars().next().filter(|sign| mark.len() == 3 || *sign != '\n') else {
                return Err(self.fault(&format!("token recognition error at: '{quote}'")));
            };
            end += sign.len_utf8();
            if sign == '\\' && !raw {
                end += inner[end..].chars().next().map_or(0, char::len_utf8);
            }
        }
        let content = &inner[..end];
        let value = if raw {
            content.as_bytes().to_vec()
        } else {
            unescape(content, bytes).ok_or_else(|| self.fault("invalid escape sequence"))?
        };
        self.at += letters + 2 * mark.len() + end;
        if bytes {
            return Ok(Some(Token::Bytes(value)));
        }
        let text = String::from_utf8(value).map_err(|_| self.fault("invalid string literal"))?;
        Ok(Some(Token::Text(text)))
    }
}

fn unescape(text: &str, bytes: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut signs = text.chars();
    let push = |out: &mut Vec<u8>, sign: char| out.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            push(&mut out, sign);
            continue;
        }
        let (digits, radix) = match signs.clone().next()? {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => (3, 8),
            letter => {
                signs.next();
                push(&mut out, simple(letter)?);
                continue;
            }
        };
        if radix == 16 {
            signs.next();
        }
        let number = u32::from_str_radix(&signs.by_ref().take(digits).collect::<String>(), radix).ok()?;
        match u8::try_from(number) {
            Ok(byte) if bytes => out.push(byte),
            _ => push(&mut out, char::from_u32(number)?),
        }
    }
    Some(out)
}

fn simple(letter: char) -> Option<char> {
    Some(match letter {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '"' | '\'' | '`' | '?' => letter,
        _ => return None,
    })
}
