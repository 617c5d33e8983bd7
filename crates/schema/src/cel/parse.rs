//! From text to an expression, macros included.

use super::Fault;
use super::ast::{Binary, Expr, Loop, LoopKind, Node};
use super::lex::{Token, tokens};

/// How deep expressions may nest: what parses and evaluates them is recursive.
const DEPTH: usize = 100;

/// How long an expression may be.
const LENGTH: usize = 100_000;

pub(crate) fn parse(source: &str) -> Result<Expr, Fault> {
    if source.len() > LENGTH {
        return Err(Fault::new(
            0,
            format!("expression code point size exceeds limit: size: {}, limit {LENGTH}", source.len()),
        ));
    }
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

/// Binary operators, the loosest first.
const LEVELS: [&[(&str, Binary)]; 5] = [
    &[("||", Binary::Or)],
    &[("&&", Binary::And)],
    &[
        ("==", Binary::Equal),
        ("!=", Binary::NotEqual),
        ("<", Binary::Less),
        ("<=", Binary::LessOrEqual),
        (">", Binary::Greater),
        (">=", Binary::GreaterOrEqual),
        ("in", Binary::In),
    ],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide), ("%", Binary::Modulo)],
];

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    fn place(&self) -> usize {
        self.tokens[self.at].0
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.at].1.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(own) if *own == sign)
    }

    fn accept(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        if is {
            self.take();
        }
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.accept(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Name(name) => name.clone(),
            Token::Text(text) => format!("{text:?}"),
            Token::Int(number) => number.to_string(),
            Token::Uint(number) => number.to_string(),
            Token::Double(number) => number.to_string(),
            Token::Bytes(_) => "bytes".to_owned(),
        };
        Fault::new(self.place(), format!("Syntax error: mismatched input '{found}' expecting {wanted}"))
    }

    fn expr(&mut self) -> Result<Expr, Fault> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Fault::new(self.place(), format!("expression recursion limit exceeded: {DEPTH}")));
        }
        let at = self.place();
        let condition = self.binary(0)?;
        let expr = if self.accept("?") {
            let yes = self.binary(0)?;
            self.expect(":")?;
            let no = self.expr()?;
            Expr { at, node: Node::Ternary(Box::new(condition), Box::new(yes), Box::new(no)) }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Fault> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut length = 0;
        loop {
            let is = |token: &Token, sign: &str| match token {
                Token::Sign(own) => *own == sign,
                Token::Name(name) => name == sign && sign == "in",
                _ => false,
            };
            let Some((_, operator)) = operators.iter().find(|(sign, _)| is(self.peek(), sign)) else { return Ok(left) };
            let at = self.place();
            length += 1;
            if length > DEPTH * 5 {
                return Err(Fault::new(at, format!("expression recursion limit exceeded: {DEPTH}")));
            }
            self.take();
            let right = self.binary(level + 1)?;
            left = Expr { at, node: Node::Binary(*operator, Box::new(left), Box::new(right)) };
        }
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        let mut signs = Vec::new();
        while self.is("!") || self.is("-") {
            signs.push(self.is("!"));
            self.take();
            if signs.len() > DEPTH {
                return Err(Fault::new(at, format!("expression recursion limit exceeded: {DEPTH}")));
            }
        }
        let mut expr = self.member()?;
        for not in signs.into_iter().rev() {
            expr = match (not, expr.node) {
                (true, node) => Expr { at, node: Node::Not(Box::new(Expr { at: expr.at, node })) },
                (false, Node::Int(number)) => Expr { at, node: Node::Int(-number) },
                (false, Node::Double(number)) => Expr { at, node: Node::Double(-number) },
                (false, node) => Expr { at, node: Node::Negate(Box::new(Expr { at: expr.at, node })) },
            };
        }
        Ok(expr)
    }

    fn member(&mut self) -> Result<Expr, Fault> {
        let mut expr = self.primary()?;
        let mut length = 0;
        loop {
            let at = self.place();
            length += 1;
            if length > DEPTH {
                return Err(Fault::new(at, format!("expression recursion limit exceeded: {DEPTH}")));
            }
            if self.accept(".?") {
                let name = self.name()?;
                expr = Expr { at, node: Node::Select(Box::new(expr), name, true) };
            } else if self.accept(".") {
                let name = self.name()?;
                expr = if self.accept("(") {
                    let arguments = self.list(")")?;
                    member_call(at, expr, name, arguments)?
                } else {
                    Expr { at, node: Node::Select(Box::new(expr), name, false) }
                };
            } else if self.is("[") || self.is("[?") {
                let optional = self.is("[?");
                self.take();
                let index = self.expr()?;
                self.expect("]")?;
                expr = Expr { at, node: Node::Index(Box::new(expr), Box::new(index), optional) };
            } else if (self.is("{") || self.is("{?")) && type_name(&expr).is_some() {
                let name = type_name(&expr).unwrap_or_default();
                expr = Expr { at: expr.at, node: Node::Object(name, self.fields()?) };
            } else {
                return Ok(expr);
            }
        }
    }

    fn name(&mut self) -> Result<String, Fault> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.take();
                Ok(name)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut items = Vec::new();
        while !self.accept(end) {
            items.push(self.expr()?);
            if !self.accept(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    /// The fields of a typed object, its braces included.
    fn fields(&mut self) -> Result<Vec<(String, Expr, bool)>, Fault> {
        let mut optional = self.is("{?");
        self.take();
        let mut fields = Vec::new();
        while !self.accept("}") {
            optional |= self.accept("?");
            let name = self.name()?;
            self.expect(":")?;
            fields.push((name, self.expr()?, std::mem::take(&mut optional)));
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(fields)
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        let made = |node| Ok(Expr { at, node });
        match self.peek().clone() {
            Token::Int(number) => self.literal(Node::Int(number)),
            Token::Uint(number) => self.literal(Node::Uint(number)),
            Token::Double(number) => self.literal(Node::Double(number)),
            Token::Text(text) => self.literal(Node::Text(text)),
            Token::Bytes(bytes) => self.literal(Node::Bytes(bytes)),
            Token::Name(name) => {
                self.take();
                match name.as_str() {
                    "true" => made(Node::Bool(true)),
                    "false" => made(Node::Bool(false)),
                    "null" => made(Node::Null),
                    "in" => Err(Fault::new(at, "Syntax error: extraneous input 'in'".to_owned())),
                    _ if self.accept("(") => {
                        let arguments = self.list(")")?;
                        call(at, name, arguments)
                    }
                    _ => made(Node::Name(name)),
                }
            }
            Token::Sign("(") => {
                self.take();
                let expr = self.expr()?;
                self.expect(")")?;
                Ok(expr)
            }
            Token::Sign(".") => {
                self.take();
                let name = self.name()?;
                made(Node::Name(name))
            }
            Token::Sign("[" | "[?") => self.items(),
            Token::Sign("{" | "{?") => self.map(),
            Token::Sign(_) | Token::End => Err(self.unexpected("{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}")),
        }
    }

    fn literal(&mut self, node: Node) -> Result<Expr, Fault> {
        let at = self.place();
        self.take();
        Ok(Expr { at, node })
    }

    fn items(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        let mut optional = self.is("[?");
        self.take();
        let mut items = Vec::new();
        while !self.accept("]") {
            optional |= self.accept("?");
            items.push((self.expr()?, std::mem::take(&mut optional)));
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(Expr { at, node: Node::List(items) })
    }

    fn map(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        let mut optional = self.is("{?");
        self.take();
        let mut entries = Vec::new();
        while !self.accept("}") {
            optional |= self.accept("?");
            let key = self.expr()?;
            self.expect(":")?;
            entries.push((key, self.expr()?, std::mem::take(&mut optional)));
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr { at, node: Node::Map(entries) })
    }
}

/// The dotted name of a type, where an expression is one.
fn type_name(expr: &Expr) -> Option<String> {
    match &expr.node {
        Node::Name(name) => Some(name.clone()),
        Node::Select(inner, name, false) => Some(format!("{}.{name}", type_name(inner)?)),
        _ => None,
    }
}

fn call(at: usize, name: String, mut arguments: Vec<Expr>) -> Result<Expr, Fault> {
    if name == "has" && arguments.len() == 1 {
        let argument = arguments.remove(0);
        return match argument.node {
            Node::Select(inner, field, false) => Ok(Expr { at, node: Node::Has(inner, field) }),
            _ => Err(Fault::new(at, "invalid argument to has() macro".to_owned())),
        };
    }
    Ok(Expr { at, node: Node::Call(None, name, arguments) })
}

fn member_call(at: usize, target: Expr, name: String, arguments: Vec<Expr>) -> Result<Expr, Fault> {
    if name == "bind" && target.node == Node::Name("cel".to_owned()) && arguments.len() == 3 {
        let [variable, value, body] = arguments.try_into().unwrap_or_else(|_| unreachable!("there are three of them"));
        let variable = variable_name(variable)?;
        return Ok(Expr { at, node: Node::Bind(variable, Box::new(value), Box::new(body)) });
    }
    let Some((kind, names, filtered)) = loop_of(&name, arguments.len(), &arguments) else {
        return Ok(Expr { at, node: Node::Call(Some(Box::new(target)), name, arguments) });
    };
    let mut arguments = arguments.into_iter();
    let names = arguments.by_ref().take(names).map(variable_name).collect::<Result<Vec<_>, _>>()?;
    let filter = if filtered { arguments.next() } else { None };
    let Some(body) = arguments.next() else { return Err(Fault::new(at, format!("invalid arguments to {name}()"))) };
    Ok(Expr { at, node: Node::Loop(Box::new(Loop { kind, over: target, names, filter, body })) })
}

fn variable_name(expr: Expr) -> Result<String, Fault> {
    match expr.node {
        Node::Name(name) => Ok(name),
        _ => Err(Fault::new(expr.at, "argument must be a simple name".to_owned())),
    }
}

/// Which macro a member call is: its kind, how many names it has, and whether it filters.
fn loop_of(name: &str, count: usize, arguments: &[Expr]) -> Option<(LoopKind, usize, bool)> {
    let named = |index: usize| matches!(arguments.get(index), Some(Expr { node: Node::Name(_), .. }));
    Some(match (name, count) {
        ("all", 2) => (LoopKind::All, 1, false),
        ("exists", 2) => (LoopKind::Exists, 1, false),
        ("exists_one" | "existsOne", 2) => (LoopKind::ExistsOne, 1, false),
        ("map", 2) => (LoopKind::Map, 1, false),
        ("map", 3) => (LoopKind::Map, 1, true),
        ("filter", 2) => (LoopKind::Filter, 1, false),
        ("all", 3) if named(1) => (LoopKind::All, 2, false),
        ("exists", 3) if named(1) => (LoopKind::Exists, 2, false),
        ("exists_one" | "existsOne", 3) if named(1) => (LoopKind::ExistsOne, 2, false),
        ("transformList", 3) => (LoopKind::Map, 2, false),
        ("transformList", 4) => (LoopKind::Map, 2, true),
        ("transformMap", 3) => (LoopKind::TransformMap, 2, false),
        ("transformMap", 4) => (LoopKind::TransformMap, 2, true),
        ("transformMapEntry", 3) => (LoopKind::TransformMapEntry, 2, false),
        ("transformMapEntry", 4) => (LoopKind::TransformMapEntry, 2, true),
        _ => return None,
    })
}
