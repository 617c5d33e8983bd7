//! The textual forms of selectors, as query parameters carry them.
//!
//! Grammar and refusals are upstream's: clients show the texts.

use super::{FieldSelector, LabelSelector, Operator, Requirement, SelectorError};
use crate::names;

/// What an operator may be, as upstream lists it.
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

const SPECIAL: [char; 7] = ['=', '!', '(', ')', ',', '>', '<'];

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
pub(super) fn labels(text: &str) -> Result<LabelSelector, SelectorError> {
    let mut parser = Parser { tokens: tokens(text), next: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Sign("!") => {
                let requirement = parser.requirement();
                let context = |error| SelectorError(format!("unable to parse requirement: {error}"));
                requirements.push(requirement.map_err(context)?);
                match parser.take() {
                    Token::End => break,
                    Token::Sign(",") if matches!(parser.peek(), Token::Word(_) | Token::Sign("!")) => {}
                    Token::Sign(",") => return found(&parser.peek(), ", expected: identifier after ','"),
                    other => return found(&other, ", expected: ',' or 'end of string'"),
                }
            }
            Token::End => break,
            other => return found(&other, ", expected: !, identifier, or 'end of string'"),
        }
    }
    Ok(LabelSelector { requirements })
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'static str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) => text,
            Self::Sign(sign) => sign,
            Self::End => "",
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => (Token::Sign(sign), sign.len()),
            None => {
                let ends = |c: char| c.is_whitespace() || SPECIAL.contains(&c);
                let length = rest.find(ends).unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn found<T>(token: &Token<'_>, expected: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{}'{expected}", token.text())))
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.next).cloned().unwrap_or(Token::End)
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.take();
        let absent = token == Token::Sign("!");
        if absent {
            token = self.take();
        }
        let Token::Word(key) = token else { return found(&token, ", expected: identifier") };
        check_key(key)?;
        if absent {
            return requirement(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return requirement(key, Operator::Exists, Vec::new());
        }
        let operator = match self.take() {
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Sign("=" | "==") => return requirement(key, Operator::In, vec![self.exact()?]),
            Token::Sign("!=") => return requirement(key, Operator::NotIn, vec![self.exact()?]),
            Token::Sign(">") => return requirement(key, Operator::GreaterThan, vec![self.exact()?]),
            Token::Sign("<") => return requirement(key, Operator::LessThan, vec![self.exact()?]),
            other => return found(&other, &format!(", expected: {OPERATORS}")),
        };
        let values = self.list()?;
        requirement(key, operator, values)
    }

    fn exact(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(String::new()),
            Token::Word(text) => {
                self.next += 1;
                Ok(text.to_owned())
            }
            other => found(&other, ", expected: identifier"),
        }
    }

    /// The values in parentheses; an empty place is an empty value.
    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        let open = self.take();
        if open != Token::Sign("(") {
            return found(&open, " expected: '('");
        }
        match self.peek() {
            // Compat: nothing in the parentheses is one empty value.
            Token::Sign(")") => {
                self.next += 1;
                return Ok(vec![String::new()]);
            }
            Token::Word(_) | Token::Sign(",") => {}
            other => return found(&other, ", expected: ',', ')' or identifier"),
        }
        let mut values = Vec::new();
        loop {
            match (self.take(), self.peek()) {
                (Token::Word(text), Token::Sign("," | ")")) => values.push(text.to_owned()),
                (Token::Word(_), other) => return found(&other, ", expected: ',' or ')'"),
                (Token::Sign(","), next) => {
                    let empty = values.is_empty() || matches!(next, Token::Sign("," | ")"));
                    values.extend(empty.then(String::new));
                }
                (other, _) => return found(&other, ", expected: ',', or identifier"),
            }
            if self.peek() == Token::Sign(")") {
                if self.tokens[self.next - 1] == Token::Sign(",") && values.last().is_none_or(|last| !last.is_empty()) {
                    values.push(String::new());
                }
                self.next += 1;
                values.sort();
                values.dedup();
                return Ok(values);
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    match names::qualified(key) {
        why if why.is_empty() => Ok(()),
        why => Err(SelectorError(format!("<nil>: Invalid value: {key:?}: {}", why.join("; ")))),
    }
}

fn requirement(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, SelectorError> {
    let refuse = |place: String, value: &str, why: &str| {
        Err(SelectorError(format!("values{place}: Invalid value: {value}: {why}")))
    };
    let compares = matches!(operator, Operator::GreaterThan | Operator::LessThan);
    if compares && values.iter().any(|value| value.parse::<i64>().is_err()) {
        let why = "for 'Gt', 'Lt' operators, the value must be an integer";
        return refuse("[0]".to_owned(), &format!("{:?}", values.concat()), why);
    }
    for (index, value) in values.iter().enumerate() {
        let why = names::label_value(value);
        if !why.is_empty() {
            return refuse(format!("[{index}][{key}]"), &format!("{value:?}"), &why.join("; "));
        }
    }
    Ok(Requirement { key: key.to_owned(), operator, values })
}

/// Reads `status.phase=Running,spec.nodeName!=a`; `\` takes the meaning from `,`, `=` and itself.
pub(super) fn fields(text: &str) -> Result<FieldSelector, SelectorError> {
    let term = |part: &str| {
        let Some((name, value, equal)) = first_sign(part) else {
            return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
        };
        Ok((name.to_owned(), unescape(value)?, equal))
    };
    let requirements = terms(text).into_iter().filter(|part| !part.is_empty()).map(term).collect::<Result<_, _>>()?;
    Ok(FieldSelector { requirements })
}

/// Splits at commas that no `\` precedes.
fn terms(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits at the first operator.
fn first_sign(part: &str) -> Option<(&str, &str, bool)> {
    part.char_indices().find_map(|(at, _)| {
        let rest = &part[at..];
        let signs = [("!=", false), ("==", true), ("=", true)];
        let (sign, equal) = signs.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
        Some((&part[..at], &rest[sign.len()..], equal))
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    let text = format!("invalid field selector: invalid escape sequence: {sequence}");
                    return Err(SelectorError(text));
                }
            },
            ',' | '=' => {
                let text = format!("invalid field selector: unescaped character in value: {}", u32::from(character));
                return Err(SelectorError(text));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_upstreams() {
        let check = |text: &str, expected: &str| {
            let error = labels(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        };
        check("a b c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check("a in", "unable to parse requirement: found '' expected: '('");
        check("-a=1", "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist");
        check("a=..x", "unable to parse requirement: values[0][a]: Invalid value: \"..x\": a valid label");
        check("a,", "found '', expected: identifier after ','");
        check("=x", "found '=', expected: !, identifier, or 'end of string'");
        check("a=1 b", "found 'b', expected: ',' or 'end of string'");
        check("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt'");
        check("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
    }

    #[test]
    fn empty_places_are_empty_values() {
        let values = |text: &str| labels(text).expect(text).requirements.remove(0).values;
        assert_eq!(values("a in (,b)"), ["", "b"]);
        assert_eq!(values("a in (b,)"), ["", "b"]);
        assert_eq!(values("a in (b, c,b)"), ["b", "c"]);
        assert_eq!(values("a in ()"), [""]);
        assert_eq!(values("a="), [""]);
    }

    #[test]
    fn values_of_fields_are_escaped() {
        let found = fields(r"a=b\,c\=d,e!=f").expect("a selector").requirements;
        assert_eq!(found, [("a".into(), "b,c=d".into(), true), ("e".into(), "f".into(), false)]);
        let error = |text: &str| fields(text).expect_err(text).to_string();
        assert_eq!(error("metadata.name==="), "invalid field selector: unescaped character in value: 61");
        assert_eq!(error("a"), "invalid selector: 'a'; can't understand 'a'");
        assert_eq!(error(r"a=\x"), r"invalid field selector: invalid escape sequence: \x");
    }
}
